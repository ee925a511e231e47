from __future__ import annotations

from pathlib import Path

import numpy as np

from lib.dataset.annotations import Annotations, PoseLabels
from lib.multiviews.cameras import Cameras
from lib.utils.joints import H36M_17


def test_pose_world_by_hand():
    # camera 0: turned by 90 degrees about z, at (1000, 0, 0); camera 1: not turned, at (0, 0, 500)
    turned = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    cameras = Cameras(
        R=np.stack([turned, np.eye(3)]),
        T=np.array([[1000.0, 0, 0], [0, 0, 500]]),
        f=np.ones((2, 2)),
        c=np.zeros((2, 2)),
        k=np.zeros((2, 3)),
        p=np.zeros((2, 2)),
    )
    pose_cam = np.tile(np.array([[20.0, 30, 40]], np.float32), (3, 17, 1))
    ids = np.zeros(3, np.int32)
    labels = PoseLabels(ids, ids, ids, ids, ids, pose_cam, cameras, camera_idx=np.array([1, 0, 1]))
    world = labels.pose_world(np.array([1, 2]))
    assert world.shape == (2, 17, 3)
    np.testing.assert_allclose(world[0, 5], [1000 - 30, 20, 40])
    np.testing.assert_allclose(world[1, 5], [20, 30, 540])


def test_image_name_is_str():
    nothing = np.zeros((2, 2), np.float32)
    names = np.array([b"s_01/a.jpg", "s_01/é.jpg".encode()])
    annotations = Annotations("h36m", H36M_17, Path("images"), names, nothing, nothing, nothing, nothing)
    assert len(annotations) == 2
    assert annotations.image_name(1) == "s_01/é.jpg"
