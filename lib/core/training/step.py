"""One step of training: forward, loss, backward, update; nothing of it is read back from the device."""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lib.core.loss import Losses, route, training_losses
from lib.dataset.network_input import NetworkInput
from lib.utils.parallel.distributed import sum_over_ranks


class StepResult(NamedTuple):
    """What a step leaves, on the device.

    Attributes:
        losses: means over this process's groups.
        single: (B, V, J, H, W) raw heatmaps, detached.
        routed: (B, V, J, H, W) the heatmaps that count, detached.
    """

    losses: Losses
    single: Tensor
    routed: Tensor


class TrainStep:
    """Updates a model with batches.

    A step whose loss is not finite, in any process, leaves the weights as they are; the fused optimizers look at a
    flag on the device for that, so nobody waits.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        config: Any,
        device: torch.device,
        products: torch.dtype | None = None,
    ) -> None:
        """
        Args:
            model: images, their cameras -> (raw heatmaps, fused heatmaps or None), maybe in DistributedDataParallel.
            optimizer: a fused one.
            config: the configuration: TRAIN.ACCUMULATE, LOSS.
            device: where the model lives.
            products: type of the products, of autocast_dtype(); None = float32.
        """
        self.model = model
        self.optimizer = optimizer
        self.scaler = None
        self._num_parts, self._use_weight = config.TRAIN.ACCUMULATE, config.LOSS.USE_TARGET_WEIGHT
        self._device, self._products = device, products
        if products == torch.float16:
            self.scaler = torch.amp.GradScaler(device.type)

    def __call__(self, inputs: NetworkInput, share: float = 1.0) -> StepResult:
        """Update the model.

        Args:
            inputs: this process's part of the batch.
            share: its number of groups relative to the mean over the processes; 1 but in a last, smaller batch.
        """
        self.optimizer.zero_grad(set_to_none=True)
        parts = inputs.split(self._num_parts)
        results = []
        for number, part in enumerate(parts):
            with self._synchronised(number + 1 == len(parts)):
                results.append(self._forward_backward(part, len(part) / len(inputs), share))
        columns = zip(*(losses for losses, _, _ in results), strict=True)
        losses = Losses(*(torch.stack(column).sum() for column in columns))
        self._update(losses.total)
        return StepResult(losses, *(torch.cat([result[i] for result in results]) for i in (1, 2)))

    def _synchronised(self, last: bool) -> contextlib.AbstractContextManager:
        """Gradients are exchanged in the last part alone."""
        waits = isinstance(self.model, DistributedDataParallel) and not last
        return self.model.no_sync() if waits else contextlib.nullcontext()

    def _forward_backward(self, part: NetworkInput, part_share: float, share: float) -> tuple[Losses, Tensor, Tensor]:
        with torch.autocast(self._device.type, self._products, enabled=self._products is not None):
            single, fused = self.model(part.images, part.views)
        single = single.float()
        fused = None if fused is None else fused.float()
        weight = part.weight if self._use_weight else None
        losses = training_losses(single, fused, part.target, weight, part.is_multiview)
        loss = losses.total * (part_share * share)
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        routed = route(single, fused, part.is_multiview)
        return Losses(*(value.detach() * part_share for value in losses)), single.detach(), routed.detach()

    def _update(self, loss: Tensor) -> None:
        if self.scaler is not None:  # finds gradients that are not finite by itself
            self.scaler.step(self.optimizer)
            self.scaler.update()
            return
        self.optimizer.found_inf = (sum_over_ranks((~torch.isfinite(loss)).float()) > 0).float()
        self.optimizer.step()
