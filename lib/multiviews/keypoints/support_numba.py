"""Number of supporting views, compiled by numba. view_support.py describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lib.multiviews.cameras import Cameras, pack_heatmap_cameras
from lib.multiviews.cameras_numba import bilinear, camera_numbers, center_in_camera, project_camera_point
from lib.multiviews.compiled import compiled, inner
from lib.multiviews.keypoints.view_support import MIN_PEAK_SHARE, MIN_VIEW_SHARE

if TYPE_CHECKING:
    from lib.multiviews.pictorial.backend_numba import NumbaBackend


def count_supporting_views_compiled(
    heatmaps: np.ndarray, pose_world: np.ndarray, cameras: Cameras, image_to_heatmap: np.ndarray, backend: NumbaBackend
) -> np.ndarray:
    """Do as count_supporting_views()."""
    packed = pack_heatmap_cameras(cameras, image_to_heatmap)
    pose = np.require(pose_world, np.float64, "CW")
    counts = np.empty(pose.shape[:2], np.int64)

    def count(frames: slice) -> None:
        maps = np.require(heatmaps[frames], np.float32, "CW")
        _count_in_frames(maps, pose[frames], packed[frames], counts[frames])

    backend.for_each(count, backend.shares(len(heatmaps)))
    return counts


@compiled()
def _count_in_frames(maps, pose, cameras, counts):
    num_frames, num_views, num_joints, height, width = maps.shape
    highest = np.empty(num_views, np.float32)
    for f in range(num_frames):
        for joint in range(num_joints):
            counts[f, joint] = 0
            point = pose[f, joint]
            if not (np.isfinite(point[0]) and np.isfinite(point[1]) and np.isfinite(point[2])):
                continue
            usual = np.float32(0)
            for v in range(num_views):
                highest[v] = _largest(maps[f, v, joint].reshape(height * width))
                usual = max(usual, highest[v])
            for v in range(num_views):
                if not (highest[v] > 0 and highest[v] >= MIN_VIEW_SHARE * usual):
                    continue
                camera = camera_numbers(cameras[f, v])
                x, y, z = center_in_camera(point, camera)
                x_hm, y_hm = project_camera_point(x, y, z, camera)
                left, top, a, b, c, d = bilinear(x_hm, y_hm, height, width)
                u, w = np.int64(left), np.int64(top)
                heatmap = maps[f, v, joint]
                value = a * heatmap[w, u] + b * heatmap[w, u + 1] + c * heatmap[w + 1, u] + d * heatmap[w + 1, u + 1]
                if value >= MIN_PEAK_SHARE * highest[v]:
                    counts[f, joint] += 1


@inner({"nnan", "nsz"})
def _largest(values):
    best = values[0]
    for i in range(values.size):
        best = values[i] if values[i] > best else best
    return best
