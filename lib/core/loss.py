"""The training loss on heatmaps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def heatmap_loss(prediction: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Squared error, summed over views and joints of the mean over batch and pixels.

    Args:
        prediction: (B, V, J, H, W).
        target: (B, V, J, H, W).
        weight: (B, V, J, 1), multiplied to the difference before squaring; None = all joints count.

    Returns:
        Scalar. There is no factor 1/2, as published.
    """
    difference = prediction - target
    if weight is not None:
        difference = difference * weight[..., None]
    return difference.square().mean(dim=(0, 3, 4)).sum()


def route(single: Tensor, fused: Tensor | None, is_multiview: Tensor) -> Tensor:
    """Choose the heatmaps that count: fused for groups of one instant, raw for unrelated images.

    Args:
        single: (B, V, J, H, W) raw heatmaps.
        fused: the same after fusion, or None.
        is_multiview: (B,) bool.

    Returns:
        (B, V, J, H, W).
    """
    if fused is None:
        return single
    return torch.where(is_multiview[:, None, None, None, None], fused, single)


class Losses(NamedTuple):
    """The training loss and its parts, scalars.

    Attributes:
        total: routed + raw.
        routed: on the routed heatmaps.
        raw: with fusion, on the raw ones; 0 without.
    """

    total: Tensor
    routed: Tensor
    raw: Tensor


def training_losses(
    single: Tensor, fused: Tensor | None, target: Tensor, weight: Tensor | None, is_multiview: Tensor
) -> Losses:
    """Loss on the routed heatmaps, plus, with fusion, the loss on the raw ones.

    Unrelated images (MPII) so get their raw loss twice, as published. Shapes as in route() and heatmap_loss().
    """
    routed = heatmap_loss(route(single, fused, is_multiview), target, weight)
    raw = torch.zeros_like(routed) if fused is None else heatmap_loss(single, target, weight)
    return Losses(routed + raw, routed, raw)
