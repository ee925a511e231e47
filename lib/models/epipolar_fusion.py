"""Fusion of heatmaps along epipolar lines, for any rig and number of views: it reads the cameras and crops."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.multiviews.cameras import CropCameras
from lib.multiviews.geometry.epipolar_torch import HeatmapRays, arc_lengths, sample_maps
from lib.utils.errors import InputError, check_shape, unknown_name

_REDUCTIONS = ("sum", "max")
_CHUNK_VALUES = 1 << 24  # samples in memory at a time: 64 MB
_EPS = 1e-6


class _CalibratedFusion(nn.Module, ABC):
    """Base class of fusions that need cameras: checks the input and computes in float32."""

    num_views = None  # any number

    def forward(self, heatmaps: Tensor, views: CropCameras | None) -> Tensor:
        """Fuse the heatmaps of all views.

        Args:
            heatmaps: (B, V, J, H, W), V >= 2.
            views: cameras and crops, leading axes (B, V).

        Returns:
            (B, V, J, H, W), float32.

        Raises:
            InputError: missing cameras, or wrong number of cameras or views.
        """
        if views is None:
            raise InputError("fusion: expected the cameras of the views, received none")
        sizes = check_shape("fusion: heatmaps", heatmaps.shape, ("B", "V", "J", "H", "W"))
        check_shape("fusion: cameras", views.to_heatmap.shape, (sizes["B"], sizes["V"], 2, 3))
        if sizes["V"] < 2:
            raise InputError("fusion: expected at least 2 views, received 1; set NETWORK.FUSION none")
        with torch.autocast(heatmaps.device.type, enabled=False):
            return self.fuse(heatmaps.float(), HeatmapRays(views, heatmaps.shape[-2:]))

    @abstractmethod
    def fuse(self, heatmaps: Tensor, rays: HeatmapRays) -> Tensor:
        """Fuse float32 heatmaps; shapes as in forward()."""


class EpipolarFusion(_CalibratedFusion):
    """Add to each pixel the sum or the maximum along its epipolar line in every other view, without weights.

    fused_i = s * H_i + (1 - s) / (V - 1) * sum over views j != i of the reduced H_j, with s = self_weight. The sum is
    an integral over the line in heatmap px, so it does not depend on the density of the samples.

    Args:
        reduction: "sum" or "max".
        self_weight: weight s of the view itself, as in CrossViewFusion.

    Source: baselines of the paper, table 1; the original code lacks them.
    """

    def __init__(self, reduction: str, self_weight: float = 0.4) -> None:
        super().__init__()
        if reduction not in _REDUCTIONS:
            raise unknown_name("reduction", reduction, _REDUCTIONS)
        self.reduction = reduction
        self.self_weight = self_weight

    def fuse(self, heatmaps: Tensor, rays: HeatmapRays) -> Tensor:
        """Fuse float32 heatmaps; shapes as in forward()."""
        num_views = heatmaps.shape[1]
        size = heatmaps.shape[-2:]
        fused = []
        for view in range(num_views):
            total = torch.zeros_like(heatmaps[:, view]).flatten(-2)  # (B, J, H*W)
            for other in range(num_views):
                if other != view:
                    total = total + self._reduced(heatmaps, rays, view, other)
            others = (1 - self.self_weight) / (num_views - 1) * total.unflatten(-1, size)
            fused.append(self.self_weight * heatmaps[:, view] + others)
        return torch.stack(fused, 1)

    def _reduced(self, heatmaps: Tensor, rays: HeatmapRays, view: int, other: int) -> Tensor:
        """Reduce the heatmaps (B, V, J, H, W) of one view along the lines of another view's pixels: (B, J, H*W)."""
        maps = heatmaps[:, other]
        needs_gradient = torch.is_grad_enabled() and maps.requires_grad
        places, mix = rays.line_samples(view, other, self.reduction == "max" and not needs_gradient)
        found = self._reduce(maps, places)  # (B, J, N)
        if mix is None:
            return found
        pair, share, seen = mix
        first, second = (found.gather(-1, index[:, None].expand(-1, maps.shape[1], -1)) for index in pair.unbind(-1))
        return torch.lerp(first, second, share[:, None]) * seen[:, None]

    def _reduce(self, maps: Tensor, places: Tensor) -> Tensor:
        """Reduce maps (B, J, H, W) along lines (B, P, D, 2): (B, J, P)."""
        parts = _chunks(places, maps.shape[1])
        if self.reduction == "max":
            return torch.cat([_best_on_rays([maps], [part]) for part in parts], -1)
        return torch.cat([_sum_on_lines(maps, part) for part in parts], -1)


class AdaptiveFusion(_CalibratedFusion):
    """Average each pixel with the consensus of the other views on its ray, with learned weights per view and joint.

    1. A small network predicts the weight of every view and joint. Its inputs are the highest and the second peak of
       the heatmap, and the heatmaps of the other views on the ray of the highest peak.
    2. The consensus of a pixel is the largest weighted sum of the other views over the depths on its ray. It recovers
       joints that are hidden in this view. With two views, it is the maximum along the epipolar line.
    3. The weighted mean m of heatmap and consensus is sharpened to m (m / max m)^k with a learned k. This lowers the
       background, which chance agreement raises, and does not move the peak.

    The network does not depend on the rig, the number of views or the joints.

    Args:
        hidden: width of the network.
        depths_per_px: depths on a ray, per pixel of the larger side of the heatmap.
        peak_radius: radius of the highest peak, excluded when the second peak is searched; share of the heatmap width.

    Source: weights per view and joint as in AdaFuse (Zhang et al., IJCV 2021), consensus in 3D as in learnable
    triangulation (Iskakov et al., ICCV 2019); this combination is our own.
    """

    def __init__(self, hidden: int = 16, depths_per_px: float = 1.0, peak_radius: float = 0.1) -> None:
        super().__init__()
        self.depths_per_px = depths_per_px
        self.peak_radius = peak_radius
        self.trust = nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.sharpness = nn.Parameter(torch.zeros(()))  # k before softplus

    def fuse(self, heatmaps: Tensor, rays: HeatmapRays) -> Tensor:
        """Fuse float32 heatmaps; shapes as in forward()."""
        num_views = heatmaps.shape[1]
        size = heatmaps.shape[-2:]
        depths = rays.scene_depths(round(self.depths_per_px * max(size)))  # (B, V, D)
        weights = torch.sigmoid(self.trust(self._network_inputs(heatmaps, rays, depths)))[..., None]  # (B, V, J, 1, 1)
        weighted = weights * heatmaps
        consensus = [
            self._consensus(weighted, rays, view, depths[:, view]).unflatten(-1, size) for view in range(num_views)
        ]
        mean = (weighted + torch.stack(consensus, 1)) / (weights.sum(1, keepdim=True) + _EPS)
        mean = mean.clamp(min=_EPS)
        power = F.softplus(self.sharpness)
        return mean ** (1 + power) / mean.amax((-2, -1), keepdim=True) ** power

    def _consensus(self, maps: Tensor, rays: HeatmapRays, view: int, depths: Tensor) -> Tensor:
        """Return the largest sum of the other views on the rays of one view, (B, J, H*W)."""
        others = [other for other in range(maps.shape[1]) if other != view]
        num_joints = maps.shape[2]
        num_pixels = maps[0, 0, 0].numel()
        pixels = torch.arange(num_pixels, device=maps.device).expand(maps.shape[0], -1)
        found = []
        for part in _chunks(pixels, num_joints, depths.shape[1]):
            places = [rays.points(view, other, depths, part) for other in others]
            found.append(_best_on_rays([maps[:, other] for other in others], places))
        return torch.cat(found, -1)

    @torch.no_grad()
    def _network_inputs(self, heatmaps: Tensor, rays: HeatmapRays, depths: Tensor) -> Tensor:
        """Return the inputs of the network (B, V, J, 4): both peaks, and the other views on the ray of the highest."""
        num_views = heatmaps.shape[1]
        width = heatmaps.shape[-1]
        peak, index = heatmaps.flatten(-2).max(-1)  # (B, V, J)
        rows, columns = (torch.arange(size, device=heatmaps.device) for size in heatmaps.shape[-2:])
        distance2 = (rows[:, None] - (index // width)[..., None, None]) ** 2 + (
            columns - (index % width)[..., None, None]
        ) ** 2  # (B, V, J, H, W)
        second = heatmaps.masked_fill(distance2 <= (self.peak_radius * width) ** 2, 0).flatten(-2).amax(-1)
        columns = []
        for view in range(num_views):
            on_ray = torch.stack(
                [
                    _sample_each(heatmaps[:, other], rays.points(view, other, depths[:, view], index[:, view]))
                    for other in range(num_views)
                    if other != view
                ]
            )  # (V-1, B, J, D)
            columns.append(torch.stack([on_ray.mean(0).amax(-1), on_ray.amax(-1).mean(0)], -1))
        return torch.cat([torch.stack([peak, second], -1), torch.stack(columns, 1)], -1)


def _chunks(pixels: Tensor, num_joints: int, num_samples: int | None = None) -> tuple[Tensor, ...]:
    """Split pixels (B, P, ...) or samples (B, P, D, ...) into parts of at most _CHUNK_VALUES samples."""
    per_pixel = pixels.shape[0] * num_joints * (num_samples or pixels.shape[2])
    if not isinstance(per_pixel, int):  # symbolic, in an export
        return (pixels,)
    return pixels.split(max(1, _CHUNK_VALUES // per_pixel), 1)


def _best_on_rays(maps: list[Tensor], places: list[Tensor]) -> Tensor:
    """Return the largest sum over the views among the samples of each ray, (B, J, P).

    The search keeps nothing for the backward pass. The best samples are interpolated again, and the gradient flows
    through them.

    Args:
        maps: (B, J, H, W) per view.
        places: (B, P, D, 2) per view, in its map; sample d is the same 3D point in all views.
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
    """Integrate maps (B, J, H, W) along lines (B, P, D, 2), in heatmap px: (B, J, P)."""
    return sample_maps(maps, places).mul_(arc_lengths(places, maps.shape[-2:])[:, None]).sum(-1)


def _sample_each(maps: Tensor, places: Tensor) -> Tensor:
    """Interpolate maps (B, J, H, W) at different places (B, J, K, 2) per map, 0 outside: (B, J, K)."""
    flat = sample_maps(maps.flatten(0, 1)[:, None], places.flatten(0, 1)[:, :, None])  # (B*J, 1, K, 1)
    return flat.reshape(places.shape[:-1])
