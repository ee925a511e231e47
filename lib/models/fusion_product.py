"""The matrix products of the cross-view fusion, with no lasting copy of the matrices in a lower precision."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def source_views(num_views: int) -> list[list[int]]:
    """Return for each view the others, ascending: [i][n] is the view that the n-th matrix into view i comes from."""
    return [[view for view in range(num_views) if view != target] for target in range(num_views)]


def fusion_product(rows: Tensor, weight: Tensor) -> Tensor:
    """Sum over the other views j of H_j W_ij, for every view i.

    The products are in the type of the rows. If that is not the type of the weights, the matrices into one view are
    converted at a time, in the forward and again in the backward: nothing of their size is kept, and autocast, which
    would keep a copy of all, is out of the way. The gradient of the weights goes straight into one tensor of their
    type. Every sum has a fixed order, so that gradients do not vary between runs. There are no second derivatives.

    Args:
        rows: (V, M, P), M heatmaps of P pixels per view, in the type of the products.
        weight: (V, V-1, P, P): [i, n] is the matrix into view i from view source_views(V)[i][n].

    Returns:
        (V, M, P), in the type of the rows.
    """
    return _FusionProduct.apply(rows, weight)


class _FusionProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        sources = _sources(rows)
        mixed = torch.empty_like(rows)
        with torch.autocast(rows.device.type, enabled=False):  # the types of both inputs say everything
            for part in _parts(rows, weight):
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


def _sources(rows: Tensor) -> Tensor:
    """(V, M, (V-1)*P): for each target view the rows of the others, one after the other."""
    return torch.stack([torch.cat([rows[j] for j in others], -1) for others in source_views(len(rows))])


def _parts(rows: Tensor, weight: Tensor) -> list[slice]:
    """The target views: all at once, or one by one where the matrices of each have to be converted."""
    step = len(weight) if rows.dtype == weight.dtype else 1
    return [slice(first, first + step) for first in range(0, len(weight), step)]


def _matrices(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """(targets, (V-1)*P, P). Not to be given a name where it is a copy: it should go before the next one is made."""
    return weight.flatten(1, 2).to(dtype)


def _gradient_of_rows(grad_mixed: Tensor, weight: Tensor) -> Tensor:
    num_views, _, num_pixels = grad_mixed.shape
    grad_rows = torch.zeros_like(grad_mixed, dtype=weight.dtype)  # sums over the targets in full precision
    for part in _parts(grad_mixed, weight):
        grad_sources = torch.bmm(grad_mixed[part], _matrices(weight[part], grad_mixed.dtype).transpose(1, 2))
        grad_sources = grad_sources.unflatten(-1, (num_views - 1, num_pixels))  # (targets, M, V-1, P)
        for target, gradients in enumerate(grad_sources, part.start):
            for n, source in enumerate(source_views(num_views)[target]):
                grad_rows[source] += gradients[:, n]
    return grad_rows.to(grad_mixed.dtype)


def _gradient_of_weight(grad_mixed: Tensor, rows: Tensor, weight: Tensor) -> Tensor:
    sources = _sources(rows)
    grad_weight = torch.empty_like(weight)
    for part in _parts(rows, weight):
        matrices = grad_weight[part].flatten(1, 2)  # a view
        if rows.dtype == weight.dtype:
            torch.bmm(sources[part].transpose(1, 2), grad_mixed[part], out=matrices)
        else:
            matrices.copy_(torch.bmm(sources[part].transpose(1, 2), grad_mixed[part]))
    return grad_weight
