"""Squares of heatmap samples, compiled by numba. view_sampler.py describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lib.multiviews.cameras_numba import bilinear
from lib.multiviews.compiled import compiled

if TYPE_CHECKING:
    from lib.multiviews.pictorial.backend_numba import NumbaBackend


def sample_squares_compiled(
    heatmaps: np.ndarray, center: np.ndarray, joints: np.ndarray, radius: int, step: float, backend: NumbaBackend
) -> np.ndarray:
    """Do as ViewSampler.squares()."""
    center = np.require(center, np.float64, "CW")
    joints = np.require(joints, np.int64, "CW")
    found = np.empty((*center.shape[:3], (2 * radius + 1) ** 2))

    def sample(frames: slice) -> None:
        maps = np.require(heatmaps[frames], np.float32, "CW")
        _sample_frames(maps, center[frames], joints, radius, float(step), found[frames])

    backend.for_each(sample, backend.shares(len(heatmaps)))
    return found


@compiled()
def _sample_frames(maps, center, joints, radius, step, found):
    """Write the samples (F, V, J, n) of the maps (F, V, J, H, W) of `joints` (J,) around (F, V, J, 2)."""
    num_frames, num_views, num_joints, height, width = maps.shape
    for f in range(num_frames):
        for v in range(num_views):
            for j in range(num_joints):
                heatmap = maps[f, v, joints[j]]
                at = 0
                for row in range(-radius, radius + 1):
                    for column in range(-radius, radius + 1):
                        x, y = center[f, v, j, 0] + column * step, center[f, v, j, 1] + row * step
                        left, top, a, b, c, d = bilinear(x, y, height, width)
                        u, w = np.int64(left), np.int64(top)
                        found[f, v, j, at] = (
                            a * max(heatmap[w, u], 0.0)
                            + b * max(heatmap[w, u + 1], 0.0)
                            + c * max(heatmap[w + 1, u], 0.0)
                            + d * max(heatmap[w + 1, u + 1], 0.0)
                        )
                        at += 1
