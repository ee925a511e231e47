"""World points -> the heatmap pixels they touch in every view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, project
from lib.multiviews.kernels import Array, Kernel
from lib.utils.transforms import transform_points


@dataclass(frozen=True)
class Views:
    """What the views of F frames show, on the kernel's device.

    Attributes:
        maps: (F, V, J, H+3, W+3) float32 heatmaps, not negative, padded by Kernel.padded_maps.
        cameras: cameras with leading axes (F, V), float64.
        image_to_heatmap: (F, V, 2, 3) image px -> heatmap px, float64.
    """

    maps: Array
    cameras: Cameras
    image_to_heatmap: Array

    def __getitem__(self, frames: Any) -> Views:
        return Views(self.maps[frames], self.cameras[frames], self.image_to_heatmap[frames])


def bilinear_taps(points_world: Array, views: Views, kernel: Kernel) -> tuple[Array, Array]:
    """Find the four pixels around each point's projection and their bilinear weights.

    Heatmap pixel centres lie on integers and the map is 0 outside (torch's grid_sample with align_corners=True and
    zero padding). A point nearer to a camera than MIN_DEPTH_MM, or behind it, gets nothing from that view.

    Args:
        points_world: (F, P, 3) mm.
        views: the views of the F frames.
        kernel: array operations.

    Returns:
        (F, P, V, 4) int64 flat pixels of the padded maps, and (F, P, V, 4) float64 weights.
    """
    xp = kernel.xp
    padded_height, padded_width = views.maps.shape[-2:]
    points_img, depth = project(points_world[:, None], views.cameras)
    points_hm = transform_points(points_img, views.image_to_heatmap) + 1  # (F, V, P, 2), px of the padded map
    # The first pixel and the last two are padding: a point outside the map may as well lie there.
    column = points_hm[..., 0].clip(0, padded_width - 2)
    column = xp.where(depth >= MIN_DEPTH_MM, column, 0.0).swapaxes(1, 2)  # (F, P, V)
    row = points_hm[..., 1].clip(0, padded_height - 2).swapaxes(1, 2)
    left, top = xp.floor(column), xp.floor(row)
    right_part, bottom_part = column - left, row - top
    both = right_part * bottom_part
    weights = xp.stack([1 - right_part - bottom_part + both, right_part - both, bottom_part - both, both], -1)
    neighbours = kernel.integers([0, 1, padded_width, padded_width + 1])
    return kernel.integers(top * padded_width + left)[..., None] + neighbours, weights
