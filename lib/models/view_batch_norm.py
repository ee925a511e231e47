"""Batch norm with statistics per view, for one pass of a backbone over the images of all views."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class ViewBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d that can normalize the images of each view with their own statistics.

    Inside per_view(), a training forward takes the images of V views in view order, (V*B, C, H, W), and normalizes
    each view separately, as one call of nn.BatchNorm2d per view does. It keeps the batch statistics for
    take_statistics() instead of updating the running statistics. Elsewhere it is nn.BatchNorm2d. The state dict equals
    the one of nn.BatchNorm2d.
    """

    num_views = 0  # V inside per_view(), else 0
    batch_statistics: tuple[Tensor, Tensor] | None = None  # mean and unbiased variance (V, C) of the last forward

    def forward(self, input: Tensor) -> Tensor:
        """Normalize (B, C, H, W), or (V*B, C, H, W) inside per_view()."""
        if not (self.num_views and self.training):
            return super().forward(input)
        per_view = input.numel() // (self.num_views * self.num_features)
        if per_view == 1:
            raise ValueError(f"expected more than 1 value per view and channel in training, received {input.shape}")
        if self.batch_statistics is not None:
            raise RuntimeError("batch norm: expected one call per training pass, received two; use two layers")
        normalize = _normalize_traced if torch.compiler.is_compiling() else _PerView.apply
        output, mean, variance = normalize(input, self.weight, self.bias, self.num_views, self.eps)
        self.batch_statistics = (mean, variance)
        return output


def convert_batch_norms(module: nn.Module) -> None:
    """Make every nn.BatchNorm2d of a module a ViewBatchNorm2d, in place; parameters and buffers stay.

    Layers without weights, running statistics or momentum are left as they are.
    """
    for norm in module.modules():
        if type(norm) is nn.BatchNorm2d and norm.affine and norm.track_running_stats and norm.momentum is not None:
            norm.__class__ = ViewBatchNorm2d  # it has the same attributes


@contextlib.contextmanager
def per_view(norms: Sequence[ViewBatchNorm2d], num_views: int) -> Iterator[None]:
    """Use statistics per view in a block."""
    for norm in norms:
        norm.num_views = num_views
        norm.batch_statistics = None
    try:
        yield
    finally:
        for norm in norms:
            norm.num_views = 0


def take_statistics(norms: Sequence[ViewBatchNorm2d]) -> Tensor:
    """Return the batch statistics of the last pass and forget them.

    Returns:
        (V, 2 * sum of C): the means of all layers, then the unbiased variances.

    Raises:
        RuntimeError: a layer was not called.
    """
    if any(norm.batch_statistics is None for norm in norms):
        raise RuntimeError("batch norm: expected one call per training pass, received none; remove unused layers")
    means, variances = zip(*(norm.batch_statistics for norm in norms), strict=True)
    for norm in norms:
        norm.batch_statistics = None
    return torch.cat([*means, *variances], 1)


@torch.no_grad()
def update_running_statistics(norms: Sequence[ViewBatchNorm2d], statistics: Tensor) -> None:
    """Update the running statistics as V calls of nn.BatchNorm2d in view order do, up to rounding.

    V updates by momentum m are one update by 1 - (1-m)^V toward a weighted mean of the views. So all layers need a
    few kernels in total.

    Args:
        norms: layers with the same momentum.
        statistics: see take_statistics().
    """
    momentum = norms[0].momentum
    mean = statistics[0]
    share = momentum
    for values in statistics[1:]:
        share = 1 - (1 - momentum) * (1 - share)
        mean = torch.lerp(mean, values, momentum / share)
    running = [norm.running_mean for norm in norms] + [norm.running_var for norm in norms]
    torch._foreach_lerp_(running, list(mean.split([len(buffer) for buffer in running])), share)
    torch._foreach_add_([norm.num_batches_tracked for norm in norms], len(statistics))


class _PerView(torch.autograd.Function):
    """torch's batch norm on the slab of each view; the slabs of a result are written in place, without a copy."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor, num_views: int, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        output = torch.empty_like(input)
        mean, variance = weight.new_zeros(2, num_views, len(weight))
        saved = weight.new_empty(2, num_views, len(weight))
        ctx.save_for_backward(input, weight, saved)
        ctx.eps = eps
        slabs = zip(input.chunk(num_views), output.chunk(num_views), mean, variance, *saved, strict=True)
        for source, target, mean_v, variance_v, saved_mean, saved_invstd in slabs:
            # momentum 1 replaces the zeros by the statistics of this view
            torch.native_batch_norm(
                source, weight, bias, mean_v, variance_v, True, 1.0, eps, out=(target, saved_mean, saved_invstd)
            )
        ctx.mark_non_differentiable(mean, variance)
        return output, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, saved = ctx.saved_tensors
        is_needed = ctx.needs_input_grad
        num_views = saved.shape[1]
        results = [
            torch.ops.aten.native_batch_norm_backward(*one, True, ctx.eps, [is_needed[0], True, True])
            for one in zip(
                grad.chunk(num_views),
                input.chunk(num_views),
                [weight] * num_views,
                [None] * num_views,
                [None] * num_views,
                *saved,
                strict=True,
            )
        ]
        grad_input, grad_weight, grad_bias = zip(*results, strict=True)
        sums = torch.stack([*grad_weight, *grad_bias]).unflatten(0, (2, num_views)).sum(1)  # over the views
        return (
            torch.cat(grad_input) if is_needed[0] else None,
            sums[0] if is_needed[1] else None,
            sums[1] if is_needed[2] else None,
            None,
            None,
        )


def _normalize_traced(
    input: Tensor, weight: Tensor, bias: Tensor, num_views: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the same as _PerView in operations that torch.compile fuses into few kernels, in any memory format."""
    views = input.unflatten(0, (num_views, -1)).to(weight.dtype)  # (V, B, C, H, W)
    variance, mean = torch.var_mean(views, (1, 3, 4), correction=0, keepdim=True)  # (V, 1, C, 1, 1)
    gain = torch.rsqrt(variance + eps) * weight[:, None, None]
    output = (views - mean) * gain + bias[:, None, None]
    count = views[0, :, 0].numel()
    unbiased = variance.detach().flatten(1) * (count / (count - 1))
    return output.to(input.dtype).flatten(0, 1), mean.detach().flatten(1), unbiased
