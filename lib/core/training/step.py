"""One training step: forward, loss, backward, update. It reads nothing back from the device."""

import contextlib
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from lib.core.loss import PUBLISHED_LOSS, Losses, LossSettings, route, training_losses
from lib.dataset.network_input import NetworkInput
from lib.utils.parallel.distributed import sum_over_ranks


class StepResult(NamedTuple):
    """Result of a step, on the device.

    Attributes:
        losses: means over the groups of this rank.
        single_view: (B, V, J, H, W) heatmaps before fusion, detached.
        routed: (B, V, J, H, W) heatmaps selected by route(), detached.
    """

    losses: Losses
    single_view: Tensor
    routed: Tensor


class TrainStep:
    """Callable that updates a model with one batch.

    If the loss of any rank is not finite, the weights stay as they are. The fused optimizers check a flag on the
    device for that, so the CPU does not wait.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        accumulate: int = 1,
        loss: LossSettings = PUBLISHED_LOSS,
        autocast: torch.dtype | None = None,
        clip_norm: float = 0.0,
    ) -> None:
        """
        Args:
            model: (images, views) -> (single-view heatmaps, fused heatmaps or None); may be wrapped in
                DistributedDataParallel.
            optimizer: a fused optimizer.
            device: device of the model.
            accumulate: number of parts that a batch is split into (TRAIN.ACCUMULATE).
            loss: settings of the loss (LOSS).
            autocast: data type of matrix products, see autocast_dtype(); None = float32.
            clip_norm: largest norm of the gradient (TRAIN.CLIP_NORM); 0 = any.
        """
        self.model = model
        self.optimizer = optimizer
        self.loss_settings = loss
        self.scaler = torch.amp.GradScaler(device.type) if autocast == torch.float16 else None
        self._device = device
        self._accumulate = accumulate
        self._autocast = autocast
        self._clip_norm = clip_norm

    def __call__(self, inputs: NetworkInput, share: float = 1.0) -> StepResult:
        """Update the model.

        Args:
            inputs: the part of the batch that this rank has.
            share: groups of this rank / mean number of groups per rank; differs from 1 only in a smaller last batch.
        """
        self.optimizer.zero_grad(set_to_none=True)
        parts = inputs.split(self._accumulate)
        results = []
        for number, part in enumerate(parts):
            with self._gradient_sync(is_last=number + 1 == len(parts)):
                results.append(self._forward_backward(part, len(part) / len(inputs), share))
        columns = zip(*(result.losses for result in results), strict=True)
        losses = Losses(*(torch.stack(column).sum() for column in columns))
        self._update(losses.total)
        single_view = torch.cat([result.single_view for result in results])
        routed = torch.cat([result.routed for result in results])
        return StepResult(losses, single_view, routed)

    def _gradient_sync(self, is_last: bool) -> contextlib.AbstractContextManager:
        """Average gradients over the ranks in the last part only."""
        skips = isinstance(self.model, DistributedDataParallel) and not is_last
        return self.model.no_sync() if skips else contextlib.nullcontext()

    def _forward_backward(self, part: NetworkInput, part_share: float, share: float) -> StepResult:
        with torch.autocast(self._device.type, self._autocast, enabled=self._autocast is not None):
            single_view, fused = self.model(part.images, part.views)
        single_view = single_view.float()
        fused = None if fused is None else fused.float()
        losses = training_losses(single_view, fused, part.target, part.weight, part.is_multiview, self.loss_settings)
        loss = losses.total * (part_share * share)
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        routed = route(single_view, fused, part.is_multiview)
        return StepResult(
            Losses(*(value.detach() * part_share for value in losses)), single_view.detach(), routed.detach()
        )

    @property
    def network(self) -> nn.Module:
        """The model, not wrapped in DistributedDataParallel."""
        return self.model.module if isinstance(self.model, DistributedDataParallel) else self.model

    def _update(self, loss: Tensor) -> None:
        if self._clip_norm > 0:
            if self.scaler is not None:
                self.scaler.unscale_(self.optimizer)
            clip_grad_norm_([one for group in self.optimizer.param_groups for one in group["params"]], self._clip_norm)
        if self.scaler is not None:  # it detects gradients that are not finite
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            self.optimizer.found_inf = (sum_over_ranks((~torch.isfinite(loss)).float()) > 0).float()
            self.optimizer.step()
