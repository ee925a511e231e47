from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.walk import BODY, film, walking

from lib.multiviews.cameras import project
from lib.multiviews.keypoints.triangulate import triangulate
from lib.multiviews.recording.smoothing import smooth_trajectories
from lib.multiviews.recording.trajectory_fit import TrajectorySettings, fit_trajectories


def scene(num_views=3, num_frames=120, noise_px=2.0):
    rng = np.random.default_rng(6)
    pose = walking(num_frames, rng)
    points, cameras = film(pose, num_views, rng, noise_px)
    return pose, points[..., :2], cameras


def fitted(points, cameras, start=None, **settings):
    start = triangulate(points, cameras) if start is None else start
    views = points.shape[1]
    return fit_trajectories(
        points, cameras, BODY, start, np.full(views, 3.0), np.full(views, 20.0), TrajectorySettings(**settings)
    )


def error_mm(pose_world, pose):
    return np.linalg.norm(pose_world - pose, axis=-1)


def test_fit_trajectories_is_better_than_the_best_low_pass_filter():
    pose, points, cameras = scene()
    start = triangulate(points, cameras)
    fit = fitted(points, cameras)
    filtered = min(error_mm(smooth_trajectories(start, cutoff), pose).mean() for cutoff in (0.05, 0.1, 0.2))
    assert error_mm(fit.pose_world, pose).mean() < 0.97 * filtered < 0.9 * error_mm(start, pose).mean()
    np.testing.assert_allclose(fit.noise_px, 2.0, rtol=0.15)


def test_fit_trajectories_regions_cover_nine_of_ten():
    pose, points, cameras = scene()
    fit = fitted(points, cameras)
    difference = fit.pose_world - pose
    squared = (difference * np.linalg.solve(fit.covariance, difference[..., None])[..., 0]).sum(-1)
    assert 0.84 < (squared < 6.251).mean() < 0.96  # 90 % of the chi-squared distribution of 3 axes


def test_fit_trajectories_outliers_lose_their_weight():
    pose, points, cameras = scene(4)
    rng = np.random.default_rng(0)
    outlier = rng.random(points.shape[:3]) < 0.05
    wrong = points + 60 * outlier[..., None]
    start = triangulate(np.where(outlier[..., None], np.nan, points), cameras)
    fit = fitted(wrong, cameras, start)
    assert not fit.agrees[outlier].any()
    assert fit.agrees[~outlier].mean() > 0.98
    assert error_mm(fit.pose_world, pose).mean() < 1.1 * error_mm(fitted(points, cameras).pose_world, pose).mean()


@pytest.mark.parametrize("frame", [0, 60, 119])
def test_fit_trajectories_wrong_point_on_which_two_views_agree(frame):
    """At an end the trajectory could bend to the point."""
    pose, points, cameras = scene(3)
    moved = project((pose[frame] + [300.0, 0.0, 0.0])[None], cameras[frame])[0]  # (V, J, 2)
    points[frame, :2, 6] = moved[:2, 6]
    start = triangulate(points, cameras)
    start[frame, 6] = pose[frame, 6] + [300.0, 0.0, 0.0]
    fit = fitted(points, cameras, start)
    assert error_mm(fit.pose_world, pose)[frame, 6] < 40
    assert not fit.agrees[frame, :2, 6].any()


@pytest.mark.parametrize(("block", "overlap"), [(70, 80), (200, 100)])
def test_fit_trajectories_does_not_depend_on_the_blocks(block, overlap):
    _, points, cameras = scene(num_frames=400)
    whole = fitted(points, cameras, block=400)
    parts = fitted(points, cameras, block=block, overlap=overlap)
    assert error_mm(parts.pose_world, whole.pose_world).max() < 0.1
    np.testing.assert_allclose(parts.covariance, whole.covariance, rtol=0.02, atol=0.05)
    np.testing.assert_array_equal(parts.agrees, whole.agrees)


@pytest.mark.parametrize("num_frames", [1, 2, 5, 7])
def test_fit_trajectories_of_few_frames(num_frames):
    pose, points, cameras = scene(4, num_frames)
    fit = fitted(points, cameras)
    assert error_mm(fit.pose_world, pose).mean() < 15
    assert np.isfinite(fit.covariance).all()


def test_fit_trajectories_joint_that_is_never_seen_disturbs_no_other():
    pose, points, cameras = scene()
    points[:, :, 3] = np.nan
    fit = fitted(points, cameras)
    others = np.arange(17) != 3
    assert error_mm(fit.pose_world, pose)[:, others].mean() < 6
    assert np.isfinite(fit.pose_world).all()
