"""A walking person filmed by cameras whose calibration and clocks are wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from cvf_tests.scenes import make_rig
from cvf_tests.walk import swapped, walking
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from lib.multiviews.cameras import Cameras, project
from lib.multiviews.rig.rig_parameters import RigState

SIDE = 1000


@dataclass(frozen=True)
class FilmedWalk:
    """Detections (F, V, 17, 3), and the true cameras, clocks and joints (F, 17, 3)."""

    points: np.ndarray
    state: RigState
    pose_world: np.ndarray


def filmed_walk(
    num_views: int = 3, num_frames: int = 120, offsets: tuple[float, ...] = (), swap_share: float = 0.1, seed: int = 1
) -> FilmedWalk:
    """Film a person with noise of 1 px, 4 % outliers, and swaps in a share of the views."""
    rng = np.random.default_rng(seed)
    cameras = make_rig(num_views, rng)
    offset = np.array([*offsets, *[0.0] * (num_views - len(offsets))])
    pose = walking(num_frames + 40, rng)
    trajectory = CubicSpline(np.arange(-20, num_frames + 20), pose)
    shown = trajectory(np.arange(num_frames)[:, None] - offset)
    over_frames = cameras.map(lambda array: np.repeat(array[None], num_frames, 0))
    joints, _ = project(shown, over_frames)
    points = joints + rng.normal(0, 1.0, joints.shape)
    points[rng.random(points.shape[:3]) < 0.04] += 60.0
    turned = rng.random(points.shape[:2]) < swap_share
    points[turned] = swapped(points[turned])
    points = np.concatenate([points, np.ones((*points.shape[:3], 1))], -1)
    return FilmedWalk(points, RigState(cameras, offset, np.zeros(num_views)), pose[20:-20])


def bumped(cameras: Cameras, view: int, degrees: float = 1.0) -> Cameras:
    """Turn one camera about its vertical axis."""
    R = cameras.R.copy()
    R[view] = Rotation.from_rotvec([0.0, np.radians(degrees), 0.0]).as_matrix() @ R[view]
    return replace(cameras, R=R)
