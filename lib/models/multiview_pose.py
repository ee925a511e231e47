"""A pose network for several views of one person: a shared backbone and, if wanted, the fusion of its heatmaps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from lib.multiviews.cameras import CropCameras
from lib.utils.errors import check_shape


class MultiViewPose(nn.Module):
    """Run one backbone on every view and fuse the heatmaps across the views.

    Args:
        backbone: network (B, 3, H_in, W_in) -> (B, J, H, W), shared by the views.
        fusion: heatmaps (B, V, J, H, W) and their cameras -> fused heatmaps; None for single-view heatmaps alone. Its
            `num_views` is the only V it takes, None for any.
        recompute: in training keep the images and heatmaps of each view alone and run the backbone once more in the
            backward pass: the activations of one view are in memory at a time.
        frozen: the backbone is no part of the training: no gradients, batch norm as in evaluation.

    Source: paper section 3.
    """

    def __init__(
        self, backbone: nn.Module, fusion: nn.Module | None = None, recompute: bool = False, frozen: bool = False
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.fusion = fusion
        self.recompute = recompute
        self.frozen = frozen
        backbone.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> MultiViewPose:
        """Set training or evaluation; a frozen backbone stays in evaluation."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, images: Tensor, views: CropCameras | None = None) -> tuple[Tensor, Tensor | None]:
        """Compute the heatmaps of all views, before and after fusion.

        Args:
            images: (B, V, 3, H_in, W_in) normalised crops.
            views: their cameras and crops, leading axes (B, V); the learned matrices do without.

        Returns:
            single: (B, V, J, H, W) heatmaps of the backbone.
            fused: (B, V, J, H, W), or None without a fusion layer.

        Raises:
            InputError: another shape, or another number of views than the fusion layer is for, or no cameras for one
                that needs them.
        """
        num_views = None if self.fusion is None else self.fusion.num_views
        check_shape("images", images.shape, ("B", num_views or "V", 3, "H_in", "W_in"))
        if self.backbone.training:  # batch statistics view by view, as the published checkpoints were trained
            single = torch.stack([self._train_view(view) for view in images.unbind(1)], dim=1)
        else:
            single = self.backbone(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        return single, None if self.fusion is None else self.fusion(single, views)

    def _train_view(self, images: Tensor) -> Tensor:
        if not self.recompute:
            return self.backbone(images)
        contexts = partial(_recompute_contexts, self.backbone)
        return checkpoint(self.backbone, images, use_reentrant=False, context_fn=contexts)


def _recompute_contexts(
    backbone: nn.Module,
) -> tuple[contextlib.AbstractContextManager, contextlib.AbstractContextManager]:
    return contextlib.nullcontext(), _without_statistics(backbone)


@contextlib.contextmanager
def _without_statistics(backbone: nn.Module) -> Iterator[None]:
    """Leave the running statistics of batch norm alone: they have seen these images before."""
    norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    kept = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0  # old * 1 + new * 0
    try:
        yield
    finally:
        for norm, momentum, count in kept:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
