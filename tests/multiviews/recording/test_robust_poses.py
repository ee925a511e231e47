from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.walk import BODY, FLIP_PAIRS, film, swapped, walking

from lib.multiviews.recording.robust_poses import (
    RobustPoses,
    RobustSettings,
    leave_one_out,
    person_sizes,
    robust_poses,
    smooth_poses,
)
from lib.utils.errors import InputError


def smoothed(points, cameras, settings=None):
    settings = settings or RobustSettings()
    return smooth_poses(robust_poses(points, cameras, BODY, FLIP_PAIRS, settings), cameras, settings)


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
    assert np.median(np.linalg.norm(found.pose_world - pose, axis=-1)) < (12 if num_views == 2 else 6)
    assert found.agrees.mean() > 0.98


def test_robust_poses_swapped_arms_are_corrected():
    _, points, cameras = scene(4)
    arms = [joint for pair in FLIP_PAIRS[3:] for joint in pair]
    points[10:14, 2][:, arms] = swapped(points[10:14, 2])[:, arms]
    found = robust_poses(points, cameras, BODY, FLIP_PAIRS).swapped
    assert np.argwhere(found).tolist() == [[frame, 2, 1] for frame in range(10, 14)]


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


def test_smooth_poses_joint_without_consensus_is_bridged():
    pose, points, cameras = scene(4, noise_px=0.1)
    points[20:23, :2, 16] = np.nan
    found = smoothed(points, cameras)
    assert np.argwhere(~found.known).tolist() == [[frame, 16] for frame in (20, 21, 22)]
    assert not found.agrees[20:23, :, 16].any()
    assert np.linalg.norm(found.pose_world - pose, axis=-1).max() < 10
    two_views = smoothed(points, cameras, RobustSettings(min_views=2))
    assert two_views.known.all()


def test_smooth_poses_cutoff_reduces_error():
    pose, points, cameras = scene(4, 80, noise_px=4.0)
    unsmoothed, smooth = (
        smoothed(points, cameras, RobustSettings(0.06, cutoff=cutoff)).pose_world for cutoff in (None, 0.1)
    )
    error, smooth_error = (np.linalg.norm(found - pose, axis=-1).mean() for found in (unsmoothed, smooth))
    assert smooth_error < 0.8 * error


def test_leave_one_out_moved_camera_has_large_error():
    _, points, cameras = scene(4)
    errors = np.nanmedian(leave_one_out(robust_poses(points, cameras, BODY, FLIP_PAIRS), cameras), (0, 2))
    assert (errors < 4).all()
    points[:, 2, :, :2] += 25
    off = leave_one_out(robust_poses(points, cameras, BODY, FLIP_PAIRS, RobustSettings(0.02)), cameras)
    assert np.nanmedian(off[:, 2]) > 20
    with pytest.raises(InputError, match="3 views"):
        leave_one_out(robust_poses(points[:, :2], cameras[:, :2], BODY, FLIP_PAIRS), cameras[:, :2])


def test_person_sizes_need_half_of_the_joints():
    points = np.full((2, 4, 2), np.nan)
    points[0, :3] = [[0, 0], [10, 40], [5, 5]]
    points[1, 0] = [3, 3]
    sizes = person_sizes(points)
    assert sizes[0] == 40
    assert np.isnan(sizes[1])


def test_robust_poses_view_without_person_is_refused():
    _, points, cameras = scene(3)
    points[:, 1] = np.nan
    with pytest.raises(InputError, match="view 2: no frame"):
        robust_poses(points, cameras, BODY, FLIP_PAIRS)
    with pytest.raises(InputError, match="tolerance"):
        robust_poses(points, cameras, BODY, FLIP_PAIRS, RobustSettings(tolerance=3.0))


def test_positions_without_root_use_known_joints():
    pose = np.full((4, 17, 3), np.nan)
    pose[1, 3:5] = [[0.0, 10, 20], [2, 30, 40]]
    pose[2, :2] = [[5.0, 6, 7], [0, 0, 0]]
    kept = np.zeros((4, 2, 17), bool)
    poses = RobustPoses(pose, np.isfinite(pose).all(-1), np.zeros((4, 2, 17, 2)), kept, np.zeros(kept.shape), kept, ())
    np.testing.assert_array_equal(poses.positions, [[1, 20, 30], [1, 20, 30], [5, 6, 7], [5, 6, 7]])
