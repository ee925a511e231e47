"""How many views agree with a joint of a 3D pose: the evidence that it stands on; numpy only."""

from __future__ import annotations

import numpy as np

from lib.multiviews.cameras import Cameras, project_camera, visible_to, world_to_camera
from lib.utils.transforms import transform_points

# A Gaussian is half as high 1.2 standard deviations from its peak: 2.4 px for the published 64 px maps. The second of
# two peaks agrees if it is at least half as high as the first.
AGREEING_SHARE = 0.5
SEEING_SHARE = 0.1  # a map this much lower than the joint's highest one shows noise


def count_supporting_views(
    heatmaps: np.ndarray, pose_world: np.ndarray, cameras: Cameras, image_to_heatmap: np.ndarray
) -> np.ndarray:
    """Count the views whose heatmap is high where the joint projects to.

    A view agrees with a joint where its heatmap, read between the pixels, has at least half of its highest value. Views
    that cannot see the joint, outside of whose map it is, or whose whole map is below a tenth of the joint's highest
    one do not agree.

    Args:
        heatmaps: (F, V, J, H, W).
        pose_world: (F, J, 3) mm; NaN = no joint, 0 views.
        cameras: cameras with leading axes (F, V).
        image_to_heatmap: (F, V, 2, 3) image px -> heatmap px.

    Returns:
        (F, J) int64, 0 to V.
    """
    exists = np.isfinite(pose_world).all(-1)  # (F, J)
    points_cam = world_to_camera(np.where(exists[..., None], pose_world, 0.0)[:, None], cameras)
    points_hm = transform_points(project_camera(points_cam, cameras)[0], image_to_heatmap)  # (F, V, J, 2)
    highest = heatmaps.max((-2, -1))  # (F, V, J)
    seen = (highest > 0) & (highest >= SEEING_SHARE * highest.max(1, keepdims=True))
    agrees = seen & visible_to(points_cam, cameras) & (_sample(heatmaps, points_hm) >= AGREEING_SHARE * highest)
    return agrees.sum(1) * exists


def _sample(heatmaps: np.ndarray, points_hm: np.ndarray) -> np.ndarray:
    """Read heatmaps (..., H, W) at points (..., 2), bilinearly, 0 outside: (...)."""
    height, width = heatmaps.shape[-2:]
    maps = heatmaps.reshape(-1, height, width)
    which = np.arange(len(maps))
    x, y = (points_hm[..., axis].reshape(-1).clip(-1, size) for axis, size in ((0, width), (1, height)))
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    total = np.zeros(len(maps))
    for column, x_part in ((left, 1 - (x - left)), (left + 1, x - left)):
        for row, y_part in ((top, 1 - (y - top)), (top + 1, y - top)):
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            values = maps[which, row.clip(0, height - 1), column.clip(0, width - 1)]
            total += np.where(inside, values * x_part * y_part, 0.0)
    return total.reshape(heatmaps.shape[:-2])
