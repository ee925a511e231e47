"""Pose fit compiled by numba: the same steps, noise and covariance as on numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cvf_tests.scenes import make_backend, make_scene

from lib.multiviews.body import H36M_BODY
from lib.multiviews.keypoints.peak_rays import peak_rays, tolerance_mm
from lib.multiviews.refinement.limb_lengths import Distances, second_neighbor_pairs
from lib.multiviews.refinement.pose_fit import PoseFit
from lib.utils.transforms import invert_affine, transform_points


def random_fit(num_views: int, seed: int) -> tuple[PoseFit, np.ndarray]:
    """Return a fit on numpy and poses to start from: with wrong and missing peaks, and joints behind a camera."""
    scene = make_scene(8, num_views, seed=seed)
    rng = np.random.default_rng(seed)
    places = scene.joints_hm[..., None, :] + rng.normal(0, 1, (*scene.joints_hm.shape[:3], 3, 2))
    wrong = rng.random(places.shape[:4]) < 0.3
    places[wrong] = rng.uniform(0, 63, (wrong.sum(), 2))
    flat = places.reshape(8, num_views, -1, 2)
    peaks_img = transform_points(flat, invert_affine(scene.image_to_heatmap)).reshape(places.shape)
    weights = rng.uniform(0.2, 1, places.shape[:-1]) * (rng.random(places.shape[:-1]) < 0.8)
    weights[1] = 0
    rays = peak_rays(peaks_img, weights, scene.cameras, 2.5 / scene.image_to_heatmap[..., 0, 0])
    lengths = H36M_BODY.limb_lengths(scene.pose_world)
    tolerance = tolerance_mm(scene.pose_world[:, 0], rays, scene.cameras)
    noise = rng.uniform(0.1, 0.5, 8)
    backend = make_backend("numpy")
    fit = PoseFit(rays, scene.cameras, H36M_BODY.edges, lengths, 0.05 * lengths, noise, tolerance, backend)
    points = scene.pose_world + rng.normal(0, 40, scene.pose_world.shape)
    points[2] += [5500, 0, 0]
    points[3] = points[3, :1]  # all joints at one place
    return fit, points


def with_person(fit: PoseFit, points: np.ndarray) -> PoseFit:
    pairs = H36M_BODY.edges + second_neighbor_pairs(H36M_BODY)
    ones, others = (list(side) for side in zip(*pairs, strict=True))
    mean = np.linalg.norm(points[:, ones] - points[:, others], axis=-1) + 20
    return fit.with_distances(Distances(pairs, mean, 0.1 * mean))


@pytest.mark.parametrize("num_views", [2, 4, 5])
@pytest.mark.parametrize("person", [False, True])
def test_optimize_compiled_equals_numpy(num_views, person):
    fit, points = random_fit(num_views, num_views)
    fit = with_person(fit, points) if person else fit
    compiled = replace(fit, backend=make_backend("numba"))
    before = points.copy()
    for num_steps in (0, 1, 6):
        np.testing.assert_allclose(compiled.optimize(points, num_steps), fit.optimize(points, num_steps), atol=1e-4)
    np.testing.assert_array_equal(points, before)


@pytest.mark.parametrize("num_views", [2, 4])
def test_measured_noise_compiled_equals_numpy(num_views):
    fit, points = random_fit(num_views, 1)
    points = fit.optimize(points, 4)
    expected = fit.with_measured_noise(points).noise
    found = replace(fit, backend=make_backend("numba")).with_measured_noise(points).noise
    assert (expected != fit.noise).any()
    assert (expected == fit.noise).any()
    np.testing.assert_allclose(found, expected)


def test_without_distances_compiled_equals_numpy():
    fit, points = random_fit(4, 2)
    expected = fit.without_distances(points)
    found = replace(fit, backend=make_backend("numba")).without_distances(points)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
