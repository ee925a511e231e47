"""Synthetic recordings with ground truth for bench_peers.py: 2D detections with noise, outliers, swaps and gaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from lib.dataset.synthetic.camera_rig import make_rig
from lib.dataset.synthetic.motion.actions import perform_action
from lib.dataset.synthetic.person import make_subject
from lib.multiviews.cameras import Cameras, project
from lib.utils.joints import H36M_17

RATE = 50.0  # frames per second
NUM_FRAMES = 250
IMAGE_PX = 1000
# Subject, action, subaction and start (s): Walking, Greeting, Purchases, SittingDown.
MOTIONS = ((9, 14, 1, 20.0), (11, 5, 1, 40.0), (21, 8, 1, 60.0), (22, 10, 1, 30.0))

NOISE_PX = 2.0  # per axis
OUTLIER_SHARE = 0.08
OUTLIER_PX = (20.0, 200.0)
MISSING_SHARE = 0.04
SWAP_SHARE = 0.12  # of the views of a frame; legs or arms
SWAPPED_PARTS = (("hip", "kne", "ank"), ("sho", "elb", "wri"))
BURST_FRAMES = 10
HIDDEN_SHARE = 0.2
HIDDEN_S = 1.0
OFF_DEG = 1.0
# Confidence of outliers and of correct detections; they overlap (area under the ROC curve 0.74).
OUTLIER_CONFIDENCE = (0.2, 0.95)
CONFIDENCE = (0.5, 1.0)


@dataclass(frozen=True)
class Scene:
    """What is wrong with the detections of a scene.

    Attributes:
        description: one line for tables.
        dirty: outliers and missing detections.
        swap_frames: length of the runs of frames in which a view swaps legs or arms; 0 = no swaps.
        lens: cameras with lens distortion.
        off: one camera per recording is turned by OFF_DEG.
        hidden: each joint is hidden in a camera for HIDDEN_S at a time.
    """

    description: str
    dirty: bool = False
    swap_frames: int = 0
    lens: bool = False
    off: bool = False
    hidden: bool = False


SCENES = {
    "a": Scene("noise of 2 px"),
    "b": Scene("a, 8 % outliers, 4 % missing", dirty=True),
    "c": Scene("b, swaps in 12 % of the views", dirty=True, swap_frames=1),
    "c_burst": Scene("b, the same swaps in runs of 10 frames", dirty=True, swap_frames=BURST_FRAMES),
    "d": Scene("a, one camera turned by 1 degree", off=True),
    "e_c": Scene("c with the lens of Human3.6M", dirty=True, swap_frames=1, lens=True),
    "f": Scene("b, joints hidden for 1 s, 20 % of the time", dirty=True, hidden=True),
}


@dataclass(frozen=True)
class SceneRecording:
    """One recording of F frames and V cameras.

    Attributes:
        points: (F, V, 17, 3) x, y in px and confidence; NaN = not seen.
        cameras: cameras as the methods know them, leading axis (V,).
        pose_world: (F, 17, 3) ground truth, mm.
        view_off: the turned camera, or None.
    """

    points: np.ndarray
    cameras: Cameras
    pose_world: np.ndarray
    view_off: int | None


def make_scene(name: str, num_views: int, seed: int, num_frames: int = NUM_FRAMES) -> Iterator[SceneRecording]:
    """Yield the four recordings of a scene. The seed decides people, motion, cameras and detections."""
    scene = SCENES[name]
    for number, (subject, action, subaction, start_s) in enumerate(MOTIONS):
        rng = np.random.default_rng([seed, num_views, number, *name.encode()])
        times = start_s + np.arange(num_frames) / RATE
        motion_rng = np.random.default_rng([seed, subject])
        act = perform_action(action, subaction, make_subject(subject, seed).shape, motion_rng, times)
        rig = Cameras.from_records(make_rig(subject, num_views, IMAGE_PX, seed))
        if not scene.lens:
            rig = replace(rig, k=0 * rig.k, p=0 * rig.p)
        over_frames = rig.map(lambda array: np.broadcast_to(array, (num_frames, *array.shape)))
        joints_img, _ = project(act.pose.joints[:, None], over_frames)
        points = detect(joints_img, scene, rng)
        view_off = number % num_views if scene.off else None
        if view_off is not None:
            rig = _with_view_off(rig, view_off, rng)
        yield SceneRecording(points, rig, act.pose.joints, view_off)


def detect(joints_img: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Return detections (F, V, 17, 3) of joints (F, V, 17, 2), px."""
    shape = joints_img.shape[:3]
    points_img = joints_img + rng.normal(0, NOISE_PX, joints_img.shape)
    confidence = rng.uniform(*CONFIDENCE, shape)
    missing = np.zeros(shape, bool)
    if scene.dirty:
        outlier = rng.random(shape) < OUTLIER_SHARE
        distance, angle = rng.uniform(*OUTLIER_PX, shape), rng.uniform(0, 2 * np.pi, shape)
        offset = distance[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)
        points_img = points_img + offset * outlier[..., None]
        confidence = np.where(outlier, rng.uniform(*OUTLIER_CONFIDENCE, shape), confidence)
        missing |= rng.random(shape) < MISSING_SHARE
    if scene.hidden:
        missing |= _hidden(shape, rng)
    points = np.concatenate([points_img, confidence[..., None]], -1)
    points[missing] = np.nan
    if scene.swap_frames:
        _swap_sides(points, scene.swap_frames, rng)
    return points


def _hidden(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return which joints (F, V, 17) are hidden: runs of HIDDEN_S that begin at a random phase per view and joint."""
    num_frames, num_views, num_joints = shape
    length = round(HIDDEN_S * RATE)
    hidden = rng.random((num_frames // length + 2, num_views, num_joints)) < HIDDEN_SHARE
    run = (np.arange(num_frames)[:, None, None] + rng.integers(length, size=(num_views, num_joints))) // length
    return np.take_along_axis(hidden, run, 0)


def _swap_sides(points: np.ndarray, run: int, rng: np.random.Generator) -> None:
    """Swap legs or arms of points (F, V, 17, 3) in place, in runs of frames."""
    num_frames, num_views = points.shape[:2]
    shape = (-(-num_frames // run), num_views)
    part = np.where(rng.random(shape) < SWAP_SHARE, rng.integers(len(SWAPPED_PARTS), size=shape), -1)
    part = np.repeat(part, run, 0)[:num_frames]
    for number, names in enumerate(SWAPPED_PARTS):
        right, left = (H36M_17.indices([side + name for name in names]) for side in "rl")
        where = part == number
        block = points[where]
        block[:, right + left] = block[:, left + right]
        points[where] = block


def _with_view_off(rig: Cameras, view: int, rng: np.random.Generator) -> Cameras:
    """Turn a camera by OFF_DEG about a random axis in its image plane."""
    angle = rng.uniform(0, 2 * np.pi)
    turn = Rotation.from_rotvec(np.radians(OFF_DEG) * np.array([np.cos(angle), np.sin(angle), 0.0])).as_matrix()
    R = rig.R.copy()
    R[view] = turn @ R[view]
    return replace(rig, R=R)
