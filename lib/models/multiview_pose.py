"""Pose network for several views of one person: a shared backbone and optional cross-view fusion."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from lib.models.training_pass import CompiledPass, one_pass_norms, train_all_views
from lib.models.view_batch_norm import convert_batch_norms
from lib.multiviews.cameras import CropCameras
from lib.utils.errors import check_shape, naming_part


class MultiViewPose(nn.Module):
    """Run one backbone on every view and fuse the heatmaps across views.

    In training, batch norm uses statistics per view, as in the original code, which runs the backbone once per view.
    Here all views are one pass, except with `recompute` or with batch norms of other classes.

    Args:
        backbone: network (B, 3, H_in, W_in) -> (B, J, H, W), shared by all views. Its nn.BatchNorm2d layers become
            ViewBatchNorm2d, with the same names and values.
        fusion: module (heatmaps (B, V, J, H, W), CropCameras) -> fused heatmaps. Its `num_views` is the V that it
            accepts, None = any. None = no fusion.
        recompute: keep only images and heatmaps in training, and run the backbone again in the backward pass. Then the
            activations of only one view are in memory.
        frozen: do not train the backbone; its batch norms stay in evaluation mode.

    Attributes:
        compiled: compiled training pass of the backbone, set by prepare_model(); None = eager.

    Source: paper, section 3.
    """

    def __init__(
        self, backbone: nn.Module, fusion: nn.Module | None = None, recompute: bool = False, frozen: bool = False
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.fusion = fusion
        self.recompute = recompute
        self.frozen = frozen
        self.compiled: CompiledPass | None = None
        convert_batch_norms(backbone)
        backbone.requires_grad_(not frozen)

    def train(self, mode: bool = True) -> MultiViewPose:
        """Set training or evaluation mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, images: Tensor, views: CropCameras | None = None) -> tuple[Tensor, Tensor | None]:
        """Compute the heatmaps of all views before and after fusion.

        Args:
            images: (B, V, 3, H_in, W_in) normalized crops.
            views: cameras and crops, leading axes (B, V); not needed by the learned fusion.

        Returns:
            single_view: (B, V, J, H, W).
            fused: (B, V, J, H, W), or None without fusion.

        Raises:
            InputError: wrong shape, number of views, or missing cameras.
        """
        num_views = None if self.fusion is None else self.fusion.num_views
        check_shape("images", images.shape, ("B", num_views or "V", 3, "H_in", "W_in"))
        with naming_part(f"backbone {type(self.backbone).__name__}"):
            if self.backbone.training:
                single_view = self._train_views(images)
            else:
                single_view = self.backbone(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        if self.fusion is None:
            return single_view, None
        fusion = type(self.fusion).__name__
        with naming_part(f"fusion {fusion}"):
            fused = self.fusion(single_view, views)
            check_shape(f"heatmaps of {fusion}", fused.shape, single_view.shape)
        return single_view, fused

    def _train_views(self, images: Tensor) -> Tensor:
        norms = None if self.recompute else one_pass_norms(self.backbone)
        if norms is None:
            return torch.stack([self._train_view(view) for view in images.unbind(1)], dim=1)
        by_view = images.transpose(0, 1)
        flat = train_all_views(self.backbone, norms, _flat(by_view), len(by_view), self.compiled)
        return flat.unflatten(0, by_view.shape[:2]).transpose(0, 1)

    def _train_view(self, images: Tensor) -> Tensor:
        if not self.recompute:
            return self.backbone(images)
        contexts = partial(_recompute_contexts, self.backbone)
        return checkpoint(self.backbone, images, use_reentrant=False, context_fn=contexts)


def _flat(by_view: Tensor) -> Tensor:
    """Flatten images (V, B, 3, H_in, W_in) to (V*B, 3, H_in, W_in) in their memory format.

    A part of a batch (TRAIN.ACCUMULATE) is copied, and flatten() alone would copy it to the contiguous format.
    """
    if not by_view[0].is_contiguous(memory_format=torch.channels_last):
        return by_view.flatten(0, 1)
    return by_view.movedim(2, -1).flatten(0, 1).movedim(-1, 1)


def _recompute_contexts(
    backbone: nn.Module,
) -> tuple[contextlib.AbstractContextManager, contextlib.AbstractContextManager]:
    return contextlib.nullcontext(), _without_statistics(backbone)


@contextlib.contextmanager
def _without_statistics(backbone: nn.Module) -> Iterator[None]:
    """Do not update running batch norm statistics again with the same images."""
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
