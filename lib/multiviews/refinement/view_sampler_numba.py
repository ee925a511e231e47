"""Squares of heatmap samples, compiled by numba. view_sampler.py describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lib.multiviews.cameras_numba import bilinear
from lib.multiviews.compiled import compiled

if TYPE_CHECKING:
    from lib.multiviews.pictorial.backend_numba import NumbaBackend


def sample_maps_compiled(
    heatmaps: np.ndarray, maps: np.ndarray, center: np.ndarray, radius: int, step: float, backend: NumbaBackend
) -> np.ndarray:
    """Do as sample_maps()."""
    flat = np.require(heatmaps, np.float32, "CW").reshape(-1, *heatmaps.shape[-2:])
    index = np.require(maps, np.int64, "CW").reshape(-1)
    places = np.require(center, np.float64, "CW").reshape(-1, 2)
    found = np.empty((len(index), (2 * radius + 1) ** 2))

    def sample(rows: slice) -> None:
        _sample_rows(flat, index[rows], places[rows], radius, float(step), found[rows])

    backend.for_each(sample, backend.shares(len(index)))
    return found.reshape(*maps.shape, found.shape[1])


@compiled()
def _sample_rows(flat, index, places, radius, step, found):
    """Write the samples (n, s) of the maps (N, H, W) with indices (n,) around places (n, 2)."""
    height, width = flat.shape[1:]
    for row in range(len(index)):
        heatmap = flat[index[row]]
        at = 0
        for down in range(-radius, radius + 1):
            for right in range(-radius, radius + 1):
                x, y = places[row, 0] + right * step, places[row, 1] + down * step
                left, top, a, b, c, d = bilinear(x, y, height, width)
                u, w = np.int64(left), np.int64(top)
                found[row, at] = (
                    a * max(heatmap[w, u], 0.0)
                    + b * max(heatmap[w, u + 1], 0.0)
                    + c * max(heatmap[w + 1, u], 0.0)
                    + d * max(heatmap[w + 1, u + 1], 0.0)
                )
                at += 1
