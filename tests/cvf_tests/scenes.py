"""Synthetic frames as in Human3.6M: persons, a rig of cameras, crops and perfect heatmaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from lib.multiviews.body import H36M_BODY
from lib.multiviews.cameras import Cameras, project
from lib.multiviews.pictorial.backend_numpy import Backend, NumpyBackend
from lib.multiviews.refinement.view_sampler import partners
from lib.utils.joints import H36M_17
from lib.utils.transforms import image_to_heatmap_affine, transform_points

FLIP_PAIRS = [tuple(H36M_17.indices(pair)) for pair in H36M_17.flip_pairs]
PARTNER = partners(len(H36M_17), FLIP_PAIRS)
MEAN_LENGTHS = {
    "root-rhip": 133,
    "root-lhip": 133,
    "root-belly": 234,
    "rhip-rkne": 443,
    "lhip-lkne": 443,
    "belly-neck": 256,
    "rkne-rank": 454,
    "lkne-lank": 454,
    "neck-nose": 121,
    "neck-lsho": 151,
    "neck-rsho": 151,
    "nose-head": 115,
    "lsho-lelb": 279,
    "rsho-relb": 279,
    "lelb-lwri": 251,
    "relb-rwri": 251,
}
LENGTHS = np.array([MEAN_LENGTHS[name] for name in H36M_BODY.limb_names], np.float64)  # mm
_DIRECTIONS = {
    "rhip": (1, 0, 0),
    "lhip": (-1, 0, 0),
    "belly": (0, 0, 1),
    "neck": (0, 0, 1),
    "nose": (0, 0.3, 1),
    "head": (0, -0.2, 1),
    "rkne": (0, 0, -1),
    "lkne": (0, 0, -1),
    "rank": (0, 0, -1),
    "lank": (0, 0, -1),
    "lsho": (-1, 0, -0.2),
    "rsho": (1, 0, -0.2),
    "lelb": (-0.3, 0, -1),
    "relb": (0.3, 0, -1),
    "lwri": (0, 0.6, -1),
    "rwri": (0, 0.6, -1),
}


@dataclass(frozen=True)
class Scene:
    """F frames of V views.

    Attributes:
        pose_world: (F, 17, 3) mm.
        cameras: leading axes (F, V).
        image_to_heatmap: (F, V, 2, 3).
        joints_hm: (F, V, 17, 2) heatmap px.
        heatmaps: (F, V, 17, H, W) Gaussians with peak 1 at the subpixel joints.
    """

    pose_world: np.ndarray
    cameras: Cameras
    image_to_heatmap: np.ndarray
    joints_hm: np.ndarray
    heatmaps: np.ndarray


def make_rig(num_views: int, rng: np.random.Generator) -> Cameras:
    """Return V cameras, 5 m from the center of the room and 1.5 m high, that look at the center."""
    records = []
    for view in range(num_views):
        angle = 2 * np.pi * (view + 0.5 + rng.uniform(-0.1, 0.1)) / max(num_views, 3)
        center = np.array([5000 * np.cos(angle), 5000 * np.sin(angle), 1500.0])
        forward = np.array([0, 0, 900.0]) - center
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, [0, 0, 1.0])
        right /= np.linalg.norm(right)
        records.append(
            {
                "R": np.stack([right, np.cross(forward, right), forward]),
                "T": center[:, None],
                "fx": [1145.0 + view],
                "fy": [1143.5],
                "cx": [512.5],
                "cy": [515.4 - view],
                "k": [-0.2, 0.24, -0.002],
                "p": [-0.0009, -0.0016],
            }
        )
    return Cameras.from_records(records)


def make_poses(num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return standing persons (F, 17, 3), mm, with random joint angles, headings and limb lengths (5 %)."""
    body = H36M_BODY
    pose = np.zeros((num_frames, 17, 3))
    for (parent, child), length in zip(body.edges, LENGTHS, strict=True):
        direction = np.array(_DIRECTIONS[body.joint_names[child]]) + rng.normal(0, 0.35, (num_frames, 3))
        direction *= (length * rng.uniform(0.95, 1.05, num_frames) / np.linalg.norm(direction, axis=1))[:, None]
        pose[:, child] = pose[:, parent] + direction
    heading = rng.uniform(0, 2 * np.pi, num_frames)
    rotation = np.zeros((num_frames, 3, 3))
    rotation[:, 0, 0] = rotation[:, 1, 1] = np.cos(heading)
    rotation[:, 1, 0], rotation[:, 0, 1], rotation[:, 2, 2] = np.sin(heading), -np.sin(heading), 1
    place = rng.uniform(-1, 1, (num_frames, 1, 3)) * [700, 700, 50] + [0, 0, 900]
    return pose @ rotation.swapaxes(1, 2) + place


def make_scene(
    num_frames: int = 2,
    num_views: int = 4,
    heatmap_wh: tuple[int, int] = (64, 64),
    image_wh: tuple[int, int] = (256, 256),
    sigma: float = 2.0,
    seed: int = 0,
) -> Scene:
    """Build frames with crops of 2000 mm around the root."""
    rng = np.random.default_rng(seed)
    rig, pose = make_rig(num_views, rng), make_poses(num_frames, rng)
    cameras = rig.map(lambda array: np.repeat(array[None], num_frames, 0))
    joints_img, depth = project(pose[:, None], cameras)
    side = 2000 * cameras.f[..., 0] / depth[..., 0]  # px
    matrix = image_to_heatmap_affine(joints_img[..., 0, :], np.stack([side, side], -1) / 200, image_wh, heatmap_wh)
    joints_hm = transform_points(joints_img, matrix)
    return Scene(pose, cameras, matrix, joints_hm, draw_gaussians(joints_hm, heatmap_wh, sigma))


def draw_gaussians(joints_hm: np.ndarray, heatmap_wh: tuple[int, int], sigma: float) -> np.ndarray:
    """Return Gaussians (..., H, W) float32 with peak 1 at subpixel positions (..., 2)."""
    x = np.exp(-((np.arange(heatmap_wh[0]) - joints_hm[..., 0, None]) ** 2) / (2 * sigma**2))
    y = np.exp(-((np.arange(heatmap_wh[1]) - joints_hm[..., 1, None]) ** 2) / (2 * sigma**2))
    return (y[..., :, None] * x[..., None, :]).astype(np.float32)


def make_backend(library: str) -> Backend:
    """Return the backend of "numpy", "numba", "torch" (on the CPU) or "cuda" (torch).

    The test is skipped if the library is not installed.
    """
    if library == "numpy":
        return NumpyBackend()
    if library == "numba":
        pytest.importorskip("numba")
        from lib.multiviews.pictorial.backend_numba import NumbaBackend

        return NumbaBackend()
    pytest.importorskip("torch")
    from lib.multiviews.pictorial.backend_torch import TorchBackend

    return TorchBackend("cpu" if library == "torch" else "cuda")
