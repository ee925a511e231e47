"""Synthetic recordings with a wrong calibration for bench_rig.py: cameras, clocks and faults with ground truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from peer_scenes import IMAGE_PX, MOTIONS, RATE, Scene, detect
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from lib.dataset.synthetic.camera_rig import make_rig
from lib.dataset.synthetic.motion.actions import perform_action
from lib.dataset.synthetic.person import make_subject
from lib.multiviews.cameras import Cameras, project

NUM_FRAMES = 1000  # 20 s
MAX_OFFSET = 5.0  # frames
_MARGIN = 40  # frames before and after the recording
DIRTY = Scene("noise of 2 px, 8 % outliers, 4 % missing, swaps in 12 % of the views", dirty=True, swap_frames=1)


@dataclass(frozen=True)
class RigScene:
    """A recording of F frames and V cameras with ground truth.

    Attributes:
        points: (F, V, 17, 3) x, y in image px and confidence; NaN = not seen.
        cameras: true cameras, leading axis (V,).
        offset, drift: (V,) true sync offset at the first frame (frames) and its growth per frame.
        pose_world: (F, 17, 3) mm.
    """

    points: np.ndarray
    cameras: Cameras
    offset: np.ndarray
    drift: np.ndarray
    pose_world: np.ndarray


def make_rig_scene(
    num_views: int,
    seed: int,
    num_frames: int = NUM_FRAMES,
    max_offset: float = MAX_OFFSET,
    drift: np.ndarray | float = 0.0,
    scene: Scene = DIRTY,
) -> RigScene:
    """Make a recording; the seed decides person, motion, cameras, offsets and detections.

    The first camera is the reference, whose offset is 0.
    """
    rng = np.random.default_rng([seed, num_views, 2121])
    subject, action, subaction, start_s = MOTIONS[seed % len(MOTIONS)]
    frames = np.arange(-_MARGIN, num_frames + _MARGIN)
    person = make_subject(subject, seed).shape
    act = perform_action(action, subaction, person, np.random.default_rng([seed, subject]), start_s + frames / RATE)
    trajectory = CubicSpline(frames, act.pose.joints)
    rig = Cameras.from_records(make_rig(subject, num_views, IMAGE_PX, seed))
    offset = rng.uniform(-max_offset, max_offset, num_views)
    drift = np.broadcast_to(drift, num_views).astype(float)
    offset[0] = 0.0
    rows = np.arange(num_frames)[:, None]
    shown = (rows - offset) / (1 + drift)  # (F, V) time that each view shows
    over_frames = rig.map(lambda array: np.broadcast_to(array, (num_frames, *array.shape)))
    joints_img, _ = project(trajectory(shown), over_frames)
    return RigScene(detect(joints_img, scene, rng), rig, offset, drift, trajectory(np.arange(num_frames)))


def disturbed(
    cameras: Cameras, rng: np.random.Generator, turn_deg: float, move_mm: float, focal: float, views=slice(None)
) -> Cameras:
    """Turn and move cameras about random axes, and change the focal lengths by a share, up or down."""
    num_views = len(cameras)
    turn = Rotation.from_rotvec(np.radians(turn_deg) * directions(rng, num_views)).as_matrix()
    moved = replace(
        cameras,
        R=turn @ cameras.R,
        T=cameras.T + move_mm * directions(rng, num_views),
        f=cameras.f * (1 + focal * rng.choice([-1, 1], num_views))[:, None],
    )
    chosen = np.zeros(num_views, bool)
    chosen[views] = True

    def merged(new: np.ndarray, old: np.ndarray) -> np.ndarray:
        return np.where(chosen.reshape(-1, *[1] * (old.ndim - 1)), new, old)

    return replace(cameras, R=merged(moved.R, cameras.R), T=merged(moved.T, cameras.T), f=merged(moved.f, cameras.f))


def directions(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return random unit vectors (count, 3)."""
    vectors = rng.normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
