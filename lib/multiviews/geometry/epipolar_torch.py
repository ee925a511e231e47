"""Epipolar lines between the heatmaps of V views, in batches (torch).

Cameras, lenses and crops may differ between the views and groups of a batch. Points on the ray of a heatmap pixel are
projected through the lens and crop of the other view. x and y are separate tensors, because operations on long
contiguous rows are faster.

"Places" are coordinates for grid_sample with align_corners: -1 and 1 are the centers of the first and last pixel of an
axis. to_pixels() and to_places() convert.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.polynomial.chebyshev import chebvander
from torch import Tensor

from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, CropCameras, lens_reach, lens_terms, undistort
from lib.multiviews.geometry.epipolar import FARTHEST_MM, NEAREST_MM

_TINY = 1e-9  # lower limit of divisors


@dataclass(frozen=True)
class LineSettings:
    """Sampling of epipolar lines."""

    outside: float = -1e3  # place of invalid samples, outside every map
    margin: float = 1.0  # px around a map where bilinear interpolation is not 0
    border_step: float = 0.34  # px between the points of border_lines()
    border_points: int = 9  # points per side of a crop, to bound its undistorted shape
    coarse_rays: int = 4  # rays per axis in scene_depths()
    coarse_depths: int = 96  # depths in scene_depths()
    degree: int = 7  # degree of the lens model: distorted points of a straight line are polynomials of this degree
    coarse_steps: int = 24  # steps per line, to measure the length of its steps in the map
    coarse_lines: int = 3  # every n-th line is measured
    far: float = 2.0  # places are clamped here: steps outside the map are not measured
    rounding: float = 1e-3  # tolerance for rounding the number of steps up


LINES = LineSettings()


def sample_maps(maps: Tensor, places: Tensor) -> Tensor:
    """Interpolate maps (N, C, H, W) bilinearly at places (N, P, D, 2): (N, C, P, D), 0 outside."""
    return F.grid_sample(maps, places, padding_mode="zeros", align_corners=True)


def _constants(values: Any, like: Tensor) -> Tensor:
    """Return numbers in the type and on the device of a tensor, without waiting for the device as new_tensor() does."""
    return torch.as_tensor(values, dtype=like.dtype).to(like.device, non_blocking=True)


def to_pixels(places: Tensor, heatmap_hw: tuple[int, int]) -> Tensor:
    """Convert places (..., 2) to heatmap px."""
    return (places + 1) * _constants(_halves(heatmap_hw), places)


def to_places(points_hm: Tensor, heatmap_hw: tuple[int, int]) -> Tensor:
    """Convert heatmap px (..., 2) to places."""
    return points_hm / _constants(_halves(heatmap_hw), points_hm) - 1


def _halves(heatmap_hw: tuple[int, int]) -> list[float]:
    """Return half the distance between the outermost pixel centers, x and y, px; at least 0.5."""
    return [max(size - 1, 1) / 2 for size in heatmap_hw[::-1]]


def arc_lengths(places: Tensor, heatmap_hw: tuple[int, int]) -> Tensor:
    """Return the arc length (B, P, D), heatmap px, that each sample (B, P, D, 2) of a line represents."""
    moves = to_pixels(places, heatmap_hw).diff(dim=2).square().sum(-1).sqrt()
    return (F.pad(moves, (1, 0)) + F.pad(moves, (0, 1))) / 2


class HeatmapRays:
    """Rays of all heatmap pixels of V views in B groups.

    Attributes:
        directions: (B, V, H*W, 3) world frame, 1 along the optical axis; pixels in row-major order.
    """

    def __init__(self, views: CropCameras, heatmap_hw: tuple[int, int]) -> None:
        """
        Args:
            views: leading axes (B, V), float32 or float64, all on one device.
            heatmap_hw: (H, W) of the heatmaps.
        """
        self._views, self.heatmap_hw = views, heatmap_hw
        self._height, self._width = heatmap_hw
        cameras = views.cameras
        self._reach = lens_reach(cameras)  # (B, V)
        rows, columns = (_constants(torch.arange(size), cameras.T) for size in heatmap_hw)
        pixels = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).flatten(0, 1)  # (H*W, 2)
        self.directions, self._seen = self._rays(pixels)
        # Intrinsics and crop as one affine map from distorted normalized points to places, (B, V, 2, 3).
        halves = _constants(_halves(heatmap_hw), cameras.T)
        linear = views.to_heatmap[..., :2] / halves[:, None]
        shift = (linear @ cameras.c[..., None])[..., 0] + views.to_heatmap[..., 2] / halves - 1
        self._affine = torch.cat([linear * cameras.f[..., None, :], shift[..., None]], -1)
        self._low, self._high = self._bounds()
        self._border: tuple[Tensor, Tensor] | None = None  # rays of points on the border, made when needed

    @property
    def num_views(self) -> int:
        """Number of views V."""
        return self.directions.shape[1]

    def seen(self, view: int) -> Tensor:
        """Return whether each pixel of a view has a ray, (B, H*W)."""
        return self._seen[:, view]

    def lines(self, view: int, other: int) -> Tensor:
        """Sample the epipolar lines of all pixels of one view in the heatmap of another view.

        A line runs from NEAREST_MM in front of the camera to infinity, cut at the map and at the reach of the lens. The
        samples are evenly spaced on the straight line in the undistorted image plane.

        Args:
            view: index of the view of the pixels.
            other: index of the view of the heatmap.

        Returns:
            (B, H*W, D, 2) places in the other map; far outside for a pixel without a line in the map. D is chosen so
            that no step in the map exceeds one heatmap px along an axis.
        """
        return self._lines(self.directions[:, view], self._seen[:, view], view, other)

    def line_samples(
        self, view: int, other: int, interpolate: bool
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor] | None]:
        """Sample the lines of all pixels, or only border lines between which their values can be interpolated.

        Args:
            view: index of the view of the pixels.
            other: index of the view of the heatmap.
            interpolate: use border_lines() where they exist.

        Returns:
            Places as lines() and None; or places, pairs and weights as border_lines(), and seen().
        """
        border = self.border_lines(view, other) if interpolate else None
        if border is None:
            return self.lines(view, other), None
        places, pair, share = border
        return places, (pair, share, self.seen(view))

    def border_lines(self, view: int, other: int) -> tuple[Tensor, Tensor, Tensor] | None:
        """Sample only the epipolar lines of points on the border of one view's heatmap.

        Pixels in one plane through both cameras have one epipolar line, and each plane crosses the border. Values along
        the lines of all pixels can so be interpolated between those of the border, in the order of the planes.

        Returns:
            Places (B, N, D, 2) as lines(); for each pixel, the two border points (B, H*W, 2) whose planes enclose its
            plane, and the weight (B, H*W) of the second. None if the line of a pixel ends inside the other map, because
            then pixels of one plane see different parts of it, or if the border has more points than the map.
        """
        if len(self._border_points()) > self._height * self._width:
            return None
        border, seen = self._border_rays(view)
        if not all(self._cross_the_map(directions, view, other) for directions in (self.directions[:, view], border)):
            return None
        return self._lines(border, seen, view, other), *self._between_border(border, seen, view, other)

    def _border_rays(self, view: int) -> tuple[Tensor, Tensor]:
        """Return the rays of the border points of one view: directions (B, N, 3), and whether they exist."""
        if self._border is None:
            self._border = self._rays(self._border_points())
        border, seen = self._border
        return border[:, view], seen[:, view]

    def _between_border(self, border: Tensor, seen: Tensor, view: int, other: int) -> tuple[Tensor, Tensor]:
        """Return the pairs of border points (B, H*W, 2) and weights (B, H*W) of border_lines()."""
        angles, wanted = self._plane_angles(border, self.directions[:, view], view, other)
        angles, order = torch.where(seen, angles, torch.inf).sort(-1)  # border points without a ray last
        count = seen.sum(-1, keepdim=True)
        after = self._first_not_below(angles, wanted) % count
        before = (after - 1) % count
        low, high = (angles.take_along_dim(index, -1) for index in (before, after))
        gap = (high - low) % (2 * math.pi)
        share = ((wanted - low) % (2 * math.pi) / gap.clamp(min=_TINY)).clamp(max=1)
        pair = torch.stack([order.take_along_dim(index, -1) for index in (before, after)], -1)
        return pair, share

    def _first_not_below(self, ascending: Tensor, wanted: Tensor) -> Tensor:
        """Return the indices (..., P) of the first ascending values (..., N) that are not below the wanted (..., P)."""
        return torch.searchsorted(ascending, wanted)

    def _border_points(self) -> Tensor:
        """Return points on the border of the heatmaps, px, spaced by LINES.border_step."""
        sides = []
        for size, fixed, axis in ((self._width, self._height, 0), (self._height, self._width, 1)):
            along = _constants(torch.linspace(0, size - 1, 1 + math.ceil((size - 1) / LINES.border_step)), self._reach)
            for end in (0.0, fixed - 1.0):
                both = [along, torch.full_like(along, end)]
                sides.append(torch.stack(both if axis == 0 else both[::-1], -1))
        return torch.cat(sides)

    def _rays(self, points_hm: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rays of heatmap points (P, 2) of all views: directions (B, V, P, 3), and whether they exist."""
        cameras = self._views.cameras
        plane = self._undistort(self._to_image(points_hm), cameras)
        seen = plane.isfinite().all(-1)
        plane = torch.where(seen[..., None], plane, 0)
        return plane @ cameras.R[..., :2, :] + cameras.R[..., 2:, :], seen

    def _undistort(self, points_img: Tensor, cameras: Cameras) -> Tensor:
        return undistort(points_img, cameras)

    def _plane_angles(self, first: Tensor, second: Tensor, view: int, other: int) -> tuple[Tensor, Tensor]:
        """Return the angles (B, P) of the half-planes through both cameras that contain rays (B, P, 3), two sets."""
        cameras = self._views.cameras
        baseline = F.normalize(cameras.T[:, other] - cameras.T[:, view], dim=-1)  # (B, 3)
        middle = first.mean(1)
        across = F.normalize(middle - (middle * baseline).sum(-1, keepdim=True) * baseline, dim=-1)
        third = torch.linalg.cross(baseline, across)
        return tuple(
            torch.atan2((rays @ third[..., None])[..., 0], (rays @ across[..., None])[..., 0])
            for rays in (first, second)
        )

    def _cross_the_map(self, directions: Tensor, view: int, other: int) -> bool:
        """Return whether all lines of rays (B, P, 3) that enter the other map also leave it at both ends."""
        return bool(self._crossing(directions, view, other))

    def _crossing(self, directions: Tensor, view: int, other: int) -> Tensor:
        """Return the answer of _cross_the_map() as a tensor ()."""
        low, high, found = self._range(*self._in_camera(directions, view, other), other)
        return (~found | ((low > 0) & (high < 1 / NEAREST_MM))).all()

    def _lines(self, directions: Tensor, seen: Tensor, view: int, other: int) -> Tensor:
        """Sample the epipolar lines of rays (B, P, 3); see lines()."""
        origin, direction = self._in_camera(directions, view, other)
        start, end, found = self._cut(origin, direction, other)
        found = found & seen
        along = _constants(line_nodes(), start)
        (x0, y0), (x1, y1) = start[..., None].unbind(2), end[..., None].unbind(2)
        knots = self._to_map(x0 + (x1 - x0) * along, y0 + (y1 - y0) * along, found[..., None], other)
        coarse = _between(knots[:, :: LINES.coarse_lines], LINES.coarse_steps + 1)
        return self._evenly(knots, self._longest_step(coarse))

    def _evenly(self, knots: Tensor, longest: Tensor) -> Tensor:
        """Return samples (B, P, D, 2) for lines whose coarse_steps have at most `longest` px, a tensor ()."""
        return _between(knots, 1 + max(1, math.ceil(longest.item() * LINES.coarse_steps - LINES.rounding)))

    def _longest_step(self, coarse: Tensor) -> Tensor:
        """Return the longest step in the map along an axis, px, a tensor (), of coarse samples (B, P, D, 2)."""
        coarse = coarse.transpose(-1, -2).clamp(-LINES.far, LINES.far)  # (B, P, 2, D), contiguous rows
        halves = _constants(_halves((self._height, self._width)), coarse)[:, None]
        beyond = (coarse.abs() - LINES.margin / halves).amax(-2) > 1
        moves = (coarse.diff(dim=-1).abs() * halves).amax(-2).masked_fill(beyond[..., 1:] & beyond[..., :-1], 0)
        return moves.max()

    def points(self, view: int, other: int, depths: Tensor, pixels: Tensor) -> Tensor:
        """Project points on the rays of one view into the heatmap of another view.

        Args:
            view: index of the view of the rays.
            other: index of the view of the heatmap.
            depths: (B, D) along the optical axis of `view`, mm.
            pixels: (B, P) indices y * W + x.

        Returns:
            (B, P, D, 2) places in the other map; far outside for points that the other view cannot see.
        """
        directions = self.directions[:, view].take_along_dim(pixels[..., None], 1)
        seen = self._seen[:, view].take_along_dim(pixels, 1)
        return self._project(directions, seen, depths, view, other)

    def scene_depths(self, num_depths: int) -> Tensor:
        """Choose depths along each view's rays that at least two other views see, densest where most views do.

        Returns:
            (B, V, num_depths) along the optical axes, mm, ascending.
        """
        coarse = torch.logspace(math.log10(NEAREST_MM), math.log10(FARTHEST_MM), LINES.coarse_depths)
        coarse = _constants(coarse, self._reach)
        rows = torch.linspace(0, self._height - 1, LINES.coarse_rays).round().long()
        columns = torch.linspace(0, self._width - 1, LINES.coarse_rays).round().long()
        batch = self._reach.shape[0]
        pixels = (rows[:, None] * self._width + columns).flatten()
        pixels = pixels.to(self._reach.device, non_blocking=True).expand(batch, -1)
        counts = [self._count_views(view, coarse, pixels).amax(1) for view in range(self.num_views)]
        most = torch.stack(counts, 1)  # (B, V, coarse depths)
        enough = most.amax(-1, keepdim=True).clamp(max=min(2, self.num_views - 1))
        return _spread(coarse, (most - enough + 1).clamp(min=0), num_depths, self._first_not_below)

    def _count_views(self, view: int, depths: Tensor, pixels: Tensor) -> Tensor:
        """Count the other views that see points at depths (D,) on the rays of pixels (B, P): (B, P, D)."""
        low = to_places(_constants([-0.5, -0.5], depths), (self._height, self._width))
        places = [
            self.points(view, other, depths.expand(pixels.shape[0], -1), pixels)
            for other in range(self.num_views)
            if other != view
        ]
        return sum(((one >= low) & (one <= -low)).all(-1).to(depths) for one in places)

    def _to_image(self, points_hm: Tensor) -> Tensor:
        """Convert heatmap px (P, 2) to image px (B, V, P, 2)."""
        linear = self._views.to_heatmap[..., :2]
        shift = self._views.to_heatmap[..., 2]
        return (points_hm - shift[..., None, :]) @ self._inverse(linear).transpose(-1, -2)

    def _inverse(self, matrices: Tensor) -> Tensor:
        return torch.linalg.inv(matrices)

    def _bounds(self) -> tuple[Tensor, Tensor]:
        """Return the corners (B, V, 2) of a rectangle around each undistorted crop, parallel to the crop."""
        margin = LINES.margin
        width, height = self._width - 1 + margin, self._height - 1 + margin
        ends = _constants(torch.linspace(0, 1, LINES.border_points), self._reach)
        x, y = -margin + ends * (width + margin), -margin + ends * (height + margin)
        sides = [torch.stack([x, torch.full_like(x, edge)], -1) for edge in (-margin, height)]
        sides += [torch.stack([torch.full_like(y, edge), y], -1) for edge in (-margin, width)]
        border = self._to_image(torch.cat(sides))  # (B, V, 4 * border_points, 2)
        cameras = self._views.cameras
        plane = self._undistort(border, cameras)
        # Border points without a ray are replaced by the end of the lens's reach in the same direction.
        outward = F.normalize((border - cameras.c[..., None, :]) / cameras.f[..., None, :], dim=-1)
        plane = torch.where(plane.isfinite(), plane, outward * self._reach.sqrt()[..., None, None])
        border = plane @ self._affine[..., :2].transpose(-1, -2)
        return border.amin(-2), border.amax(-2)

    def _in_camera(self, directions: Tensor, view: int, other: int) -> tuple[Tensor, Tensor]:
        """Return origin (B, 1, 3) and direction (B, P, 3) of rays of one view in the camera frame of another view."""
        cameras = self._views.cameras
        rotation = cameras.R[:, other].transpose(-1, -2)
        return (cameras.T[:, view] - cameras.T[:, other])[:, None] @ rotation, directions @ rotation

    def _cut(self, origin: Tensor, direction: Tensor, other: int) -> tuple[Tensor, Tensor, Tensor]:
        """Intersect rays with the viewing pyramid of a crop and the cone of the lens's reach.

        Returns:
            Both ends (B, P, 2), normalized points, and (B, P) bool whether the intersection is not empty.
        """
        low, high, found = self._range(origin, direction, other)
        ends = [origin * s[..., None] + direction for s in (low, high)]
        start, end = (torch.where(found[..., None], x[..., :2] / x[..., 2:].clamp(min=_TINY), 0) for x in ends)
        return _cut_with_disc(start, end, found, self._reach[:, other, None])

    def _range(self, origin: Tensor, direction: Tensor, other: int) -> tuple[Tensor, Tensor, Tensor]:
        """Intersect rays with the viewing pyramid of a crop.

        A ray is origin * s + direction with s = 1 / depth, so the planes of the pyramid are linear in s, and s = 0 is
        infinity.

        Returns:
            (B, P) lowest and highest s, and whether there is any.
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
        return low, high, found & (low < high)

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
        """Convert normalized points x and y (B, P, D) to places (B, P, D, 2); far outside where not visible."""
        cameras = self._views.cameras
        k, p = _columns(cameras.k[:, view]), _columns(cameras.p[:, view])
        factor, r2 = lens_terms(x, y, k, p)
        x, y = x * factor + p[1] * r2, y * factor + p[0] * r2
        xx, xy, x0, yx, yy, y0 = _columns(self._affine[:, view].flatten(1))
        x, y = xx * x + xy * y + x0, yx * x + yy * y + y0
        return torch.stack([torch.where(visible, axis, LINES.outside) for axis in (x, y)], -1)


def _columns(values: Tensor) -> list[Tensor]:
    """Split (B, n) into n tensors (B, 1, 1)."""
    return [column[:, None, None] for column in values.unbind(-1)]


def _spread(places: Tensor, weight: Tensor, num: int, search: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return (..., num) ascending numbers within the range of `places` (K,), with density `weight` (..., K)."""
    share = ((weight[..., 1:] + weight[..., :-1]) * places.diff()).cumsum(-1)
    share = F.pad(share / share[..., -1:], (1, 0))  # (..., K), from 0 to 1
    wanted = ((torch.arange(num).to(places) + 0.5) / num).expand(*share.shape[:-1], num).contiguous()
    after = search(share, wanted).clamp(1, len(places) - 1)
    low, high = (share.take_along_dim(index, -1) for index in (after - 1, after))
    mix = (wanted - low) / (high - low).clamp(min=_TINY)
    return places[after - 1] + mix * (places[after] - places[after - 1])


def _cut_with_disc(start: Tensor, end: Tensor, found: Tensor, radius2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cut segments (..., 2) to a disc around the origin. Returns as _cut()."""
    step = end - start
    length2 = (step * step).sum(-1).clamp(min=_TINY**2)
    middle = -(start * step).sum(-1) / length2  # nearest to the origin
    nearest = start + step * middle[..., None]
    half2 = (radius2 - (nearest * nearest).sum(-1)) / length2
    half = half2.clamp(min=0).sqrt()
    low = (middle - half).clamp(min=0)
    high = (middle + half).clamp(max=1)
    return start + step * low[..., None], start + step * high[..., None], found & (half2 > 0) & (low < high)


def _between(knots: Tensor, num_samples: int) -> Tensor:
    """Interpolate places (B, P, K, 2) at the line_nodes() of lines to evenly spaced samples (B, P, D, 2)."""
    return (knots.transpose(-1, -2) @ torch.as_tensor(_weights(num_samples)).to(knots)).transpose(-1, -2)


def line_nodes() -> np.ndarray:
    """Return Chebyshev nodes from 0 to 1, which keep the interpolation error small."""
    return (1 - np.cos(np.linspace(0, np.pi, LINES.degree + 1))) / 2


@lru_cache(maxsize=64)
def _weights(num_samples: int) -> np.ndarray:
    """Return the matrix (K, num_samples) that interpolates values at the line_nodes() to evenly spaced samples."""
    nodes, even = (chebvander(2 * at - 1, LINES.degree) for at in (line_nodes(), np.linspace(0, 1, num_samples)))
    return np.linalg.solve(nodes.T, even.T)
