"""Coverage of simulated errors, and the covariance of fits to noisy peaks."""

from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import draw_gaussians, make_backend, make_scene

from lib.multiviews.body import H36M_BODY
from lib.multiviews.refinement.refine import fit_frames
from lib.multiviews.refinement.uncertainty import SETTINGS, UncertaintySettings, calibrated_covariance, coverage, sd_mm


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
    dof = SETTINGS.degrees_of_freedom
    t = rng.normal(0, 1, (4000, 5, 3)) / np.sqrt(rng.chisquare(dof, (4000, 5, 1)) / dof)
    error = SETTINGS.fit_factor * (np.linalg.cholesky(fit_covariance) @ t[..., None])[..., 0]
    found = coverage(error, np.zeros(error.shape), calibrated_covariance(fit_covariance))
    assert list(found) == ["50", "90", "95"]
    for share, value in found.items():
        assert value == pytest.approx(int(share) / 100, abs=0.01)


def test_calibrated_covariance_of_many_degrees_of_freedom_is_the_fit():
    covariance = np.diag([1.0, 4.0, 9.0])[None, None]
    found = calibrated_covariance(covariance, UncertaintySettings(fit_factor=1.0, degrees_of_freedom=1e9))
    np.testing.assert_allclose(found, covariance)
    np.testing.assert_allclose(sd_mm(found), np.sqrt(14 / 3))


def test_coverage_ignores_joints_without_label():
    gt = np.zeros((2, 3, 3))
    gt[0, 1] = np.nan
    pose = np.zeros((2, 3, 3))
    pose[0, 1] = pose[1, 2] = 1e4
    covariance = np.broadcast_to(np.eye(3), (2, 3, 3, 3))
    assert coverage(pose, gt, covariance) == {"50": 0.8, "90": 0.8, "95": 0.8}
    assert np.isnan(coverage(pose, np.full_like(gt, np.nan), covariance)["50"])


def test_covariance_explains_errors_of_independent_noise():
    scene, blocks = fitted_blocks("numpy")
    ratios = []
    frames = 0
    for block in blocks:
        error = block.points - scene.pose_world[frames : frames + len(block.points)]
        frames += len(block.points)
        solved = np.linalg.solve(block.fit.covariance(block.points), error[..., None])[..., 0]
        ratios.append((error * solved).sum(-1) / 3)
    assert 0.6 < np.median(np.concatenate(ratios)) / 0.79 < 1.6  # median of chi-squared / 3


@pytest.mark.parametrize("library", ["numba", "torch"])
def test_covariance_independent_of_library(library):
    expected, found = (
        np.concatenate([block.fit.covariance(block.points) for block in fitted_blocks(name, 4)[1]])
        for name in ("numpy", library)
    )
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=0.02 * expected.max())
