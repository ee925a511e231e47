"""Frames of a scene as the input of a 3D method."""

from __future__ import annotations

import numpy as np
from cvf_tests.scenes import Scene

from lib.core.evaluation2d.decode import predict_locations
from lib.core.pose3d.frames import FrameBatch
from lib.utils.transforms import invert_affine, transform_points


def box_of(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Return centers (F, V, 2) px and scales (F, V, 2) of the crops, computed from their matrices."""
    side = scene.heatmaps.shape[-1] / scene.image_to_heatmap[..., 0, 0]
    middle = np.array(scene.heatmaps.shape[:-3:-1]) / 2.0
    center = transform_points(middle[None], invert_affine(scene.image_to_heatmap))[..., 0, :]
    return center, np.stack([side, side], -1) / 200


def make_batch(scene: Scene, heatmaps: np.ndarray | None = None, mode: str = "argmax") -> FrameBatch:
    """Return the frames of a scene with their 2D locations, of its own heatmaps or of (F, V, J, H, W)."""
    heatmaps = scene.heatmaps if heatmaps is None else heatmaps
    num_frames, num_views, num_joints, height, width = heatmaps.shape
    center, scale = box_of(scene)
    locations = predict_locations(
        heatmaps.reshape(-1, num_joints, height, width),
        center.reshape(-1, 2),
        scale.reshape(-1, 2),
        (4 * width, 4 * height),
        mode,
    )
    return FrameBatch(
        heatmaps=heatmaps,
        locations=locations.reshape(num_frames, num_views, num_joints, 3),
        cameras=scene.cameras,
        image_to_heatmap=scene.image_to_heatmap,
        center=center,
        gt_world=scene.pose_world,
    )
