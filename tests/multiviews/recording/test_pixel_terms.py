from __future__ import annotations

import numpy as np
from cvf_tests.walk import film, walking

from lib.multiviews.recording.pixel_terms import PixelTerms, covariance_of, detection_rays, robust_weight


def scene(noise_px=0.0):
    rng = np.random.default_rng(4)
    pose = walking(6, rng)
    points, cameras = film(pose, 3, rng, noise_px)
    return pose, points[..., :2], cameras


def test_normal_equations_step_leads_to_the_point():
    pose, points, cameras = scene()
    points[2, 0, 5] = np.nan
    start = (pose + 3.0).swapaxes(0, 1)
    terms = PixelTerms(detection_rays(points, cameras), cameras, start)
    assert not terms.exists[2, 0, 5]
    information, right = terms.normal_equations(terms.exists.astype(float), np.full(3, 2.0))
    solved = np.linalg.solve(information, right[..., None])[..., 0]
    assert np.abs(solved - pose.swapaxes(0, 1)).max() < 0.05


def test_normal_equations_quarter_of_the_trust_is_twice_the_noise():
    pose, points, cameras = scene(2.0)
    start, weight = pose.swapaxes(0, 1), np.ones(points.shape[:3])
    less = PixelTerms(detection_rays(points, cameras, 0.25), cameras, start).normal_equations(weight, np.full(3, 2.0))
    noisier = PixelTerms(detection_rays(points, cameras), cameras, start).normal_equations(weight, np.full(3, 4.0))
    np.testing.assert_allclose(less[0], noisier[0])
    np.testing.assert_allclose(less[1], noisier[1])


def test_covariance_of_noisy_detections_is_that_of_the_fit():
    pose, points, cameras = scene()
    rng = np.random.default_rng(0)
    points, cameras = np.repeat(points[:1], 400, 0), cameras.map(lambda array: np.repeat(array[:1], 400, 0))
    points = points + rng.normal(0, 2.0, points.shape)
    true = np.repeat(pose[:1], 400, 0).swapaxes(0, 1)
    terms = PixelTerms(detection_rays(points, cameras), cameras, true)
    information, right = terms.normal_equations(terms.weights(np.full(3, 2.0), 10.0), np.full(3, 2.0))
    error = np.linalg.solve(information, right[..., None])[..., 0] - true
    spread = np.einsum("jfa,jfb->jab", error, error) / 400
    np.testing.assert_allclose(
        np.trace(spread, axis1=1, axis2=2), np.trace(covariance_of(information[:, 0]), axis1=1, axis2=2), rtol=0.2
    )


def test_covariance_of_unseen_points_is_infinite():
    assert np.isinf(covariance_of(np.zeros((2, 3, 3)))).all()


def test_robust_weight_halves_at_the_outlier_limit():
    np.testing.assert_allclose(robust_weight(np.array([0.0, 16.0, 1e4]), 4.0, 2), [1, 0.5, 0], atol=1e-3)
