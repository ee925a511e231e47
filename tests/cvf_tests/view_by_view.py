"""Training forward of the original code: one call of the backbone per view. The reference for the one pass."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from lib.models.multiview_pose import MultiViewPose
from lib.models.view_batch_norm import ViewBatchNorm2d
from lib.multiviews.cameras import CropCameras


class ViewByView(nn.Module):
    """Copy of a model with torch's batch norms, whose training forward is the loop over views."""

    def __init__(self, model: MultiViewPose) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(model.backbone)
        self.fusion = copy.deepcopy(model.fusion)
        for module in self.backbone.modules():
            if isinstance(module, ViewBatchNorm2d):
                module.__class__ = nn.BatchNorm2d

    def forward(self, images: Tensor, views: CropCameras | None = None) -> tuple[Tensor, Tensor | None]:
        single_view = torch.stack([self.backbone(images[:, view]) for view in range(images.shape[1])], 1)
        return single_view, None if self.fusion is None else self.fusion(single_view, views)


def largest_differences(found: nn.Module, expected: nn.Module) -> tuple[float, float]:
    """Return the largest difference of a gradient and of a buffer, relative to the largest entry of its tensor."""
    pairs = zip(found.named_parameters(), expected.named_parameters(), strict=True)
    gradients = [relative(one.grad, other.grad, name) for (name, one), (_, other) in pairs if other.requires_grad]
    pairs = zip(found.named_buffers(), expected.named_buffers(), strict=True)
    buffers = [relative(one.double(), other.double(), name) for (name, one), (_, other) in pairs]
    return max(gradients, default=0.0), max(buffers)


def relative(found: Tensor, expected: Tensor, name: str = "") -> float:
    """Return the largest difference relative to the largest entry."""
    assert torch.isfinite(found).all(), name
    return ((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30)).item()
