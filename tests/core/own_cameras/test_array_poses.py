from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.walk import film, walking

from lib.core.own_cameras.array_poses import estimate_poses
from lib.dataset.own_cameras.keypoint_sets import POINT_SETS
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17


def scene(num_views=3):
    rng = np.random.default_rng(8)
    pose = walking(60, rng)
    points, cameras = film(pose, num_views, rng)
    return pose, points, cameras[0]


def test_estimate_poses_of_h36m_points():
    pose, points, cameras = scene()
    poses = estimate_poses(points, cameras)
    assert np.linalg.norm(poses.pose_world - pose, axis=-1).mean() < 5


def test_estimate_poses_of_another_keypoint_set():
    pose, points, cameras = scene()
    names = POINT_SETS["coco17"]
    shared = [name for name in names if name in H36M_17.names]
    detected = np.full((60, 3, len(names), 3), np.nan)
    detected[:, :, [names.index(name) for name in shared]] = points[:, :, H36M_17.indices(shared)]
    poses = estimate_poses(detected, cameras, "coco17")
    joints = H36M_17.indices(shared)
    assert np.linalg.norm(poses.pose_world - pose, axis=-1)[:, joints].mean() < 5
    assert np.isnan(poses.pose_world[:, H36M_17.index("head")]).all()  # made of eyes and ears, which are not given


def test_estimate_poses_invalid_arrays_are_refused():
    _, points, cameras = scene()
    with pytest.raises(InputError, match="unknown set of points"):
        estimate_poses(points, cameras, "body26")
    with pytest.raises(InputError, match="at least 1 frame and 2 views, received 60 and 1"):
        estimate_poses(points[:, :1], cameras[:1])
    with pytest.raises(InputError, match="cameras"):
        estimate_poses(points, cameras[:2])
