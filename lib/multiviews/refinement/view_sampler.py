"""Heatmaps of several views, sampled around the projections of points, as the learned refinement reads them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.multiviews.cameras import Cameras, project
from lib.multiviews.keypoints.heatmap_values import highest_values, on_host, take_values
from lib.multiviews.keypoints.left_right import FlipPairs
from lib.multiviews.pictorial.heatmap_sampling import bilinear_taps
from lib.utils.transforms import transform_points

if TYPE_CHECKING:
    from lib.multiviews.pictorial.backend_numpy import Backend

CELLS = 32  # cells per heatmap width; the unit of distances, whatever the resolution
_FARTHEST = 24  # cells outside of the map, to which projections are clipped
_MIN_HEIGHT = 1e-3  # lower limit of the usual peak height
_MAX_RELATIVE = 10.0  # upper limit of a height relative to the usual one, for frames with few peaks


@dataclass(frozen=True)
class ViewSampler:
    """Heatmaps of F frames, V views and J joints, with the cameras that see them.

    Attributes:
        heatmaps: (F, V, J, H, W), numpy or torch.
        cameras: numpy cameras with leading axes (F, V).
        image_to_heatmap: (F, V, 2, 3) image px -> heatmap px.
        partner: (J,) of partners().
        backend: its kernels are used if it has them; None = numpy.
    """

    heatmaps: Any
    cameras: Cameras
    image_to_heatmap: np.ndarray
    partner: np.ndarray
    backend: Backend | None = None

    @cached_property
    def cell_px(self) -> float:
        """Size of a cell in heatmap px."""
        return self.heatmaps.shape[-1] / CELLS

    @cached_property
    def highest(self) -> np.ndarray:
        """Heights (F, V, J) of the highest peaks."""
        return highest_values(on_host(self.heatmaps))

    @cached_property
    def usual(self) -> np.ndarray:
        """Usual peak height (F,): the median over the joints of their highest peak."""
        return np.median(self.highest.max(1), -1).clip(_MIN_HEIGHT)

    def relative(self, heights: np.ndarray, frame: np.ndarray | None = None) -> np.ndarray:
        """Return heights (n, ...) of frames (n,), by default of all frames, relative to the usual peak height."""
        usual = self.usual if frame is None else self.usual[frame]
        return np.minimum(heights / usual.reshape(-1, *[1] * (heights.ndim - 1)), _MAX_RELATIVE)

    @cached_property
    def maps(self) -> np.ndarray:
        """Indices (F, V, J) of the heatmaps, for sample_maps()."""
        return np.arange(np.prod(self.heatmaps.shape[:3], dtype=int)).reshape(self.heatmaps.shape[:3])

    def project(self, points_world: np.ndarray) -> np.ndarray:
        """Project points (F, N, 3), mm, into the heatmaps: (F, V, N, 2), heatmap px, not far outside of the map."""
        return project_to_maps(points_world, self.cameras, self.image_to_heatmap, self.heatmaps.shape)

    def project_rows(self, points_world: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """Project points (n, 3), mm, of frames (n,): (n, V, 2), heatmap px, not far outside of the map."""
        cameras, image_to_heatmap = self.cameras[frame], self.image_to_heatmap[frame]
        return project_to_maps(points_world[:, None], cameras, image_to_heatmap, self.heatmaps.shape)[:, :, 0]

    def squares(self, center: np.ndarray, joints: np.ndarray, radius: int) -> np.ndarray:
        """Sample the maps of joints (J,) around places (F, V, J, 2), heatmap px, a cell apart: (F, V, J, n)."""
        return self.rows(self.maps[:, :, joints], center, radius)

    def rows(self, maps: np.ndarray, center: np.ndarray, radius: int) -> np.ndarray:
        """Sample maps (...), indices as in `maps`, around places (..., 2), heatmap px, a cell apart: (..., n)."""
        heatmaps = on_host(self.heatmaps)
        kernel = None if self.backend is None else self.backend.sample_maps
        if kernel is not None and isinstance(heatmaps, np.ndarray):
            return kernel(heatmaps, maps, center, radius, self.cell_px)
        return sample_maps(heatmaps, maps, center, radius, self.cell_px)


def partners(num_joints: int, flip_pairs: FlipPairs) -> np.ndarray:
    """Return the index (J,) of the left/right partner of each joint; joints of the middle are their own."""
    index = np.arange(num_joints)
    for right, left in flip_pairs:
        index[right], index[left] = left, right
    return index


def project_to_maps(
    points_world: np.ndarray, cameras: Cameras, image_to_heatmap: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Project points (F, N, 3), mm, into heatmaps of a shape (F, V, J, H, W).

    Returns:
        (F, V, N, 2) heatmap px, clipped far outside of the map.
    """
    height, width = shape[-2:]
    reach = _FARTHEST * width / CELLS
    per_view = np.broadcast_to(points_world[:, None], (*image_to_heatmap.shape[:2], *points_world.shape[1:]))
    found = transform_points(project(per_view, cameras)[0], image_to_heatmap)
    return np.nan_to_num(found, nan=-reach).clip(-reach, [width + reach, height + reach])


def sample_maps(heatmaps: Any, maps: np.ndarray, center: np.ndarray, radius: int, step: float) -> np.ndarray:
    """Interpolate heatmaps on squares of samples. Values below 0 and outside of the map are 0.

    Args:
        heatmaps: (F, V, J, H, W), numpy or torch.
        maps: (...) indices into the flattened axes (F, V, J).
        center: (..., 2) centers of the squares, heatmap px.
        radius: samples from the center to the border.
        step: distance of the samples, heatmap px.

    Returns:
        (..., n), row by row.
    """
    axis = np.arange(-radius, radius + 1) * step
    dy, dx = (grid.ravel() for grid in np.meshgrid(axis, axis, indexing="ij"))
    height, width = heatmaps.shape[-2:]
    taps = bilinear_taps(center[..., 0, None] + dx, center[..., 1, None] + dy, (height, width), np)
    first = taps.first + maps[..., None] * (height * width)
    shifts = (0, 1, width, width + 1)
    return sum(
        weight * take_values(heatmaps, first + shift).clip(0)
        for weight, shift in zip(taps.weights, shifts, strict=True)
    )
