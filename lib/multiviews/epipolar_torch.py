"""What the heatmap pixels of one view may show in the heatmaps of the others, exactly and in batches; torch.

Every view has its own crop, camera and lens, and they may differ between the groups of a batch. A pixel is a ray; its
points are projected through the other lens and crop. Coordinates are arrays of their own: plain passes over long rows.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.multiviews.cameras import MIN_DEPTH_MM, CropCameras, lens_reach, lens_terms, undistort
from lib.multiviews.epipolar import FARTHEST_MM, NEAREST_MM

_OUTSIDE = -1e3  # heatmap px: no tap of any map is near
_MARGIN = 1.0  # px around a map where bilinear interpolation still finds something
_TINY = 1e-9
_BORDER, _COARSE_RAYS, _COARSE_DEPTHS = 9, 4, 96  # points per side of a crop; rays per side and depths of a first look


def sample_maps(maps: Tensor, places: Tensor) -> Tensor:
    """Interpolate maps, 0 outside.

    Args:
        maps: (N, C, H, W).
        places: (N, P, D, 2) heatmap px (x, y), the same for all C maps.

    Returns:
        (N, C, P, D).
    """
    height, width = maps.shape[-2:]
    scale = places.new_tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)])
    return F.grid_sample(maps, places * scale - 1, padding_mode="zeros", align_corners=True)


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
        plane = self._to_plane(pixels)
        self._seen = (plane**2).sum(-1) <= self._reach[..., None]  # (B, V, H*W); false for NaN
        plane = torch.where(self._seen[..., None], plane, 0)
        self.directions = plane @ cameras.R[..., :2, :] + cameras.R[..., 2:, :]
        self._low, self._high = self._bounds()
        # from the distorted normalised point to heatmap px: intrinsics and crop in one affine map, (B, V, 2, 3)
        linear = views.to_heatmap[..., :2]
        shift = (linear @ cameras.c[..., None])[..., 0] + views.to_heatmap[..., 2]
        self._affine = torch.cat([linear * cameras.f[..., None, :], shift[..., None]], -1)

    @property
    def num_views(self) -> int:
        """Number of views V."""
        return self.directions.shape[1]

    def lines(self, view: int, other: int, num_samples: int | None = None) -> tuple[Tensor, Tensor]:
        """Follow the epipolar lines of all pixels of one view through the heatmap of another one.

        From NEAREST_MM before the camera to infinity, as far as they run through the map. With a lens they are
        curves: samples are even on the straight line in the undistorted plane.

        Args:
            view: whose pixels.
            other: whose heatmap.
            num_samples: D on each line; None = so many that steps are at most one heatmap px along an axis.

        Returns:
            places: (B, H*W, D, 2) heatmap px of the other view; far outside where a pixel has no line in the map.
            steps: (B, H*W) distance of neighbouring samples, heatmap px; 0 where there is no line.
        """
        num_samples = num_samples or max(self._height, self._width) + 2
        origin, direction = self._in_camera(self.directions[:, view], view, other)
        start, end, found = self._cut(origin, direction, other)
        found = found & self._seen[:, view]
        along = torch.linspace(0, 1, num_samples).to(start)
        line = start[..., None, :] + along[:, None] * (end - start)[..., None, :]  # (B, H*W, D, 2)
        places = self._to_heatmap(line[..., 0], line[..., 1], other)
        places = torch.where(found[..., None, None], places, _OUTSIDE)
        length = torch.linalg.vector_norm(places[:, :, -1] - places[:, :, 0], dim=-1)
        return places, length / (num_samples - 1)

    def points(self, view: int, other: int, depths: Tensor, pixels: Tensor | None = None) -> Tensor:
        """Project points on the rays of one view into the heatmap of another one.

        Args:
            view: whose pixels.
            other: whose heatmap.
            depths: (B, D) along the optical axis of `view`, mm.
            pixels: (B, P) indices y * W + x; None = all H*W.

        Returns:
            (B, P, D, 2) heatmap px of the other view; far outside where it cannot see a point.
        """
        directions, seen = self.directions[:, view], self._seen[:, view]
        if pixels is not None:
            directions, seen = directions.take_along_dim(pixels[..., None], 1), seen.take_along_dim(pixels, 1)
        return self._project(directions, seen, depths, view, other)

    def scene_depths(self, num_depths: int) -> Tensor:
        """Choose depths at which to cut each view's rays: where the largest number of other views sees something.

        Args:
            num_depths: D.

        Returns:
            (B, V, D) along the optical axes, mm, evenly spaced.
        """
        ratio = (FARTHEST_MM / NEAREST_MM) ** (1 / (_COARSE_DEPTHS - 1))
        coarse = NEAREST_MM * ratio ** torch.arange(_COARSE_DEPTHS).to(self._reach)
        rows = torch.linspace(0, self._height - 1, _COARSE_RAYS).round().long()
        columns = torch.linspace(0, self._width - 1, _COARSE_RAYS).round().long()
        batch = len(self._reach)
        pixels = (rows[:, None] * self._width + columns).flatten().to(self._reach.device).expand(batch, -1)
        spans = [self._common_span(view, coarse, pixels) for view in range(self.num_views)]
        near, far = (torch.stack(ends, 1)[..., None] for ends in zip(*spans, strict=True))  # (B, V, 1)
        return near / ratio + torch.linspace(0, 1, num_depths).to(near) * (far * ratio - near / ratio)

    def _common_span(self, view: int, coarse: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first and the last of the coarse depths at which as many other views as possible see a ray."""
        size = coarse.new_tensor([self._width - 0.5, self._height - 0.5])
        count = torch.zeros((), device=coarse.device)
        for other in range(self.num_views):
            if other != view:
                places = self.points(view, other, coarse.expand(len(pixels), -1), pixels)
                count = count + ((places >= -0.5) & (places <= size)).all(-1)  # (B, P, D)
        most = (count == count.amax((1, 2), keepdim=True)).any(1)  # (B, D)
        last = most.shape[1] - 1
        return coarse[most.int().argmax(1)], coarse[last - most.flip(1).int().argmax(1)]

    def _to_plane(self, points_hm: Tensor) -> Tensor:
        """Heatmap px (P, 2) -> normalised points (B, V, P, 2), without lens distortion."""
        linear, shift = self._views.to_heatmap[..., :2], self._views.to_heatmap[..., 2]
        points_img = (points_hm - shift[..., None, :]) @ torch.linalg.inv(linear).transpose(-1, -2)
        return undistort(points_img, self._views.cameras)

    def _bounds(self) -> tuple[Tensor, Tensor]:
        """Return the corners (B, V, 2) of a box around each crop in the normalised plane."""
        width, height = self._width - 1 + _MARGIN, self._height - 1 + _MARGIN
        ends = torch.linspace(0, 1, _BORDER).to(self._reach)
        x, y = -_MARGIN + ends * (width + _MARGIN), -_MARGIN + ends * (height + _MARGIN)
        sides = [torch.stack([x, torch.full_like(x, edge)], -1) for edge in (-_MARGIN, height)]
        sides += [torch.stack([torch.full_like(y, edge), y], -1) for edge in (-_MARGIN, width)]
        border = self._to_plane(torch.cat(sides))  # (B, V, 4*_BORDER, 2)
        limit = self._reach.sqrt()[..., None, None]
        border = torch.where(torch.isfinite(border), border, limit).clamp(-limit, limit)
        return border.amin(-2), border.amax(-2)

    def _in_camera(self, directions: Tensor, view: int, other: int) -> tuple[Tensor, Tensor]:
        """Return origin (B, 1, 3) and direction (B, P, 3) of rays of one view in the camera frame of another one."""
        cameras = self._views.cameras
        rotation = cameras.R[:, other].transpose(-1, -2)
        return (cameras.T[:, view] - cameras.T[:, other])[:, None] @ rotation, directions @ rotation

    def _cut(self, origin: Tensor, direction: Tensor, other: int) -> tuple[Tensor, Tensor, Tensor]:
        """Cut rays with the pyramid of a crop.

        In s = 1 / depth all planes of the pyramid, and infinity (s = 0), are linear bounds: origin * s + direction.

        Returns:
            Both ends (B, P, 2) as normalised points, and (B, P) whether there is anything between them.
        """
        (ox, oy, oz), (qx, qy, qz) = origin.unbind(-1), direction.unbind(-1)
        (x0, y0), (x1, y1) = (corner[:, other, :, None].unbind(1) for corner in (self._low, self._high))
        bounds = [(oz - MIN_DEPTH_MM, qz), (ox - x0 * oz, qx - x0 * qz), (x1 * oz - ox, x1 * qz - qx),
                  (oy - y0 * oz, qy - y0 * qz), (y1 * oz - oy, y1 * qz - qy)]  # fmt: skip
        low, high = torch.zeros_like(qz), torch.full_like(qz, 1 / NEAREST_MM)
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
        return start, end, found

    def _project(self, directions: Tensor, seen: Tensor, depths: Tensor, view: int, other: int) -> Tensor:
        origin, direction = self._in_camera(directions, view, other)
        x, y, z = (o[..., None] + q[..., None] * depths[:, None] for o, q in
                   zip(origin.unbind(-1), direction.unbind(-1), strict=True))  # (B, P, D) each  # fmt: skip
        nearness = 1 / z.clamp(min=MIN_DEPTH_MM)
        x, y = x * nearness, y * nearness
        visible = (z >= MIN_DEPTH_MM) & (x * x + y * y <= self._reach[:, other, None, None]) & seen[..., None]
        return torch.where(visible[..., None], self._to_heatmap(x, y, other), _OUTSIDE)

    def _to_heatmap(self, x: Tensor, y: Tensor, view: int) -> Tensor:
        """Normalised points, x and y (B, P, D) -> (B, P, D, 2) heatmap px."""
        cameras = self._views.cameras
        k, p = _columns(cameras.k[:, view]), _columns(cameras.p[:, view])
        factor, r2 = lens_terms(x, y, k, p)
        x, y = x * factor + p[1] * r2, y * factor + p[0] * r2
        xx, xy, x0, yx, yy, y0 = _columns(self._affine[:, view].flatten(1))
        return torch.stack([xx * x + xy * y + x0, yx * x + yy * y + y0], -1)


def _columns(values: Tensor) -> list[Tensor]:
    """Split (B, n) into n tensors (B, 1, 1)."""
    return [column[:, None, None] for column in values.unbind(-1)]
