"""Optimizer and learning-rate schedule of the TRAIN section."""

from typing import Any

import torch
from torch import nn

from lib.utils.errors import InputError


def build_optimizer(train: Any, model: nn.Module) -> torch.optim.Optimizer:
    """Create the optimizer of TRAIN.OPTIMIZER for the parameters that require a gradient.

    Weight decay applies to SGD only, as in the original code. Both optimizers are fused: they update the 200 M fusion
    weights in one pass and skip a step if their `found_inf` flag is set on the device.

    Args:
        train: the TRAIN section.
        model: the network, not wrapped in DistributedDataParallel.

    Raises:
        InputError: Nesterov momentum without momentum.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if train.OPTIMIZER == "adam":
        return torch.optim.Adam(parameters, lr=train.LR, fused=True)
    if train.NESTEROV and train.MOMENTUM == 0:
        raise InputError("TRAIN.NESTEROV true: expected TRAIN.MOMENTUM above 0, received 0; set one of them")
    return torch.optim.SGD(
        parameters, lr=train.LR, momentum=train.MOMENTUM, weight_decay=train.WD, nesterov=train.NESTEROV, fused=True
    )


def learning_rate(train: Any, epoch: int) -> float:
    """Return the learning rate of an epoch: LR times LR_FACTOR for each LR_STEP reached.

    The rate depends on the epoch only, so no scheduler state has to be stored for resuming.

    Args:
        train: the TRAIN section.
        epoch: index of the epoch, from 0.
    """
    drops = sum(epoch >= step for step in train.LR_STEP)
    return train.LR * train.LR_FACTOR**drops


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate
