"""The robust fit: slopes against finite differences, steps that never lose, noise and covariance against draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cvf_tests.scenes import Scene, make_backend, make_scene

from lib.multiviews.body import H36M_BODY
from lib.multiviews.keypoints.peak_rays import peak_rays, tolerance_mm
from lib.multiviews.refinement.limb_lengths import Distances
from lib.multiviews.refinement.pose_fit import PoseFit
from lib.utils.transforms import invert_affine, transform_points

LIBRARIES = ["numpy", "numba", "torch"]


def make_fit(scene: Scene, std_hm: float = 0.0, library="numpy", seed=0, wrong=0.0, num_peaks=2) -> PoseFit:
    """Return the fit to peaks drawn around the ground truth; one tolerance is 2.5 heatmap px."""
    rng = np.random.default_rng(seed)
    backend = make_backend(library)
    shape = (*scene.joints_hm.shape[:3], num_peaks, 2)
    places = scene.joints_hm[..., None, :] + rng.normal(0, max(std_hm, 1e-12), shape)
    places[..., 1:, :] = rng.uniform(0, 63, places[..., 1:, :].shape)  # the second peak of each map is wrong
    places[..., 0, :] += 9 * (rng.random(places.shape[:3]) < wrong)[..., None]
    weights = rng.uniform(0.8, 1, places.shape[:-1]) * ([1, 0.7][:num_peaks])
    flat = places.reshape(*places.shape[:2], -1, 2)
    peaks_img = transform_points(flat, invert_affine(scene.image_to_heatmap)).reshape(places.shape)
    rays = peak_rays(peaks_img, weights, scene.cameras, 2.5 / scene.image_to_heatmap[..., 0, 0])
    lengths = H36M_BODY.limb_lengths(scene.pose_world)
    return PoseFit(
        rays.map(backend.floats),
        scene.cameras.map(backend.floats),
        H36M_BODY.edges,
        backend.floats(lengths),
        backend.floats(0.05 * lengths),
        backend.floats(np.full(len(lengths), 0.4)),
        backend.floats(tolerance_mm(scene.pose_world[:, 0], rays, scene.cameras)),
        backend,
    )


def cost(fit: PoseFit, points: np.ndarray) -> np.ndarray:
    return fit.backend.numpy(fit.terms(fit.backend.floats(points)).cost)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("std_mm", [5.0, 60.0])  # beyond the backend's turning point too
def test_terms_equal_finite_differences(library, std_mm):
    scene = make_scene(2)
    fit = make_fit(scene, 1.0, library)
    rng = np.random.default_rng(1)
    points = scene.pose_world + rng.normal(0, std_mm, scene.pose_world.shape)
    terms = fit.terms(fit.backend.floats(points))
    rows, residuals = fit.backend.numpy(terms.pair_rows), fit.backend.numpy(terms.pair_residuals)
    gradient = 2 * (np.einsum("fln,fl->fn", rows, residuals) - fit.backend.numpy(terms.pull).reshape(2, -1))
    for _ in range(10):
        direction = rng.normal(0, 1, points.shape)
        numeric = (cost(fit, points + 1e-4 * direction) - cost(fit, points - 1e-4 * direction)) / 2e-4
        np.testing.assert_allclose((gradient * direction.reshape(2, -1)).sum(1), numeric, rtol=1e-5)


def test_terms_normal_matrix_is_curvature():
    scene = make_scene(1)
    fit = make_fit(scene, num_peaks=1)
    rng = np.random.default_rng(2)
    terms = fit.terms(scene.pose_world)
    lowest = cost(fit, scene.pose_world)
    for _ in range(5):
        step = rng.normal(0, 0.05, scene.pose_world.shape)
        of_peaks = np.einsum("fji,fjik,fjk->f", step, terms.normal, step)
        of_pairs = (np.einsum("fln,fn->fl", terms.pair_rows, step.reshape(1, -1)) ** 2).sum(1)
        np.testing.assert_allclose(cost(fit, scene.pose_world + step) - lowest, of_peaks + of_pairs, rtol=1e-2)


@pytest.mark.parametrize("library", LIBRARIES)
def test_optimize_never_increases_cost(library):
    scene = make_scene(5)
    fit = make_fit(scene, 1.0, library, wrong=0.3)
    points = scene.pose_world + np.random.default_rng(3).normal(0, 200, scene.pose_world.shape)
    last = cost(fit, points)
    for _ in range(6):
        points = fit.backend.numpy(fit.optimize(fit.backend.floats(points), 2))
        now = cost(fit, points)
        assert (now <= last).all()
        last = now


def test_optimize_converges():
    scene = make_scene(4)
    points = scene.pose_world + np.random.default_rng(4).normal(0, 20, scene.pose_world.shape)
    assert np.abs(make_fit(scene).optimize(points, 8) - scene.pose_world).max() < 1e-3


def test_terms_coinciding_joints():
    scene = make_scene(1)
    fit = make_fit(scene)
    points = np.repeat(scene.pose_world[:, :1], 17, 1)
    assert np.isfinite(fit.optimize(points, 3)).all()


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("views", [2, 4])
@pytest.mark.parametrize("wrong", [0.0, 0.1])
def test_with_measured_noise_of_peaks(library, views, wrong):
    scene = make_scene(30, views)
    for std_hm in (0.3, 1.0):
        fit = make_fit(scene, std_hm, library, wrong=wrong)
        loose = replace(fit, length_std=fit.length_std * 1e3)  # limbs take no part: 3 unknowns per joint
        for _ in range(2):
            points = loose.optimize(loose.backend.floats(scene.pose_world), 6)
            loose = loose.with_measured_noise(points)
        noise = 2.5 * loose.backend.numpy(loose.noise)  # px
        assert abs(np.median(noise) / std_hm - 1) < (0.1 if views == 4 else 0.25)


def test_with_measured_noise_without_peaks():
    scene = make_scene(2)
    fit = make_fit(scene)
    fit = replace(fit, rays=replace(fit.rays, weight=fit.rays.weight * np.array([0, 1])[:, None, None, None]))
    noise = fit.with_measured_noise(scene.pose_world).noise
    assert noise[0] == 0.4
    assert noise[1] == pytest.approx(0.02)  # the smallest


def test_without_distances_covariance():
    scene = make_scene(80, seed=6)
    std_hm = 0.5
    fit = make_fit(scene, std_hm, num_peaks=1)
    fit = replace(fit, noise=np.full(80, std_hm / 2.5), rays=replace(fit.rays, weight=fit.rays.weight**0))
    points, covariance = fit.without_distances(fit.optimize(scene.pose_world, 4))
    deviation = points - scene.pose_world
    normalized = np.einsum("fji,fjik,fjk->fj", deviation, np.linalg.inv(covariance), deviation)
    # Chi-squared with 3 degrees of freedom; the robust weights make the covariance somewhat larger than it is.
    assert 2.5 < normalized.mean() < 3
    assert deviation.std() == pytest.approx(np.sqrt(np.trace(covariance, axis1=2, axis2=3).mean() / 3), rel=0.1)


def test_with_distances_replaces_limbs():
    scene = make_scene(1)
    hips = H36M_BODY.joint_names.index("rhip"), H36M_BODY.joint_names.index("lhip")
    fit = make_fit(scene).with_distances(Distances((hips,), np.array([[500.0]]), np.array([[1e-3]])))
    points = fit.optimize(scene.pose_world, 200)
    assert np.linalg.norm(points[0, hips[0]] - points[0, hips[1]]) == pytest.approx(500, abs=5)
