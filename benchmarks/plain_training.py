"""Plain training step, the reference of bench_training.py.

It loops over views, pairs of views and joints, copies heatmaps to numpy in every step, and uses float32. Network, loss
and initial weights are those of our training, so the losses agree.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from lib.models.multiview_pose import MultiViewPose


class PlainTraining:
    """Copy of a model, with an optimizer."""

    def __init__(self, model: MultiViewPose, rate: float) -> None:
        """
        Args:
            model: model with learned fusion; its weights are copied.
            rate: learning rate.
        """
        self.backbone = copy.deepcopy(model.backbone).train()
        self.self_weight = model.fusion.self_weight
        num_views, num_others, num_pixels = model.fusion.weight.shape[:3]
        self.matrices = nn.ModuleList(
            nn.Linear(num_pixels, num_pixels, bias=False, device="meta") for _ in range(num_views * num_others)
        )
        for matrix, weight in zip(self.matrices, model.fusion.weight.detach().flatten(0, 1), strict=True):
            matrix.weight = nn.Parameter(weight.T.contiguous())
        self.optimizer = torch.optim.Adam([*self.backbone.parameters(), *self.matrices.parameters()], rate)

    def step(self, images: Tensor, target: Tensor, weight: Tensor, is_multiview: Tensor) -> tuple[float, float]:
        """Update the weights; shapes as in lib.dataset.network_input.NetworkInput.

        Returns:
            Loss and accuracy.
        """
        num_views = images.shape[1]
        single_view = [self.backbone(images[:, view]) for view in range(num_views)]
        fused = self._fuse(single_view)
        loss = 0.0
        accuracies = []
        for view in range(num_views):
            chosen = torch.stack(
                [fused[view][i] if is_multiview[i] else single_view[view][i] for i in range(len(images))]
            )
            loss = loss + joint_loss(chosen, target[:, view], weight[:, view])
            loss = loss + joint_loss(single_view[view], target[:, view], weight[:, view])
            accuracies.append(accuracy(chosen.detach().cpu().numpy(), target[:, view].cpu().numpy()))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item(), float(np.mean(accuracies))

    def _fuse(self, single_view: list[Tensor]) -> list[Tensor]:
        fused = []
        matrices = iter(self.matrices)
        share = (1 - self.self_weight) / (len(single_view) - 1)
        for view, maps in enumerate(single_view):
            total = self.self_weight * maps
            for other, source in enumerate(single_view):
                if other != view:
                    total = total + share * next(matrices)(source.flatten(2)).view_as(maps)
            fused.append(total)
        return fused


def joint_loss(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the sum over joints of the mean squared error of heatmaps (B, J, H, W) with weights (B, J, 1)."""
    criterion = nn.MSELoss()
    loss = 0.0
    for joint in range(prediction.shape[1]):
        found, wanted = prediction[:, joint].flatten(1), target[:, joint].flatten(1)
        loss = loss + criterion(found * weight[:, joint], wanted * weight[:, joint])
    return loss


def accuracy(prediction: np.ndarray, target: np.ndarray) -> float:
    """Return the share of peaks of heatmaps (B, J, H, W) within 5 % of the heatmap size, for joints with a target."""
    height, width = prediction.shape[2:]
    rates = []
    for joint in range(prediction.shape[1]):
        hits = []
        for found, wanted in zip(prediction[:, joint], target[:, joint], strict=True):
            if wanted.max() > 0:
                (y, x), (v, u) = (np.unravel_index(np.argmax(maps), maps.shape) for maps in (found, wanted))
                hits.append(np.hypot((x - u) / width, (y - v) / height) < 0.05)
        if hits:
            rates.append(np.mean(hits))
    return float(np.mean(rates)) if rates else 0.0
