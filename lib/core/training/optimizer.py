"""Optimizer and learning-rate schedule."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lib.core.training.lean_adam import LeanAdam
from lib.models.registry import fusion_name
from lib.utils.errors import InputError


def build_optimizer(config: Any, model: nn.Module) -> torch.optim.Optimizer:
    """Make the optimizer of the TRAIN section; weight decay is SGD's alone, as published.

    Both are fused: one pass over the 200 M fusion weights, and they look at `found_inf` on the device.

    Args:
        config: the configuration: TRAIN and SEED.
        model: the network itself, not wrapped; its `fusion` holds the matrices that TRAIN.FUSION_STATE is about.

    Raises:
        InputError: Nesterov momentum without momentum; bfloat16 moments without Adam, without fusion matrices,
            or with nothing else to train.
    """
    train = config.TRAIN
    if train.OPTIMIZER == "sgd" and train.NESTEROV and train.MOMENTUM == 0:
        raise InputError("TRAIN.NESTEROV needs TRAIN.MOMENTUM above 0, received 0")
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if train.FUSION_STATE == "bfloat16":
        return _lean_adam(config, model, parameters)
    if train.OPTIMIZER == "sgd":
        return torch.optim.SGD(
            parameters, lr=train.LR, momentum=train.MOMENTUM, weight_decay=train.WD, nesterov=train.NESTEROV, fused=True
        )
    return torch.optim.Adam(parameters, lr=train.LR, fused=True)


def _lean_adam(config: Any, model: nn.Module, parameters: list[nn.Parameter]) -> LeanAdam:
    if config.TRAIN.OPTIMIZER != "adam":
        raise InputError(
            f"TRAIN.FUSION_STATE bfloat16 is for TRAIN.OPTIMIZER adam, received {config.TRAIN.OPTIMIZER}; "
            "set TRAIN.FUSION_STATE float32"
        )
    if getattr(model, "fusion", None) is None or fusion_name(config.NETWORK) != "learned":
        raise InputError(
            "TRAIN.FUSION_STATE bfloat16 is about the matrices of the learned fusion, which this network "
            "lacks; set TRAIN.FUSION_STATE float32"
        )
    fusion = set(model.fusion.parameters())
    if all(parameter in fusion for parameter in parameters):
        raise InputError(
            "TRAIN.FUSION_STATE bfloat16 is for training the backbone too, which TRAIN.FREEZE_BACKBONE "
            "leaves out; set TRAIN.FUSION_STATE float32"
        )
    return LeanAdam(
        [parameter for parameter in parameters if parameter in fusion],
        [parameter for parameter in parameters if parameter not in fusion],
        config.TRAIN.LR,
        config.SEED,
    )


def learning_rate(config: Any, epoch: int) -> float:
    """Return the rate of an epoch: LR times LR_FACTOR for each LR_STEP reached.

    A function of the epoch alone, so there is no scheduler state that a resumed run could lose.
    """
    drops = sum(epoch >= step for step in config.TRAIN.LR_STEP)
    return config.TRAIN.LR * config.TRAIN.LR_FACTOR**drops


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate
