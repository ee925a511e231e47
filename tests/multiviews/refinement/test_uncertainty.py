"""Coverage of simulated errors, and the covariance of fits to noisy peaks."""

from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import draw_gaussians, make_backend, make_scene

from lib.multiviews.body import H36M_BODY
from lib.multiviews.refinement.refine import fit_frames
from lib.multiviews.refinement.uncertainty import (
    SETTINGS,
    UncertaintySettings,
    coverage,
    error_model,
    learned_covariance,
    region_limits,
    sd_mm,
)


def fitted_blocks(library, frames=12):
    """Return a scene with a noise of 1 px, and the frames fitted to it."""
    scene = make_scene(frames, seed=3)
    noisy = scene.joints_hm + np.random.default_rng(3).normal(0, 1.0, scene.joints_hm.shape)
    maps = draw_gaussians(noisy, (64, 64), 2.0)
    lengths = H36M_BODY.limb_lengths(scene.pose_world)
    arguments = (scene.cameras, scene.image_to_heatmap, scene.pose_world, lengths, H36M_BODY)
    return scene, fit_frames(maps, *arguments, make_backend(library))


def test_coverage_of_the_model_is_the_probability():
    rng = np.random.default_rng(0)
    root = rng.normal(0, 1, (4000, 5, 3, 3)) * 10
    fit_covariance = root @ root.swapaxes(-1, -2) + np.eye(3)
    covariance, dof = error_model(fit_covariance, rng.uniform(0.2, 1.0, (4000, 5)))
    chi2 = rng.chisquare(np.broadcast_to(dof[:, None, None], (4000, 5, 1)))
    t = rng.normal(0, 1, (4000, 5, 3)) / np.sqrt(chi2 / (dof - 2)[:, None, None])  # unit variance
    error = (np.linalg.cholesky(covariance) @ t[..., None])[..., 0]
    found = coverage(error, np.zeros(error.shape), covariance, dof)
    assert list(found) == ["50", "90", "95"]
    for share, value in found.items():
        assert value == pytest.approx(int(share) / 100, abs=0.01)


def test_error_model_of_full_support_is_the_fit_and_the_shared_error():
    covariance = np.diag([1.0, 4.0, 9.0])[None, None]
    settings = UncertaintySettings(shared_error_mm=2.0, added_dof=1e9)
    found, dof = error_model(covariance, np.ones((1, 1)), settings)
    np.testing.assert_allclose(found, covariance + 4 * np.eye(3))
    np.testing.assert_allclose(sd_mm(found), np.sqrt(26 / 3))
    np.testing.assert_allclose(region_limits(dof), [[2.366, 6.251, 7.815]], rtol=1e-3)  # chi-squared, 3 degrees


def test_error_model_grows_where_views_do_not_support_a_joint():
    fit = np.broadcast_to(100 * np.eye(3), (2, 2, 3, 3))
    covariance, dof = error_model(fit, np.array([[0.9, 0.9], [0.9, 0.2]]))
    sd = sd_mm(covariance)
    assert dof[0] > dof[1] > SETTINGS.least_dof  # per frame
    assert sd[1, 1] / sd[1, 0] == pytest.approx(np.exp(0.7 * SETTINGS.growth))  # per joint


def test_coverage_ignores_joints_without_label():
    gt = np.zeros((2, 3, 3))
    gt[0, 1] = np.nan
    pose = np.zeros((2, 3, 3))
    pose[0, 1] = pose[1, 2] = 1e4
    covariance = np.broadcast_to(np.eye(3), (2, 3, 3, 3))
    dof = np.full(2, 5.0)
    assert coverage(pose, gt, covariance, dof) == {"50": 0.8, "90": 0.8, "95": 0.8}
    assert np.isnan(coverage(pose, np.full_like(gt, np.nan), covariance, dof)["50"])


def test_covariance_explains_errors_of_independent_noise():
    scene, blocks = fitted_blocks("numpy")
    ratios = []
    frames = 0
    for block in blocks:
        error = block.points - scene.pose_world[frames : frames + len(block.points)]
        frames += len(block.points)
        solved = np.linalg.solve(block.fit.covariance_and_support(block.points)[0], error[..., None])[..., 0]
        ratios.append((error * solved).sum(-1) / 3)
    assert 0.6 < np.median(np.concatenate(ratios)) / 0.79 < 1.6  # median of chi-squared / 3


def test_support_is_low_for_a_joint_that_one_view_contradicts():
    scene, _ = fitted_blocks("numpy", 2)
    moved = scene.joints_hm.copy()
    moved[0, 0, 13] += 12  # heatmap px
    maps = draw_gaussians(moved, (64, 64), 2.0)
    lengths = H36M_BODY.limb_lengths(scene.pose_world)
    arguments = (scene.cameras, scene.image_to_heatmap, scene.pose_world, lengths, H36M_BODY)
    (block,) = fit_frames(maps, *arguments, make_backend("numpy"))
    support = block.fit.covariance_and_support(block.points)[1]
    num_views = maps.shape[1]
    assert support[1, 13] > 0.9
    assert support[0, 13] == pytest.approx(support[1, 13] * (num_views - 1) / num_views, abs=0.1)


@pytest.mark.parametrize("library", ["numba", "torch"])
def test_covariance_independent_of_library(library):
    expected, found = (
        np.concatenate([block.fit.covariance_and_support(block.points)[0] for block in fitted_blocks(name, 4)[1]])
        for name in ("numpy", library)
    )
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.02 * expected.max())


def test_learned_covariance_of_places_and_views():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(2, 3, 3, 3))
    peaks = root @ root.swapaxes(-1, -2) + np.eye(3)
    four = (SETTINGS.places_views / 4) ** 0.5
    np.testing.assert_allclose(learned_covariance(peaks, peaks, num_views=4), four * peaks)
    smaller = learned_covariance(peaks, peaks / 16, num_views=4)
    np.testing.assert_allclose(smaller, four * peaks / 16**SETTINGS.places_share)
    two_views = learned_covariance(peaks, peaks, num_views=2)
    np.testing.assert_allclose(sd_mm(two_views), 2**0.25 * sd_mm(four * peaks))
