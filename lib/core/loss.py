"""Training loss on heatmaps, and the section LOSS of the configuration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class LossSettings(NamedTuple):
    """Section LOSS of the configuration.

    Attributes:
        use_target_weight: weight joints by their visibility, which excludes joints without annotation.
    """

    use_target_weight: bool = True

    @classmethod
    def from_config(cls, section: Any) -> LossSettings:
        """Read the keys of LOSS."""
        return cls(use_target_weight=section.USE_TARGET_WEIGHT)

    def weight(self, weight: Tensor | None) -> Tensor | None:
        """Return the weight that counts; None = 1."""
        return weight if self.use_target_weight else None


PUBLISHED_LOSS = LossSettings()


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


def image_losses(
    maps: Iterable[Tensor], target: Tensor, weight: Tensor | None, settings: LossSettings = PUBLISHED_LOSS
) -> Tensor:
    """Return the part (B, V) of each image in training_losses().total, times V: the mean over all images is the total.

    Args:
        maps: routed heatmaps and, with fusion, single-view heatmaps, each (B, V, J, H, W).
        target, weight: as in heatmap_loss().
        settings: see LossSettings.
    """
    weight = settings.weight(weight)
    factor = 1 if weight is None else weight[..., None]
    squares = (((one - target) * factor).square() for one in maps)
    return sum(square.mean(dim=(3, 4)).sum(2) for square in squares) * target.shape[1]


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
    single_view: Tensor,
    fused: Tensor | None,
    target: Tensor,
    weight: Tensor | None,
    is_multiview: Tensor,
    settings: LossSettings = PUBLISHED_LOSS,
) -> Losses:
    """Compute the losses of a batch; shapes as in route() and heatmap_loss().

    With fusion, the single-view loss of unrelated images counts twice, as in the original code.
    """
    weight = settings.weight(weight)
    routed = heatmap_loss(route(single_view, fused, is_multiview), target, weight)
    own = torch.zeros_like(routed) if fused is None else heatmap_loss(single_view, target, weight)
    return Losses(routed + own, routed, own)
