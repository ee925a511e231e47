"""Synthetic 2D detections of a walking person."""

from __future__ import annotations

import numpy as np
from cvf_tests.scenes import make_poses, make_rig
from scipy.spatial.transform import Rotation

from lib.multiviews.body import H36M_BODY
from lib.multiviews.cameras import Cameras, project
from lib.utils.joints import H36M_17

BODY = H36M_BODY


def walking(num_frames: int, rng: np.random.Generator, speed: float = 1.0) -> np.ndarray:
    """Return a person (F, 17, 3), mm, who walks on a curve with swinging arms and legs."""
    pose = np.repeat(make_poses(1, rng), num_frames, 0)
    time = np.arange(num_frames) * speed
    swing = np.sin(time[:, None] / 6 + rng.uniform(0, 6, 17))[..., None] * rng.normal(0, 60, (17, 3))
    place = np.stack([500 * np.sin(time / 17), 300 * np.cos(time / 11), 60 * np.sin(time / 7)], 1)
    return pose + swing + place[:, None]


def rigid_walk(num_frames: int = 40) -> np.ndarray:
    """Return a person (F, 17, 3) with constant limbs in the axes left, up, forward, each joint turning smoothly."""
    rng = np.random.default_rng(2)
    time = np.linspace(0, 1, num_frames)[:, None]
    pose = np.zeros((num_frames, 17, 3))
    pose[:, 0, 0] = 500 * time[:, 0]
    turned = {}
    for parent, joint in BODY.edges:
        if parent not in turned:
            swing = np.sin(2 * np.pi * time + rng.uniform(0, 6, 3)) * rng.uniform(0.1, 0.6, 3)
            base = turned[BODY.parents[parent]] if parent else Rotation.identity()
            turned[parent] = base * Rotation.from_rotvec(swing)
        name = BODY.joint_names[joint]
        rest = [300 * (name[0] == "l") - 300 * (name[0] == "r"), -400 if name[1:] in ("kne", "ank") else 100, 20]
        pose[:, joint] = pose[:, parent] + turned[parent].apply(rest)
    return pose


def film(
    pose: np.ndarray, num_views: int, rng: np.random.Generator, noise_px: float = 1.0
) -> tuple[np.ndarray, Cameras]:
    """Return detections (F, V, 17, 3) with confidence 1, and cameras (F, V)."""
    rig = make_rig(num_views, rng)
    cameras = rig.map(lambda array: np.repeat(array[None], len(pose), 0))
    points, _ = project(pose[:, None], cameras)
    points = points + rng.normal(0, noise_px, points.shape)
    return np.concatenate([points, np.ones((*points.shape[:3], 1))], -1), cameras


def swapped(points: np.ndarray) -> np.ndarray:
    """Swap left and right in points (..., 17, C)."""
    return points[..., H36M_17.mirrored_order(), :]
