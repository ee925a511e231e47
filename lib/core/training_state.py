"""A whole training state in one file, so that a resumed run equals an uninterrupted one.

The learning rate is a function of the epoch and the data order and augmentation are functions of (seed, epoch,
item), so neither has a state to save.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lib.utils.checkpoint import load_checkpoint, save_checkpoint
from lib.utils.checks import InputError


@dataclass
class Progress:
    """Where a training run stands.

    Attributes:
        epoch: the next epoch.
        perf: score of the last validation, 0 to 1.
        best_perf: best score so far.
        history: one dictionary of numbers per finished epoch, for the training curves.
    """

    epoch: int = 0
    perf: float = 0.0
    best_perf: float = -1.0
    history: list[dict[str, float]] = field(default_factory=list)


def save_training_state(
    path: str | os.PathLike, model_name: str, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Write model, optimizer, progress and random states; published keys keep their names."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    state = {
        "epoch": progress.epoch,
        "model": model_name,
        "state_dict": model.state_dict(),
        "perf": progress.perf,
        "optimizer": optimizer.state_dict(),
        "best_perf": progress.best_perf,
        "history": progress.history,
        "rng": {"torch": torch.get_rng_state(), "cuda": cuda},
    }
    save_checkpoint(state, path)


def load_training_state(
    path: str | os.PathLike, model_name: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Progress:
    """Continue from a file of save_training_state.

    Args:
        path: checkpoint.pth.tar.
        model_name: MODEL of the configuration; must be the file's.
        model: receives the weights.
        optimizer: receives its state; its parameters must live on their final device.

    Returns:
        The progress.

    Raises:
        InputError: another model, weights that do not fit, or a file without a training state.
    """
    state: Any = load_checkpoint(path)
    missing = [key for key in ("epoch", "state_dict", "optimizer", "best_perf", "rng") if key not in state]
    if missing:
        raise InputError(
            f"{path}: no training state of ours ('{missing[0]}' is missing); set TRAIN.RESUME false, or validate it "
            "with --model-file"
        )
    if state["model"] != model_name:
        raise InputError(f"{path}: holds '{state['model']}', the configuration wants '{model_name}'")
    try:
        model.load_state_dict(state["state_dict"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: does not fit the configured network ({reason})") from None
    torch.set_rng_state(state["rng"]["torch"])
    if torch.cuda.is_available() and len(state["rng"]["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["rng"]["cuda"])
    return Progress(state["epoch"], state["perf"], state["best_perf"], state["history"])
