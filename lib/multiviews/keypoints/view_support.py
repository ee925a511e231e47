"""Number of views whose heatmaps support a joint of a 3D pose. Heatmaps may be tensors on a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.multiviews.cameras import Cameras, project_camera, visible_to, world_to_camera
from lib.multiviews.keypoints.heatmap_values import highest_values, on_host, take_values
from lib.multiviews.pictorial.backend_numpy import Backend
from lib.utils.transforms import transform_points

# Half of the peak height is 1.2 standard deviations from the center of a Gaussian: 2.4 px in the original heatmaps.
MIN_PEAK_SHARE = 0.5
MIN_VIEW_SHARE = 0.1  # heatmaps lower than this share of the joint's highest heatmap are noise


def count_supporting_views(
    heatmaps: Any,
    pose_world: np.ndarray,
    cameras: Cameras,
    image_to_heatmap: np.ndarray,
    backend: Backend | None = None,
) -> np.ndarray:
    """Count the views that support each joint.

    A view supports a joint if its heatmap, interpolated at the projected joint, reaches half of its maximum. Views that
    cannot see the joint, or whose heatmap is below a tenth of the joint's highest heatmap, do not count.

    Args:
        heatmaps: (F, V, J, H, W), numpy or torch.
        pose_world: (F, J, 3) mm; NaN = missing joint, 0 views.
        cameras: cameras with leading axes (F, V).
        image_to_heatmap: (F, V, 2, 3) image px -> heatmap px.
        backend: its kernel is used if it has one; None = numpy.

    Returns:
        (F, J) int64, 0 to V.
    """
    heatmaps = on_host(heatmaps)
    if backend is not None and backend.count_supporting_views is not None:
        return backend.count_supporting_views(heatmaps, pose_world, cameras, image_to_heatmap)
    return SupportPatches.around(heatmaps, pose_world, cameras, image_to_heatmap, margin=0).count(pose_world)


@dataclass(frozen=True)
class SupportPatches:
    """What count_supporting_views() needs of the heatmaps, for poses near given ones.

    With a margin of 2 px, 17 joints and 4 views it takes 11 kB per frame; the heatmaps take 1.1 MB.

    Attributes:
        values: (F, V, J, side, side) pixels around the projected joints.
        corner: (F, V, J, 2) column and row of the first pixel.
        needed: (F, V, J) value that supports a joint; infinite where the heatmap is noise.
        cameras: leading axes (F, V).
        image_to_heatmap: (F, V, 2, 3) image px -> heatmap px.
    """

    values: np.ndarray
    corner: np.ndarray
    needed: np.ndarray
    cameras: Cameras
    image_to_heatmap: np.ndarray

    @classmethod
    def around(
        cls,
        heatmaps: Any,
        pose_world: np.ndarray,
        cameras: Cameras,
        image_to_heatmap: np.ndarray,
        margin: int = 2,
        backend: Backend | None = None,
    ) -> SupportPatches:
        """Cut patches out of heatmaps, `margin` px larger than the interpolation at poses (F, J, 3), mm, needs."""
        heatmaps = on_host(heatmaps)
        *axes, height, width = heatmaps.shape
        points_hm, _ = _project(pose_world, cameras, image_to_heatmap)
        limits = np.array([width, height])
        side = min(2 + 2 * margin, *limits.tolist())
        corner = (np.floor(points_hm) - margin).clip(0, limits - side).astype(np.int64)  # (F, V, J, 2)
        start = np.arange(np.prod(axes, dtype=int)).reshape(axes) * (height * width)
        first = start + corner[..., 1] * width + corner[..., 0]
        steps = np.arange(side)[:, None] * width + np.arange(side)
        highest = _highest(heatmaps, backend)  # (F, V, J)
        is_signal = (highest > 0) & (highest >= MIN_VIEW_SHARE * highest.max(1, keepdims=True))
        return cls(
            values=take_values(heatmaps, first[..., None, None] + steps),
            corner=corner.astype(np.int16),
            needed=np.where(is_signal, MIN_PEAK_SHARE * highest, np.inf),
            cameras=cameras,
            image_to_heatmap=image_to_heatmap,
        )

    def count(self, pose_world: np.ndarray) -> np.ndarray:
        """Count the views (F, J) that support poses (F, J, 3), mm; beyond a patch the heatmap counts as 0."""
        points_hm, visible = _project(pose_world, self.cameras, self.image_to_heatmap)
        distance = (points_hm - self.corner)[..., None] - np.arange(self.values.shape[-1])  # (F, V, J, 2, side)
        weight = (1 - abs(distance)).clip(0)
        value = (weight[..., 1, None, :] @ self.values @ weight[..., 0, :, None])[..., 0, 0]
        return (visible & (value >= self.needed)).sum(1) * np.isfinite(pose_world).all(-1)


def _highest(heatmaps: Any, backend: Backend | None) -> np.ndarray:
    """Return the highest value of each heatmap, in the backend's threads."""
    if backend is None or not isinstance(heatmaps, np.ndarray):
        return highest_values(heatmaps)
    highest = np.empty(heatmaps.shape[:-2], heatmaps.dtype)

    def find(frames: slice) -> None:
        highest[frames] = highest_values(heatmaps[frames])

    backend.for_each(find, backend.shares(len(heatmaps)))
    return highest


def _project(pose_world: np.ndarray, cameras: Cameras, image_to_heatmap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project joints (F, J, 3), mm; missing ones as the origin: (F, V, J, 2) heatmap px, (F, V, J) visibility."""
    exists = np.isfinite(pose_world).all(-1)[..., None]
    points_cam = world_to_camera(np.where(exists, pose_world, 0.0)[:, None], cameras)
    return transform_points(project_camera(points_cam, cameras)[0], image_to_heatmap), visible_to(points_cam, cameras)
