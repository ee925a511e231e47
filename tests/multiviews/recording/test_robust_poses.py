from __future__ import annotations

import tracemalloc
from functools import partial

import numpy as np
import pytest
from cvf_tests.scenes import FLIP_PAIRS
from cvf_tests.walk import BODY, film, swapped, walking

from lib.multiviews.recording import robust_poses as robust_poses_module
from lib.multiviews.recording.robust_poses import (
    BRIDGED,
    FROM_TWO_VIEWS,
    NO_SOURCE,
    RobustPoses,
    RobustSettings,
    leave_one_out,
    person_sizes,
    robust_poses,
    smooth_poses,
)
from lib.multiviews.recording.trajectory_fit import TrajectorySettings, fit_trajectories
from lib.multiviews.recording.view_noise import ViewNoise
from lib.utils.errors import InputError


def smoothed(points, cameras, settings=None):
    settings = settings or RobustSettings()
    return smooth_poses(robust_poses(points, cameras, BODY, FLIP_PAIRS, settings), cameras, BODY, settings)


def scene(num_views, num_frames=40, noise_px=1.0):
    rng = np.random.default_rng(3)
    pose = walking(num_frames, rng)
    return (pose, *film(pose, num_views, rng, noise_px))


@pytest.mark.parametrize("num_views", [2, 3, 4])
def test_robust_poses_swapped_frames_are_corrected(num_views):
    """With two views only the motion decides which view is right, and rays may meet by chance."""
    pose, points, cameras = scene(num_views)
    points[22:35, 1] = swapped(points[22:35, 1])
    found = robust_poses(points, cameras, BODY, FLIP_PAIRS)
    expected = np.zeros(found.swapped.shape, bool)
    expected[22:35, 1] = True
    assert (found.swapped != expected).sum() <= (2 if num_views == 2 else 0)
    assert found.limb_pairs == ("hip, kne, ank", "sho, elb, wri")
    assert np.nanmedian(np.linalg.norm(found.pose_world - pose, axis=-1)) < (12 if num_views == 2 else 6)
    assert found.agrees.mean() > 0.98


def test_robust_poses_swapped_arms_are_corrected():
    _, points, cameras = scene(4)
    arms = [joint for pair in FLIP_PAIRS[3:] for joint in pair]
    points[10:14, 2][:, arms] = swapped(points[10:14, 2])[:, arms]
    found = robust_poses(points, cameras, BODY, FLIP_PAIRS).swapped
    assert np.argwhere(found).tolist() == [[frame, 2, 1] for frame in range(10, 14)]


def test_robust_poses_all_but_positions_are_small():
    _, points, cameras = scene(3, 10)
    settings = RobustSettings(cutoff=None, weigh_confidence=True)
    found = robust_poses(points, cameras, BODY, FLIP_PAIRS, settings)
    for name in ("points_img", "trust", "error", "covariance"):
        assert getattr(found, name).dtype == np.float32, name


def test_smooth_poses_detections_of_less_confidence_have_less_weight():
    """Every third detection is inaccurate and unsure; swaps move the confidences, too."""
    pose, points, cameras = scene(4, 80, noise_px=2.0)
    rng = np.random.default_rng(1)
    unsure = rng.random(points.shape[:3]) < 0.33
    points[..., :2] += rng.normal(0, 8, points[..., :2].shape) * unsure[..., None]
    points[..., 2] = np.where(unsure, 0.2, 0.8)
    points[30:40, 1] = swapped(points[30:40, 1])
    errors = {}
    for weigh in (False, True):
        found = smoothed(points, cameras, RobustSettings(weigh_confidence=weigh))
        errors[weigh] = np.nanmean(np.linalg.norm(found.pose_world - pose, axis=-1))
        np.testing.assert_allclose(found.trust, np.where(unsure & weigh, 1 / 16, 1.0))
    assert errors[True] < 0.8 * errors[False]


def test_robust_poses_outliers_and_low_confidence_are_excluded():
    pose, points, cameras = scene(4)
    points[5, 0, 3, :2] += 80
    points[6, 1, 3, 2] = 0.05
    points[7, 2, 3] = np.nan
    found = smoothed(points, cameras)
    assert np.argwhere(~found.agrees).tolist() == [[5, 0, 3], [6, 1, 3], [7, 2, 3]]
    assert np.argwhere(found.rejected).tolist() == [[5, 0, 3]]
    assert found.known.all()
    assert np.linalg.norm(found.pose_world - pose, axis=-1).max() < 25


@pytest.mark.parametrize(("cutoff", "hidden"), [("auto", 3), (None, 2), (0.1, 2)])
def test_smooth_poses_short_gaps_are_bridged(cutoff, hidden):
    """Without "auto", three of four views must agree."""
    pose, points, cameras = scene(4, noise_px=0.1)
    points[20:23, :hidden, 16] = np.nan
    found = smoothed(points, cameras, RobustSettings(cutoff=cutoff))
    assert np.argwhere(found.source == BRIDGED).tolist() == [[frame, 16] for frame in (20, 21, 22)]
    assert np.argwhere(~found.known).tolist() == [[frame, 16] for frame in (20, 21, 22)]
    assert not found.agrees[20:23, :, 16].any()
    assert np.linalg.norm(found.pose_world - pose, axis=-1).max() < (30 if cutoff == 0.1 else 10)
    strict = smoothed(points, cameras, RobustSettings(cutoff=cutoff, max_gap=2))
    assert np.argwhere(~np.isfinite(strict.pose_world).all(-1)).tolist() == [[frame, 16] for frame in (20, 21, 22)]
    two_views = smoothed(points, cameras, RobustSettings(cutoff=cutoff, min_views=2))
    assert two_views.known[20:23, 16].all() == (hidden == 2)


def test_smooth_poses_ends_and_long_gaps_are_not_invented():
    _, points, cameras = scene(4, 60)
    points[:12, :, 5] = np.nan
    points[30:45, 1:, 6] = np.nan
    found = smoothed(points, cameras)
    for array in (found.pose_world, found.covariance, found.sd_mm[..., None]):
        given = np.isfinite(array).reshape(60, 17, -1).all(-1)
        assert np.argwhere(~given).tolist() == [[f, 5] for f in range(12)] + [[f, 6] for f in range(30, 45)]
    assert (found.source[:12, 5] == NO_SOURCE).all()


def test_smooth_poses_two_views_are_a_source():
    pose, points, cameras = scene(4)
    points[10:50, :2, 8] = np.nan
    found = smoothed(points, cameras)
    assert (found.source[10:, 8] == FROM_TWO_VIEWS).mean() > 0.9
    assert np.linalg.norm(found.pose_world - pose, axis=-1)[10:, 8].max() < 20
    assert np.median(found.sd_mm[10:, 8]) > np.median(found.sd_mm[:10, 8])


def test_smooth_poses_two_views_alone_in_a_gap_are_not_enough():
    _, points, cameras = scene(3, 80)
    shown = points[:, :2, 8].copy()
    points[15:65, :, 8] = np.nan
    points[40, :2, 8] = shown[40]
    assert np.isnan(smoothed(points, cameras).pose_world[15:65, 8]).all()
    points[43, :2, 8] = shown[43]
    assert np.isfinite(smoothed(points, cameras).pose_world[40:44, 8]).all()


def test_smooth_poses_turned_camera_is_left_out():
    pose, points, cameras = scene(4, 80)
    points[:, 2, :, :2] += 15
    found = smoothed(points, cameras)
    assert found.noise.off == (2,)
    assert not found.agrees[:, 2].any()
    assert np.linalg.norm(found.pose_world - pose, axis=-1).mean() < 5
    np.testing.assert_allclose(found.noise.px[[0, 1, 3]], 1.0, rtol=0.15)


def test_smooth_poses_cutoff_reduces_error():
    pose, points, cameras = scene(4, 80, noise_px=4.0)
    unsmoothed, smooth, fitted = (
        smoothed(points, cameras, RobustSettings(0.06, cutoff=cutoff)).pose_world for cutoff in (None, 0.1, "auto")
    )
    error, smooth_error, fit_error = (
        np.nanmean(np.linalg.norm(found - pose, axis=-1)) for found in (unsmoothed, smooth, fitted)
    )
    assert smooth_error < 0.8 * error
    assert fit_error < smooth_error


def test_leave_one_out_moved_camera_has_large_error():
    _, points, cameras = scene(4)
    errors = np.nanmedian(leave_one_out(robust_poses(points, cameras, BODY, FLIP_PAIRS), cameras, BODY), (0, 2))
    assert (errors < 4).all()
    points[:, 2, :, :2] += 25
    off = leave_one_out(robust_poses(points, cameras, BODY, FLIP_PAIRS, RobustSettings(0.02)), cameras, BODY)
    assert np.nanmedian(off[:, 2]) > 20
    with pytest.raises(InputError, match="3 views"):
        leave_one_out(robust_poses(points[:, :2], cameras[:, :2], BODY, FLIP_PAIRS), cameras[:, :2], BODY)


def test_person_sizes_need_half_of_the_joints():
    points = np.full((2, 4, 2), np.nan)
    points[0, :3] = [[0, 0], [10, 40], [5, 5]]
    points[1, 0] = [3, 3]
    sizes = person_sizes(points)
    assert sizes[0] == 40
    assert np.isnan(sizes[1])


def test_smooth_poses_views_and_joints_that_are_never_seen():
    pose, points, cameras = scene(4)
    points[:, 1] = np.nan
    points[:, :, :7] = np.nan  # upper body
    found = smoothed(points, cameras)
    given = np.isfinite(found.pose_world).all(-1)
    assert given[:, 7:].all()
    assert not given[:, :7].any()
    assert np.linalg.norm(found.pose_world - pose, axis=-1)[given].mean() < 6


def test_robust_poses_invalid_input_is_refused():
    _, points, cameras = scene(3)
    with pytest.raises(InputError, match="no frame of any view shows half"):
        robust_poses(np.full_like(points, np.nan), cameras, BODY, FLIP_PAIRS)
    with pytest.raises(InputError, match="min_views: expected 2 to 3, received 4"):
        robust_poses(points, cameras, BODY, FLIP_PAIRS, RobustSettings(min_views=4))
    with pytest.raises(InputError, match="tolerance"):
        robust_poses(points, cameras, BODY, FLIP_PAIRS, RobustSettings(tolerance=3.0))


def test_positions_without_root_use_known_joints():
    pose = np.full((4, 17, 3), np.nan)
    pose[1, 3:5] = [[0.0, 10, 20], [2, 30, 40]]
    pose[2, :2] = [[5.0, 6, 7], [0, 0, 0]]
    kept = np.zeros((4, 2, 17), bool)
    known = np.isfinite(pose).all(-1)
    rest = (np.zeros((4, 17, 3, 3)), known.astype(int), ViewNoise(np.ones(2)), RobustSettings())
    poses = RobustPoses(
        pose, known, np.zeros((4, 2, 17, 2)), np.ones(kept.shape), kept, np.zeros(kept.shape), kept, (), *rest
    )
    np.testing.assert_array_equal(poses.positions, [[1, 20, 30], [1, 20, 30], [5, 6, 7], [5, 6, 7]])


def test_smooth_poses_memory_of_a_further_frame(monkeypatch):
    """Positions, covariances and detections of all frames stay in memory, everything else for a block of frames."""
    small = TrajectorySettings(block=20, overlap=5, start_scales=(1.0,), scales=(1.0,), rigid_passes=1)
    monkeypatch.setattr(robust_poses_module, "fit_trajectories", partial(fit_trajectories, settings=small))
    monkeypatch.setattr(robust_poses_module, "_BLOCK", 20)
    _, points, cameras = scene(4, 260)
    points, cameras = points.astype(np.float32), cameras.map(lambda array: np.broadcast_to(array[0], array.shape))

    def peak(num_frames):
        tracemalloc.start()
        poses = smoothed(points[:num_frames], cameras[:num_frames])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert np.isfinite(poses.pose_world).all()
        return peak

    assert (peak(260) - peak(100)) / 160 < 3500  # bytes per frame of 4 views
