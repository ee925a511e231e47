"""World points -> the heatmap pixels they touch in every view.

The points are bins: one small set of offsets around many centres. A rotation is linear, so a bin's place in the
camera frame is the centre's plus the offset's, and coordinates are arrays of their own: plain passes over long rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, lens_reach, lens_terms
from lib.multiviews.pictorial.backend_numpy import Array, Backend, Taps

_FAR_OUTSIDE = -2.0  # px: no tap of the map is nearer than 1 px


@dataclass(frozen=True)
class HeatmapViews:
    """What the views of F frames show, on the backend's device.

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
        """Put numpy arrays on the backend's device."""
        return cls(
            backend.heatmaps(heatmaps),
            cameras.map(backend.floats),
            backend.floats(image_to_heatmap),
            backend.floats(lens_reach(cameras)),
        )

    def __getitem__(self, frames: Any) -> HeatmapViews:
        return HeatmapViews(self.maps[frames], self.cameras[frames], self.image_to_heatmap[frames], self.reach[frames])


def bilinear_taps(centers: Array, grid: Array, views: HeatmapViews, backend: Backend) -> Taps:
    """Find the four pixels around each bin's projection and their bilinear weights.

    Heatmap pixel centres lie on integers and the map is 0 outside (torch's grid_sample with align_corners=True and
    zero padding). A bin nearer to a camera than MIN_DEPTH_MM, behind it, or beyond its lens's reach gets nothing from
    that view.

    Args:
        centers: (F, C, 3) world frame, mm.
        grid: (n, 3) bins around a centre, mm.
        views: the views of the F frames.
        backend: array operations.

    Returns:
        Taps of the C * n bins in the V views: (F, V, C, n).
    """
    xp = backend.xp
    height, width = views.maps.shape[-2:]
    x, y = _project_bins(centers, grid, views, backend)
    left = xp.floor(x).clip(min=0).clip(max=width - 2)  # numpy is far slower where both bounds are given at once
    top = xp.floor(y).clip(min=0).clip(max=height - 2)
    x -= left
    y -= top
    # The hat function of a tap is 0 from a distance of 1 px on, so points outside the map need no special care.
    left_part = (1 - abs(x)).clip(0)
    right_part = (1 - abs(x - 1)).clip(0)
    top_part = (1 - abs(y)).clip(0)
    bottom_part = (1 - abs(y - 1)).clip(0)
    return Taps(
        first=backend.integers(top * width + left),
        weights=(top_part * left_part, top_part * right_part, bottom_part * left_part, bottom_part * right_part),
    )


def _project_bins(centers: Array, grid: Array, views: HeatmapViews, backend: Backend) -> tuple[Array, Array]:
    """Return x and y (F, V, C, n) of the bins in heatmap px; bins without a projection lie far outside."""
    cameras, affine = views.cameras, views.image_to_heatmap
    centers_cam = cameras.R @ (centers[:, None] - cameras.T[:, :, None]).swapaxes(-1, -2)  # (F, V, 3, C)
    points_cam = centers_cam[..., None] + (cameras.R @ grid.swapaxes(0, 1))[:, :, :, None]  # (F, V, 3, C, n)
    x, y, depth = points_cam[:, :, 0], points_cam[:, :, 1], points_cam[:, :, 2]
    nearness = 1 / depth.clip(MIN_DEPTH_MM)  # keeps points behind the camera finite
    x, y = x * nearness, y * nearness
    k, p = _columns(cameras.k), _columns(cameras.p)
    factor, r2 = lens_terms(x, y, k, p)
    x, y = x * factor + p[1] * r2, y * factor + p[0] * r2
    # From the distorted normalised point to heatmap px: the intrinsics and the crop in one affine map.
    xx, xy, yx, yy = _columns((affine[..., :2] * cameras.f[..., None, :]).reshape(*affine.shape[:2], 4))
    x0, y0 = _columns((affine[..., :2] @ cameras.c[..., None])[..., 0] + affine[..., 2])
    visible = (depth >= MIN_DEPTH_MM) & (r2 <= views.reach[..., None, None])
    x_hm = backend.xp.where(visible, xx * x + xy * y + x0, _FAR_OUTSIDE)
    return x_hm, yx * x + yy * y + y0


def _columns(values: Array) -> list[Array]:
    """Split (F, V, k) into k arrays (F, V, 1, 1)."""
    return [values[..., i, None, None] for i in range(values.shape[-1])]
