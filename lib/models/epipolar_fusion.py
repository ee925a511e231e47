"""Fusion of heatmaps along epipolar lines: knows the cameras and crops, so rigs and numbers of views may change."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.multiviews.cameras import CropCameras
from lib.multiviews.geometry.epipolar_torch import HeatmapRays, arc_lengths, sample_maps
from lib.utils.errors import InputError, check_shape, unknown_name

_REDUCTIONS = ("sum", "max")
_CHUNK_VALUES = 1 << 24  # samples that exist at a time: 64 MB
_PEAK_RADIUS = 0.1  # of the map's width: what is nearer to the highest pixel belongs to its peak
_EPS = 1e-6


class _CalibratedFusion(nn.Module, ABC):
    """Base of the fusions that need cameras: checks, and float32 whatever the network computes in."""

    num_views = None  # any

    def forward(self, heatmaps: Tensor, views: CropCameras | None) -> Tensor:
        """Fuse the heatmaps of all views.

        Args:
            heatmaps: (B, V, J, H, W), V at least 2.
            views: their cameras and crops, leading axes (B, V).

        Returns:
            (B, V, J, H, W) fused heatmaps, float32.

        Raises:
            InputError: no cameras, or another number of them than of views.
        """
        if views is None:
            raise InputError("fusion along epipolar lines needs the cameras of the views")
        sizes = check_shape("fusion: heatmaps", heatmaps.shape, ("B", "V", "J", "H", "W"))
        check_shape("fusion: cameras", views.to_heatmap.shape, (sizes["B"], sizes["V"], 2, 3))
        if sizes["V"] < 2:
            raise InputError("fusion needs at least 2 views, received 1; set NETWORK.FUSION none")
        with torch.autocast(heatmaps.device.type, enabled=False):
            return self.fuse(heatmaps.float(), HeatmapRays(views, heatmaps.shape[-2:]))

    @abstractmethod
    def fuse(self, heatmaps: Tensor, rays: HeatmapRays) -> Tensor:
        """Fuse float32 heatmaps; shapes as in forward()."""


class EpipolarFusion(_CalibratedFusion):
    """Add to each pixel the sum or the maximum along its epipolar line in every other view; nothing is learned.

    fused_i = own * H_i + (1 - own) / (V - 1) * sum over views j != i of the reduced H_j. The sum is taken per heatmap
    px of the line, so that it does not depend on the density of the samples.

    Args:
        reduction: "sum" or "max".
        self_weight: weight `own` of the view itself, as in CrossViewFusion.

    Source: the baselines of the paper's Table 1, which the released code lacks.
    """

    def __init__(self, reduction: str, self_weight: float = 0.4) -> None:
        super().__init__()
        if reduction not in _REDUCTIONS:
            raise unknown_name("reduction", reduction, _REDUCTIONS)
        self.reduction, self.self_weight = reduction, self_weight

    def fuse(self, heatmaps: Tensor, rays: HeatmapRays) -> Tensor:
        """Fuse float32 heatmaps; shapes as in forward()."""
        num_views = heatmaps.shape[1]
        size = heatmaps.shape[-2:]
        fused = []
        for view in range(num_views):
            votes = torch.zeros_like(heatmaps[:, view]).flatten(-2)  # (B, J, H*W)
            for other in range(num_views):
                if other != view:
                    votes = votes + self._reduce(heatmaps[:, other], rays.lines(view, other))
            votes = (1 - self.self_weight) / (num_views - 1) * votes.unflatten(-1, size)
            fused.append(self.self_weight * heatmaps[:, view] + votes)
        return torch.stack(fused, 1)

    def _reduce(self, maps: Tensor, places: Tensor) -> Tensor:
        """Maps (B, J, H, W) along lines (B, P, D, 2) -> (B, J, P)."""
        parts = _chunks(places, maps.shape[1])
        if self.reduction == "max":
            return torch.cat([_best_on_rays([maps], [part]) for part in parts], -1)
        return torch.cat([_sum_on_lines(maps, part) for part in parts], -1)


class AdaptiveFusion(_CalibratedFusion):
    """Average each pixel with the point on its ray that the other views agree on most, weighted by trust in each view.

    1. A small network gives every view and joint a weight, from its map's highest and second peak and from how much
       the other views show on the ray of the highest one.
    2. On the ray of each pixel, the depth with the largest weighted sum over the other views is the consensus; a
       joint that is hidden here is where the others see it. With two views that is the maximum along the epipolar line.
    3. The weighted mean m of the own map and the consensus, sharpened to m (m / max m)^k with a learned k: chance
       agreement on rays raises the background, and this lowers it without moving the peak.

    The weights of the network know nothing of the rig, of the number of views or of joints.

    Args:
        hidden: width of the network for the weights.
        depths_per_px: depths on a ray, per pixel of the larger side of the map.

    Source: weights per view and joint as in AdaFuse (Zhang et al., IJCV 2021), agreement in space instead of on lines
    as in learnable triangulation (Iskakov et al., ICCV 2019); the form is our own.
    """

    def __init__(self, hidden: int = 16, depths_per_px: float = 1.0) -> None:
        super().__init__()
        self.depths_per_px = depths_per_px
        self.trust = nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.sharpness = nn.Parameter(torch.zeros(()))  # k before softplus

    def fuse(self, heatmaps: Tensor, rays: HeatmapRays) -> Tensor:
        """Fuse float32 heatmaps; shapes as in forward()."""
        num_views = heatmaps.shape[1]
        size = heatmaps.shape[-2:]
        depths = rays.scene_depths(round(self.depths_per_px * max(size)))  # (B, V, D)
        weights = torch.sigmoid(self.trust(self._evidence(heatmaps, rays, depths)))[..., None]  # (B, V, J, 1, 1)
        weighted = weights * heatmaps
        agreed = [
            self._consensus(weighted, rays, view, depths[:, view]).unflatten(-1, size) for view in range(num_views)
        ]
        mean = (weighted + torch.stack(agreed, 1)) / (weights.sum(1, keepdim=True) + _EPS)
        mean = mean.clamp(min=_EPS)
        power = F.softplus(self.sharpness)
        return mean ** (1 + power) / mean.amax((-2, -1), keepdim=True) ** power

    def _consensus(self, maps: Tensor, rays: HeatmapRays, view: int, depths: Tensor) -> Tensor:
        """Largest sum of the other views on the rays of one view, (B, J, H*W)."""
        others = [other for other in range(maps.shape[1]) if other != view]
        num_joints = maps.shape[2]
        num_pixels = maps[0, 0, 0].numel()
        pixels = torch.arange(num_pixels, device=maps.device).expand(len(maps), -1)
        found = []
        for part in _chunks(pixels, num_joints, depths.shape[1]):
            places = [rays.points(view, other, depths, part) for other in others]
            found.append(_best_on_rays([maps[:, other] for other in others], places))
        return torch.cat(found, -1)

    @torch.no_grad()
    def _evidence(self, heatmaps: Tensor, rays: HeatmapRays, depths: Tensor) -> Tensor:
        """What the weights are made of, (B, V, J, 4): highest peak, second peak, and what others show on its ray."""
        num_views = heatmaps.shape[1]
        width = heatmaps.shape[-1]
        peak, index = heatmaps.flatten(-2).max(-1)  # (B, V, J)
        rows, columns = (torch.arange(size, device=heatmaps.device) for size in heatmaps.shape[-2:])
        distance2 = (rows[:, None] - (index // width)[..., None, None]) ** 2 + (
            columns - (index % width)[..., None, None]
        ) ** 2  # (B, V, J, H, W)
        second = heatmaps.masked_fill(distance2 <= (_PEAK_RADIUS * width) ** 2, 0).flatten(-2).amax(-1)
        columns = []
        for view in range(num_views):
            shown = torch.stack(
                [
                    _sample_each(heatmaps[:, other], rays.points(view, other, depths[:, view], index[:, view]))
                    for other in range(num_views)
                    if other != view
                ]
            )  # (V-1, B, J, D)
            columns.append(torch.stack([shown.mean(0).amax(-1), shown.amax(-1).mean(0)], -1))
        return torch.cat([torch.stack([peak, second], -1), torch.stack(columns, 1)], -1)


def _chunks(pixels: Tensor, num_joints: int, num_samples: int | None = None) -> tuple[Tensor, ...]:
    """Split pixels (B, P, ...) so that _CHUNK_VALUES bounds the samples of a part; (B, P, D, ...) tells D itself."""
    per_pixel = len(pixels) * num_joints * (num_samples or pixels.shape[2])
    return pixels.split(max(1, _CHUNK_VALUES // per_pixel), 1)


def _best_on_rays(maps: list[Tensor], places: list[Tensor]) -> Tensor:
    """Find the largest sum over some views among the samples of each ray.

    The search keeps nothing for the backward pass: the gradient flows through the best samples alone, taken anew.

    Args:
        maps: per view (B, J, H, W).
        places: per view (B, P, D, 2) in the map of that view; sample d is the same point in all.

    Returns:
        (B, J, P).
    """
    with torch.no_grad():
        sums = sample_maps(maps[0], places[0])  # (B, J, P, D)
        for pair in zip(maps[1:], places[1:], strict=True):
            sums += sample_maps(*pair)
        if not any(one.requires_grad for one in maps):
            return sums.amax(-1)
        best = sums.argmax(-1)
    chosen = [
        one[:, None].expand(-1, best.shape[1], -1, -1, -1).take_along_dim(best[..., None, None], 3).squeeze(3)
        for one in places
    ]  # (B, J, P, 2)
    return sum(_sample_each(*pair) for pair in zip(maps, chosen, strict=True))


def _sum_on_lines(maps: Tensor, places: Tensor) -> Tensor:
    """Add up the maps (B, J, H, W) per heatmap px of lines (B, P, D, 2): (B, J, P)."""
    return sample_maps(maps, places).mul_(arc_lengths(places, maps.shape[-2:])[:, None]).sum(-1)


def _sample_each(maps: Tensor, places: Tensor) -> Tensor:
    """Interpolate the maps (B, J, H, W) at places of their own (B, J, K, 2), 0 outside: (B, J, K)."""
    flat = sample_maps(maps.flatten(0, 1)[:, None], places.flatten(0, 1)[:, :, None])  # (B*J, 1, K, 1)
    return flat.reshape(places.shape[:-1])
