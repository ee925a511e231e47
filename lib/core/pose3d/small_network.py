"""Training of the small networks of the learned refinement, whose forward pass is plain array code."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lib.utils.errors import InputError

logger = logging.getLogger(__name__)


class OptimizerSettings(Protocol):
    """Settings that the networks have in common."""

    epochs: int
    frames_per_step: int
    learning_rate: float
    weight_decay: float
    left_out: tuple[str, ...]  # weights that stay 0, for ablations


def matrix(rows: int, columns: int) -> Tensor:
    """Return random weights that keep the variance of their inputs."""
    return torch.randn(rows, columns) * rows**-0.5


def optimize(
    name: str,
    initial: Mapping[str, Tensor],
    fixed: Mapping[str, Tensor],
    sizes: Sequence[int],
    loss: Callable[[Mapping[str, Tensor], int, Tensor], Tensor],
    settings: OptimizerSettings,
    device: torch.device,
) -> dict[str, np.ndarray]:
    """Minimize a loss with AdamW and one cycle of the learning rate; return all weights, trained and fixed.

    Args:
        name: what the log calls the network.
        initial: weights that are trained.
        fixed: weights that are not.
        sizes: number of frames of each set of examples. A step takes frames of one set.
        loss: (all weights, index of the set, frames) -> loss of a step; NaN, with gradients of 0, if nothing is known.
        settings: of the optimizer.
        device: where the weights are.

    Raises:
        InputError: a weight is not finite at the end.
    """
    trained = {key: values.to(device) for key, values in initial.items()}
    fixed = {key: values.to(device) for key, values in fixed.items()}
    fixed |= {key: torch.zeros_like(trained.pop(key)) for key in settings.left_out}
    for values in trained.values():
        values.requires_grad_()
    optimizer = torch.optim.AdamW(trained.values(), settings.learning_rate, weight_decay=settings.weight_decay)
    steps = [step for _ in range(settings.epochs) for step in _epoch(sizes, settings.frames_per_step)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=len(steps))
    losses = []
    for index, frames in steps:
        value = loss({**trained, **fixed}, index, frames)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        losses.append(value.detach())
    last = torch.stack(losses[-len(losses) // settings.epochs :]).nanmean()
    logger.info("%s: %d steps; loss of the last epoch %.3f", name, len(steps), last)
    weights = {key: values.detach().float().cpu().numpy() for key, values in {**trained, **fixed}.items()}
    for key, values in weights.items():
        if not np.isfinite(values).all():
            raise InputError(f"learned refinement, {name}: the training ended with weights that are not finite ({key})")
    return weights


def _epoch(sizes: Sequence[int], frames_per_step: int) -> list[tuple[int, Tensor]]:
    """Return (index of the set, frames) of the steps of one epoch, in random order."""
    steps = [
        (index, frames) for index, size in enumerate(sizes) for frames in torch.randperm(size).split(frames_per_step)
    ]
    return [steps[place] for place in torch.randperm(len(steps)).tolist()]
