"""What the heatmap pixels of one view may show in the heatmaps of the others, exactly and in batches; torch.

Every view has its own crop, camera and lens, and they may differ between the groups of a batch. A pixel is a ray; its
points are projected through the other lens and crop. Coordinates are arrays of their own: plain passes over long rows.

Places in a map are in the units of torch's grid_sample with align_corners: -1 and 1 are the centres of the first and
last pixel of each axis; to_pixels() and to_places() convert.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.polynomial.chebyshev import chebvander
from torch import Tensor

from lib.multiviews.cameras import MIN_DEPTH_MM, CropCameras, lens_reach, lens_terms, undistort
from lib.multiviews.geometry.epipolar import FARTHEST_MM, NEAREST_MM

_OUTSIDE = -1e3  # no tap of any map is near
_MARGIN = 1.0  # px around a map where bilinear interpolation still finds something
_TINY = 1e-9
_BORDER = 9  # points per side of a crop; rays per side and depths of a first look
_COARSE_RAYS = 4
_COARSE_DEPTHS = 96
_DEGREE = 7  # of the lens model: along a straight line, distorted points are polynomials of this degree
_COARSE_STEPS = 24  # that tell how long the steps of lines are; every third line is looked at
_COARSE_LINES = 3
_FAR = 2.0  # half a map beside it, where steps need not be followed; px
_ROUNDING = 1e-3


def sample_maps(maps: Tensor, places: Tensor) -> Tensor:
    """Interpolate maps, 0 outside.

    Args:
        maps: (N, C, H, W).
        places: (N, P, D, 2), x and y, the same for all C maps.

    Returns:
        (N, C, P, D).
    """
    return F.grid_sample(maps, places, padding_mode="zeros", align_corners=True)


def to_pixels(places: Tensor, heatmap_hw: tuple[int, int]) -> Tensor:
    """Places (..., 2) -> heatmap px (..., 2)."""
    return (places + 1) * places.new_tensor(_halves(heatmap_hw))


def to_places(points_hm: Tensor, heatmap_hw: tuple[int, int]) -> Tensor:
    """Heatmap px (..., 2) -> places (..., 2)."""
    return points_hm / points_hm.new_tensor(_halves(heatmap_hw)) - 1


def _halves(heatmap_hw: tuple[int, int]) -> list[float]:
    """Half of the distance of the outermost pixels, x and y; 1 px where there is one pixel."""
    return [max(size - 1, 1) / 2 for size in heatmap_hw[::-1]]


def arc_lengths(places: Tensor, heatmap_hw: tuple[int, int]) -> Tensor:
    """Return how much of a line each of its samples (B, P, D, 2) stands for, heatmap px (B, P, D)."""
    moves = to_pixels(places, heatmap_hw).diff(dim=2).square().sum(-1).sqrt()
    return (F.pad(moves, (1, 0)) + F.pad(moves, (0, 1))) / 2


class HeatmapRays:
    """The rays of all heatmap pixels of V views, B groups at once.

    Attributes:
        directions: (B, V, H*W, 3) world frame, 1 along the optical axis; the pixels row by row.
    """

    def __init__(self, views: CropCameras, heatmap_hw: tuple[int, int]) -> None:
        """
        Args:
            views: leading axes (B, V), float32 or float64, all on one device.
            heatmap_hw: (H, W) of the heatmaps.
        """
        self._views, (self._height, self._width) = views, heatmap_hw
        cameras = views.cameras
        self._reach = lens_reach(cameras)  # (B, V)
        rows, columns = (torch.arange(size).to(cameras.T) for size in heatmap_hw)
        pixels = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).flatten(0, 1)  # (H*W, 2)
        plane = undistort(self._to_image(pixels), cameras)
        self._seen = plane.isfinite().all(-1)  # (B, V, H*W)
        plane = torch.where(self._seen[..., None], plane, 0)
        self.directions = plane @ cameras.R[..., :2, :] + cameras.R[..., 2:, :]
        # from the distorted normalised point to its place: intrinsics and crop in one affine map, (B, V, 2, 3)
        halves = cameras.T.new_tensor(_halves(heatmap_hw))
        linear = views.to_heatmap[..., :2] / halves[:, None]
        shift = (linear @ cameras.c[..., None])[..., 0] + views.to_heatmap[..., 2] / halves - 1
        self._affine = torch.cat([linear * cameras.f[..., None, :], shift[..., None]], -1)
        self._low, self._high = self._bounds()

    @property
    def num_views(self) -> int:
        """Number of views V."""
        return self.directions.shape[1]

    def lines(self, view: int, other: int) -> Tensor:
        """Follow the epipolar lines of all pixels of one view through the heatmap of another one.

        From NEAREST_MM before the camera to infinity, as far as they run through the map and the lens reaches. With a
        lens they are curves: samples are even on the straight line in the undistorted plane.

        Args:
            view: whose pixels.
            other: whose heatmap.

        Returns:
            (B, H*W, D, 2) places in the map of the other view; far outside where a pixel has no line in the map. D is
            such that no step in the map is longer than one heatmap px along an axis.
        """
        origin, direction = self._in_camera(self.directions[:, view], view, other)
        start, end, found = self._cut(origin, direction, other)
        found = found & self._seen[:, view]
        along = torch.as_tensor(_nodes()).to(start)
        (x0, y0), (x1, y1) = start[..., None].unbind(2), end[..., None].unbind(2)
        knots = self._to_map(x0 + (x1 - x0) * along, y0 + (y1 - y0) * along, found[..., None], other)
        return _between(knots, 1 + self._steps(_between(knots[:, ::_COARSE_LINES], _COARSE_STEPS + 1)))

    def _steps(self, coarse: Tensor) -> int:
        """Return in how many steps each line must run, from coarse samples (B, P, D, 2)."""
        coarse = coarse.transpose(-1, -2).clamp(-_FAR, _FAR)  # (B, P, 2, D): plain passes over long rows
        halves = coarse.new_tensor(_halves((self._height, self._width)))[:, None]
        beyond = (coarse.abs() - _MARGIN / halves).amax(-2) > 1
        moves = (coarse.diff(dim=-1).abs() * halves).amax(-2).masked_fill(beyond[..., 1:] & beyond[..., :-1], 0)
        return max(1, math.ceil(moves.amax().item() * moves.shape[-1] - _ROUNDING))

    def points(self, view: int, other: int, depths: Tensor, pixels: Tensor) -> Tensor:
        """Project points on the rays of one view into the heatmap of another one.

        Args:
            view: whose pixels.
            other: whose heatmap.
            depths: (B, D) along the optical axis of `view`, mm.
            pixels: (B, P) indices y * W + x.

        Returns:
            (B, P, D, 2) places in the map of the other view; far outside where it cannot see a point.
        """
        directions = self.directions[:, view].take_along_dim(pixels[..., None], 1)
        seen = self._seen[:, view].take_along_dim(pixels, 1)
        return self._project(directions, seen, depths, view, other)

    def scene_depths(self, num_depths: int) -> Tensor:
        """Choose depths at which to cut each view's rays: where two other views see something, densest where most do.

        Views may look elsewhere: what the largest number of them sees need not be where the person is.

        Args:
            num_depths: D.

        Returns:
            (B, V, D) along the optical axes, mm, ascending.
        """
        coarse = torch.logspace(math.log10(NEAREST_MM), math.log10(FARTHEST_MM), _COARSE_DEPTHS).to(self._reach)
        rows = torch.linspace(0, self._height - 1, _COARSE_RAYS).round().long()
        columns = torch.linspace(0, self._width - 1, _COARSE_RAYS).round().long()
        batch = len(self._reach)
        pixels = (rows[:, None] * self._width + columns).flatten().to(self._reach.device).expand(batch, -1)
        counts = [self._others_that_see(view, coarse, pixels).amax(1) for view in range(self.num_views)]
        most = torch.stack(counts, 1)  # (B, V, depths of the first look)
        enough = most.amax(-1, keepdim=True).clamp(max=min(2, self.num_views - 1))
        return _spread(coarse, (most - enough + 1).clamp(min=0), num_depths)

    def _others_that_see(self, view: int, depths: Tensor, pixels: Tensor) -> Tensor:
        """Return how many other views see the points at depths (D,) on the rays of pixels (B, P): (B, P, D)."""
        low = to_places(depths.new_tensor([-0.5, -0.5]), (self._height, self._width))
        places = [
            self.points(view, other, depths.expand(len(pixels), -1), pixels)
            for other in range(self.num_views)
            if other != view
        ]
        return sum(((one >= low) & (one <= -low)).all(-1).to(depths) for one in places)

    def _to_image(self, points_hm: Tensor) -> Tensor:
        """Heatmap px (P, 2) -> image px (B, V, P, 2)."""
        linear = self._views.to_heatmap[..., :2]
        shift = self._views.to_heatmap[..., 2]
        return (points_hm - shift[..., None, :]) @ torch.linalg.inv(linear).transpose(-1, -2)

    def _bounds(self) -> tuple[Tensor, Tensor]:
        """Return the corners (B, V, 2) of a box around each crop without its lens, along the sides of the crop."""
        width, height = self._width - 1 + _MARGIN, self._height - 1 + _MARGIN
        ends = torch.linspace(0, 1, _BORDER).to(self._reach)
        x, y = -_MARGIN + ends * (width + _MARGIN), -_MARGIN + ends * (height + _MARGIN)
        sides = [torch.stack([x, torch.full_like(x, edge)], -1) for edge in (-_MARGIN, height)]
        sides += [torch.stack([torch.full_like(y, edge), y], -1) for edge in (-_MARGIN, width)]
        border = self._to_image(torch.cat(sides))  # (B, V, 4*_BORDER, 2)
        cameras = self._views.cameras
        plane = undistort(border, cameras)
        # what no ray reaches lies behind the end of the lens's reach in the same direction
        outward = F.normalize((border - cameras.c[..., None, :]) / cameras.f[..., None, :], dim=-1)
        plane = torch.where(plane.isfinite(), plane, outward * self._reach.sqrt()[..., None, None])
        border = plane @ self._affine[..., :2].transpose(-1, -2)
        return border.amin(-2), border.amax(-2)

    def _in_camera(self, directions: Tensor, view: int, other: int) -> tuple[Tensor, Tensor]:
        """Return origin (B, 1, 3) and direction (B, P, 3) of rays of one view in the camera frame of another one."""
        cameras = self._views.cameras
        rotation = cameras.R[:, other].transpose(-1, -2)
        return (cameras.T[:, view] - cameras.T[:, other])[:, None] @ rotation, directions @ rotation

    def _cut(self, origin: Tensor, direction: Tensor, other: int) -> tuple[Tensor, Tensor, Tensor]:
        """Cut rays with the pyramid of a crop and the cone that its lens reaches.

        In s = 1 / depth all planes of the pyramid, and infinity (s = 0), are linear bounds: origin * s + direction.

        Returns:
            Both ends (B, P, 2) as normalised points, and (B, P) whether there is anything between them.
        """
        oz, qz = origin[..., 2], direction[..., 2]
        axes = self._affine[:, other, :, :2].transpose(-1, -2)  # along the sides of the crop
        (ox, oy), (qx, qy) = ((ray[..., :2] @ axes).unbind(-1) for ray in (origin, direction))
        (x0, y0), (x1, y1) = (corner[:, other, :, None].unbind(1) for corner in (self._low, self._high))
        bounds = [
            (oz - MIN_DEPTH_MM, qz),
            (ox - x0 * oz, qx - x0 * qz),
            (x1 * oz - ox, x1 * qz - qx),
            (oy - y0 * oz, qy - y0 * qz),
            (y1 * oz - oy, y1 * qz - qy),
        ]
        low = torch.zeros_like(qz)
        high = torch.full_like(qz, 1 / NEAREST_MM)
        found = torch.ones_like(qz, dtype=torch.bool)
        for slope, level in bounds:  # slope * s + level >= 0
            slope = slope.expand_as(level)
            root = -level / torch.where(slope == 0, 1, slope)
            low = torch.where(slope > 0, torch.maximum(low, root), low)
            high = torch.where(slope < 0, torch.minimum(high, root), high)
            found = found & ((slope != 0) | (level >= 0))
        found = found & (low < high)
        ends = [origin * s[..., None] + direction for s in (low, high)]
        start, end = (torch.where(found[..., None], x[..., :2] / x[..., 2:].clamp(min=_TINY), 0) for x in ends)
        return _cut_with_disc(start, end, found, self._reach[:, other, None])

    def _project(self, directions: Tensor, seen: Tensor, depths: Tensor, view: int, other: int) -> Tensor:
        origin, direction = self._in_camera(directions, view, other)
        x, y, z = (
            o[..., None] + q[..., None] * depths[:, None]
            for o, q in zip(origin.unbind(-1), direction.unbind(-1), strict=True)
        )  # (B, P, D) each
        nearness = 1 / z.clamp(min=MIN_DEPTH_MM)
        x, y = x * nearness, y * nearness
        visible = (z >= MIN_DEPTH_MM) & (x * x + y * y <= self._reach[:, other, None, None]) & seen[..., None]
        return self._to_map(x, y, visible, other)

    def _to_map(self, x: Tensor, y: Tensor, visible: Tensor, view: int) -> Tensor:
        """Normalised points, x and y (B, P, D) -> (B, P, D, 2) places; far outside where not visible."""
        cameras = self._views.cameras
        k, p = _columns(cameras.k[:, view]), _columns(cameras.p[:, view])
        factor, r2 = lens_terms(x, y, k, p)
        x, y = x * factor + p[1] * r2, y * factor + p[0] * r2
        xx, xy, x0, yx, yy, y0 = _columns(self._affine[:, view].flatten(1))
        x, y = xx * x + xy * y + x0, yx * x + yy * y + y0
        return torch.stack([torch.where(visible, x, _OUTSIDE), torch.where(visible, y, _OUTSIDE)], -1)


def _columns(values: Tensor) -> list[Tensor]:
    """Split (B, n) into n tensors (B, 1, 1)."""
    return [column[:, None, None] for column in values.unbind(-1)]


def _spread(places: Tensor, weight: Tensor, num: int) -> Tensor:
    """Return (..., num) numbers within ascending places (K,), ascending, as dense as the weights (..., K) there say."""
    share = ((weight[..., 1:] + weight[..., :-1]) * places.diff()).cumsum(-1)
    share = F.pad(share / share[..., -1:], (1, 0))  # (..., K), from 0 to 1
    wanted = ((torch.arange(num).to(places) + 0.5) / num).expand(*share.shape[:-1], num).contiguous()
    after = torch.searchsorted(share, wanted).clamp(1, len(places) - 1)
    low, high = (share.take_along_dim(index, -1) for index in (after - 1, after))
    mix = (wanted - low) / (high - low).clamp(min=_TINY)
    return places[after - 1] + mix * (places[after] - places[after - 1])


def _cut_with_disc(start: Tensor, end: Tensor, found: Tensor, radius2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shorten segments (..., 2) to what lies within a radius of the origin; returned like _cut()."""
    way = end - start
    length2 = (way * way).sum(-1).clamp(min=_TINY**2)
    middle = -(start * way).sum(-1) / length2  # nearest to the origin
    nearest = start + way * middle[..., None]
    half2 = (radius2 - (nearest * nearest).sum(-1)) / length2
    half = half2.clamp(min=0).sqrt()
    low = (middle - half).clamp(min=0)
    high = (middle + half).clamp(max=1)
    return start + way * low[..., None], start + way * high[..., None], found & (half2 > 0) & (low < high)


def _between(knots: Tensor, num_samples: int) -> Tensor:
    """Places (B, P, K, 2) at the _nodes() of lines -> (B, P, D, 2), even from the first to the last."""
    return (knots.transpose(-1, -2) @ torch.as_tensor(_weights(num_samples)).to(knots)).transpose(-1, -2)


def _nodes() -> np.ndarray:
    """Return where on a line from 0 to 1 to sample a polynomial: the nodes of Chebyshev, which keep errors small."""
    return (1 - np.cos(np.linspace(0, np.pi, _DEGREE + 1))) / 2


@lru_cache(maxsize=64)
def _weights(num_samples: int) -> np.ndarray:
    """Return (K, num_samples) by which a polynomial's values at the _nodes() give those evenly from 0 to 1."""
    nodes, even = (chebvander(2 * at - 1, _DEGREE) for at in (_nodes(), np.linspace(0, 1, num_samples)))
    return np.linalg.solve(nodes.T, even.T)
