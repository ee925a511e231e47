"""Bilinear sampling of heatmaps at projected 3D bins.

The bins are one set of offsets around many centers. Rotation is linear, so the rotated offsets are computed once and
added to the rotated centers. x and y are separate arrays, because operations on long contiguous rows are faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, lens_reach, lens_terms
from lib.multiviews.pictorial.backend_numpy import Array, Backend, Taps

_OUTSIDE_PX = -2.0  # a coordinate whose bilinear weights are all 0


@dataclass(frozen=True)
class HeatmapViews:
    """Heatmaps and cameras of F frames, on the backend's device.

    Attributes:
        maps: (F, V, J, H, W) float32 heatmaps; values below 0 count as 0.
        cameras: cameras with leading axes (F, V), float64.
        image_to_heatmap: (F, V, 2, 3) image px -> heatmap px, float64.
        reach: (F, V) lens_reach() of the cameras.
    """

    maps: Array
    cameras: Cameras
    image_to_heatmap: Array
    reach: Array

    @classmethod
    def load(
        cls, heatmaps: np.ndarray, cameras: Cameras, image_to_heatmap: np.ndarray, backend: Backend
    ) -> HeatmapViews:
        """Copy numpy arrays to the backend's device."""
        return cls(
            backend.heatmaps(heatmaps),
            cameras.map(backend.floats),
            backend.floats(image_to_heatmap),
            backend.floats(lens_reach(cameras)),
        )

    def __getitem__(self, frames: Any) -> HeatmapViews:
        return HeatmapViews(self.maps[frames], self.cameras[frames], self.image_to_heatmap[frames], self.reach[frames])


def bin_taps(centers: Array, grid: Array, views: HeatmapViews, backend: Backend) -> Taps:
    """Project bins into the heatmaps of all views and return the pixels around them.

    A view gives 0 for bins that are outside of the map, nearer than MIN_DEPTH_MM or beyond the reach of the lens.

    Args:
        centers: (F, C, 3) world frame, mm.
        grid: (n, 3) bins around a center, mm.
        views: heatmaps and cameras of the F frames.
        backend: array operations.

    Returns:
        Taps (F, V, C, n) of the C * n bins.
    """
    x, y = _project_bins(centers, grid, views, backend)
    return bilinear_taps(x, y, views.maps.shape[-2:], backend.xp)


def bilinear_taps(x: Array, y: Array, heatmap_hw: Sequence[int], xp: ModuleType) -> Taps:
    """Return the four pixels around points and their bilinear weights.

    Pixel centers are integers and the map is 0 outside, as in torch's grid_sample with align_corners and zero padding.

    Args:
        x, y: float64 heatmap px, shape (F, V, C, n); overwritten.
        heatmap_hw: (height, width) of the maps, at least 2 px each.
        xp: numpy or torch.
    """
    height, width = heatmap_hw
    left = xp.floor(x).clip(min=0).clip(max=width - 2)  # numpy is much slower with both limits in one call
    top = xp.floor(y).clip(min=0).clip(max=height - 2)
    x -= left
    y -= top
    # Weights are hat functions, which are 0 beyond 1 px. So points outside the map need no special case.
    left_part = (1 - abs(x)).clip(0)
    right_part = (1 - abs(x - 1)).clip(0)
    top_part = (1 - abs(y)).clip(0)
    bottom_part = (1 - abs(y - 1)).clip(0)
    return Taps(
        first=xp.asarray(top * width + left, dtype=xp.int64),
        weights=(top_part * left_part, top_part * right_part, bottom_part * left_part, bottom_part * right_part),
    )


def _project_bins(centers: Array, grid: Array, views: HeatmapViews, backend: Backend) -> tuple[Array, Array]:
    """Return x and y (F, V, C, n) of the bins, heatmap px. Bins without a projection are outside of the map."""
    cameras, affine = views.cameras, views.image_to_heatmap
    centers_cam = cameras.R @ (centers[:, None] - cameras.T[:, :, None]).swapaxes(-1, -2)  # (F, V, 3, C)
    points_cam = centers_cam[..., None] + (cameras.R @ grid.swapaxes(0, 1))[:, :, :, None]  # (F, V, 3, C, n)
    x, y, depth = points_cam[:, :, 0], points_cam[:, :, 1], points_cam[:, :, 2]
    nearness = 1 / depth.clip(MIN_DEPTH_MM)  # keeps points behind the camera finite
    x, y = x * nearness, y * nearness
    k, p = _columns(cameras.k), _columns(cameras.p)
    factor, r2 = lens_terms(x, y, k, p)
    x, y = x * factor + p[1] * r2, y * factor + p[0] * r2
    # Intrinsics and crop as one affine map from distorted normalized points to heatmap px.
    xx, xy, yx, yy = _columns((affine[..., :2] * cameras.f[..., None, :]).reshape(*affine.shape[:2], 4))
    x0, y0 = _columns((affine[..., :2] @ cameras.c[..., None])[..., 0] + affine[..., 2])
    visible = (depth >= MIN_DEPTH_MM) & (r2 <= views.reach[..., None, None])
    x_hm = backend.xp.where(visible, xx * x + xy * y + x0, _OUTSIDE_PX)
    return x_hm, yx * x + yy * y + y0


def _columns(values: Array) -> list[Array]:
    """Split (F, V, k) into k arrays (F, V, 1, 1)."""
    return [values[..., i, None, None] for i in range(values.shape[-1])]
