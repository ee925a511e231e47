"""Training loss on heatmaps."""

from typing import NamedTuple

import torch
from torch import Tensor


def heatmap_loss(prediction: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Sum the mean squared error (over batch and pixels) over views and joints.

    Args:
        prediction: (B, V, J, H, W).
        target: (B, V, J, H, W).
        weight: (B, V, J, 1), multiplied to the difference before squaring; None = 1.

    Returns:
        Scalar, without a factor 1/2, as in the original code.
    """
    difference = prediction - target
    if weight is not None:
        difference = difference * weight[..., None]
    return difference.square().mean(dim=(0, 3, 4)).sum()


def image_losses(prediction: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Return the part (B, V) of each image in heatmap_loss(), which is their sum over V and mean over B."""
    difference = prediction - target
    if weight is not None:
        difference = difference * weight[..., None]
    return difference.square().mean(dim=(3, 4)).sum(2)


def route(single_view: Tensor, fused: Tensor | None, is_multiview: Tensor) -> Tensor:
    """Select fused heatmaps for groups of views and single-view heatmaps for unrelated images (MPII).

    Args:
        single_view: (B, V, J, H, W) heatmaps before fusion.
        fused: (B, V, J, H, W) heatmaps after fusion; None without fusion.
        is_multiview: (B,) bool.

    Returns:
        (B, V, J, H, W).
    """
    if fused is None:
        return single_view
    return torch.where(is_multiview[:, None, None, None, None], fused, single_view)


class Losses(NamedTuple):
    """Scalar losses.

    Attributes:
        total: routed + single_view.
        routed: loss of the heatmaps that route() selects.
        single_view: loss of the single-view heatmaps; 0 without fusion.
    """

    total: Tensor
    routed: Tensor
    single_view: Tensor


def training_losses(
    single_view: Tensor, fused: Tensor | None, target: Tensor, weight: Tensor | None, is_multiview: Tensor
) -> Losses:
    """Compute the losses of a batch; shapes as in route() and heatmap_loss().

    With fusion, the single-view loss of unrelated images counts twice, as in the original code.
    """
    routed = heatmap_loss(route(single_view, fused, is_multiview), target, weight)
    own = torch.zeros_like(routed) if fused is None else heatmap_loss(single_view, target, weight)
    return Losses(routed + own, routed, own)
