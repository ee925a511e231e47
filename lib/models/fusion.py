"""Learned cross-view fusion: one dense matrix per ordered pair of views, shared by all joints."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lib.multiviews.cameras import CropCameras
from lib.utils.errors import InputError, check_shape, unknown_name

PUBLISHED_INIT_MAX = 0.1
_INITS = ("published", "zeros")


class CrossViewFusion(nn.Module):
    """Add the heatmaps of the other views to the heatmaps of each view, through one matrix per pair of views.

    fused_i = s * H_i + (1 - s) / (V - 1) * sum over views j != i of H_j W_ij, with H_j as a row vector of H*W pixels
    and s = self_weight. `weight[i, n]` is the matrix into view i from view source_views(V)[i][n]. Under torch.autocast,
    the products have its data type.

    Args:
        num_views: number of views V >= 2. The matrices belong to one rig, so V and the order of the views are fixed.
        heatmap_hw: (H, W) of the heatmaps.
        self_weight: weight s of the view itself.
        init: "published" for U(0, 0.1), "zeros" for fused_i = s * H_i.

    Raises:
        InputError: fewer than 2 views, or unknown initialization.

    Source: paper, equation 1; s = 0.4 as in the original code.
    """

    def __init__(
        self, num_views: int, heatmap_hw: tuple[int, int], self_weight: float = 0.4, init: str = "published"
    ) -> None:
        super().__init__()
        if num_views < 2:
            raise InputError(f"fusion: expected at least 2 views, received {num_views}; set NETWORK.FUSION none")
        if init not in _INITS:
            raise unknown_name("initialization", init, _INITS, "NETWORK.FUSION_INIT")
        self.num_views = num_views
        self.heatmap_hw = tuple(heatmap_hw)
        self.self_weight = self_weight
        self.init = init
        num_pixels = heatmap_hw[0] * heatmap_hw[1]
        self.weight = nn.Parameter(torch.empty(num_views, num_views - 1, num_pixels, num_pixels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize the matrices."""
        if self.init == "zeros":
            nn.init.zeros_(self.weight)
        else:
            nn.init.uniform_(self.weight, 0.0, PUBLISHED_INIT_MAX)

    def forward(self, heatmaps: Tensor, views: CropCameras | None = None) -> Tensor:
        """Fuse the heatmaps of all views.

        Args:
            heatmaps: (B, V, J, H, W), views in the order of the rig.
            views: unused; other fusions need the cameras.

        Returns:
            (B, V, J, H, W).

        Raises:
            InputError: another number of views or heatmap size.
        """
        height, width = self.heatmap_hw
        sizes = check_shape("fusion: heatmaps", heatmaps.shape, ("B", self.num_views, "J", height, width))
        batch = sizes["B"]
        joints = sizes["J"]
        num_pixels = height * width
        rows = heatmaps.transpose(0, 1).reshape(self.num_views, batch * joints, num_pixels)  # (V, B*J, H*W)
        mixed = fusion_product(rows.to(self._products_dtype(heatmaps)), self.weight)  # (V, B*J, H*W)
        other_weight = (1.0 - self.self_weight) / (self.num_views - 1)
        fused = self.self_weight * rows + other_weight * mixed
        return fused.view(self.num_views, batch, joints, height, width).transpose(0, 1)  # (B, V, J, H, W)

    def _products_dtype(self, heatmaps: Tensor) -> torch.dtype:
        device = heatmaps.device.type
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else self.weight.dtype

    @torch.no_grad()
    def source_weights(self, view: int, pixels: Tensor) -> Tensor:
        """Return the weights of all pixels of the other views for pixels of one view.

        Args:
            view: target view i.
            pixels: (P, 2) integer (x, y), heatmap px of view i.

        Returns:
            (P, V-1, H, W): columns of the matrices W_ij as maps, views j as in source_views(V)[i].
        """
        height, width = self.heatmap_hw
        columns = self.weight[view][:, :, pixels[:, 1] * width + pixels[:, 0]]  # (V-1, H*W, P)
        return columns.permute(2, 0, 1).unflatten(-1, (height, width))  # (P, V-1, H, W)


def source_views(num_views: int) -> list[list[int]]:
    """Return the other views of each view, ascending: the n-th matrix into view i comes from view [i][n]."""
    return [[view for view in range(num_views) if view != target] for target in range(num_views)]


def fusion_product(rows: Tensor, weight: Tensor) -> Tensor:
    """Compute the sum over the other views j of H_j W_ij for every view i.

    The products have the data type of the rows. With a lower precision, the matrices into one view are converted at a
    time and never kept; autocast would keep a copy of all. Sums have a fixed order, so gradients are reproducible.
    There are no second derivatives.

    Args:
        rows: (V, M, P), M heatmaps of P pixels per view.
        weight: (V, V-1, P, P), as CrossViewFusion.weight.

    Returns:
        (V, M, P), in the data type of the rows.
    """
    return _FusionProduct.apply(rows, weight)


class _FusionProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        sources = _concatenated_sources(rows)
        mixed = torch.empty_like(rows)
        with torch.autocast(rows.device.type, enabled=False):
            for part in _target_slices(rows, weight):
                torch.bmm(sources[part], _matrices(weight[part], rows.dtype), out=mixed[part])  # sums over the sources
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_mixed: Tensor) -> tuple[Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        with torch.autocast(rows.device.type, enabled=False):
            return (
                _gradient_of_rows(grad_mixed, weight) if ctx.needs_input_grad[0] else None,
                _gradient_of_weight(grad_mixed, rows, weight) if ctx.needs_input_grad[1] else None,
            )


def _concatenated_sources(rows: Tensor) -> Tensor:
    """Return (V, M, (V-1)*P): for each target view the rows of the other views, concatenated."""
    return torch.stack([torch.cat([rows[j] for j in others], -1) for others in source_views(len(rows))])


def _target_slices(rows: Tensor, weight: Tensor) -> list[slice]:
    """Return slices of target views: all at once, or one by one if the matrices must be converted."""
    step = len(weight) if rows.dtype == weight.dtype else 1
    return [slice(first, first + step) for first in range(0, len(weight), step)]


def _matrices(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """Return (targets, (V-1)*P, P). Callers must not keep it: a converted copy is freed before the next one."""
    return weight.flatten(1, 2).to(dtype)


def _gradient_of_rows(grad_mixed: Tensor, weight: Tensor) -> Tensor:
    num_views, _, num_pixels = grad_mixed.shape
    grad_rows = torch.zeros_like(grad_mixed, dtype=weight.dtype)  # accumulates the targets in full precision
    for part in _target_slices(grad_mixed, weight):
        grad_sources = torch.bmm(grad_mixed[part], _matrices(weight[part], grad_mixed.dtype).transpose(1, 2))
        grad_sources = grad_sources.unflatten(-1, (num_views - 1, num_pixels))  # (targets, M, V-1, P)
        for target, gradients in enumerate(grad_sources, part.start):
            for n, source in enumerate(source_views(num_views)[target]):
                grad_rows[source] += gradients[:, n]
    return grad_rows.to(grad_mixed.dtype)


def _gradient_of_weight(grad_mixed: Tensor, rows: Tensor, weight: Tensor) -> Tensor:
    sources = _concatenated_sources(rows)
    grad_weight = torch.empty_like(weight)
    for part in _target_slices(rows, weight):
        matrices = grad_weight[part].flatten(1, 2)  # a view of grad_weight
        if rows.dtype == weight.dtype:
            torch.bmm(sources[part].transpose(1, 2), grad_mixed[part], out=matrices)
        else:
            matrices.copy_(torch.bmm(sources[part].transpose(1, 2), grad_mixed[part]))
    return grad_weight
