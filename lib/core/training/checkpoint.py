"""Checkpoints: training state, file format, writing. resume.py reads them.

A resumed run equals an uninterrupted one bit by bit. The learning rate depends on the epoch only; data order and
augmentation depend on (seed, epoch, item). None of them has a state to store.
"""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib.core.run_directory import CHECKPOINT_NAME, KEPT_CHECKPOINT_NAME, KEPT_CHECKPOINT_PATTERN
from lib.core.training.step import TrainStep
from lib.utils.errors import InputError
from lib.utils.files.atomic import atomic_path
from lib.utils.files.torch_file import first_not_finite, save_checkpoint


@dataclass
class Progress:
    """Progress of a training.

    Attributes:
        epoch: the current epoch; between epochs, the next one.
        step: the next step of that epoch; 0 = the epoch has not begun.
        groups: groups of that epoch that are done, over all ranks. After resuming, a step may have another size.
        steps_before: all steps made = steps_before + step; None = unknown, as in older files.
        meters: EpochMeters.state() of the steps done; {} if `step` is 0.
        perf: score (mean JDR) of the last validation, 0 to 1.
        best_perf: best score so far; -1 = no validation yet.
        history: one dictionary of numbers per finished epoch, for the training curves.
        data: data_fingerprint() of the training data.
        config: the configuration as plain values.
    """

    epoch: int = 0
    step: int = 0
    groups: int = 0
    steps_before: int | None = None
    meters: dict[str, Tensor] = field(default_factory=dict)
    perf: float = 0.0
    best_perf: float = -1.0
    history: list[dict[str, float]] = field(default_factory=list)
    data: dict[str, int | str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    def best_text(self) -> str:
        """Return the best score as text."""
        return f"best JDR {100 * self.best_perf:.2f} %" if self.best_perf >= 0 else "no validation"


class CheckpointKeeper:
    """Writes the checkpoints of a run directory and deletes old ones.

    The newest is always checkpoint.pth.tar. It is replaced atomically, so a killed process leaves a whole file.
    """

    def __init__(self, directory: Path, model_name: str, num_kept: int = 1) -> None:
        """
        Args:
            directory: the run directory.
            model_name: MODEL of the configuration.
            num_kept: number of checkpoints to keep (TRAIN.KEEP_CHECKPOINTS).
        """
        self._path = directory / CHECKPOINT_NAME
        self._model_name = model_name
        self._num_kept = num_kept

    def save(self, train_step: TrainStep, model: nn.Module, progress: Progress, keep: bool = True) -> None:
        """Write the training state.

        Args:
            train_step: has the optimizer and the loss scaler.
            model: the network, not wrapped in DistributedDataParallel.
            progress: progress of the training.
            keep: count it among the checkpoints that are kept.

        Raises:
            InputError: see save_training_state(); the previous checkpoint stays.
        """
        save_training_state(self._path, self._model_name, model, train_step.optimizer, progress, train_step.scaler)
        if keep and self._num_kept > 1:
            name = KEPT_CHECKPOINT_NAME.format(epoch=progress.epoch, step=progress.step)
            with atomic_path(self._path.with_name(name)) as temporary:
                try:
                    os.link(self._path, temporary)
                except OSError:  # file systems without hard links
                    shutil.copyfile(self._path, temporary)
            # by time: an earlier training in this directory may have reached a later epoch
            kept = self._path.parent.glob(KEPT_CHECKPOINT_PATTERN)
            for old in sorted(kept, key=lambda path: (path.stat().st_mtime_ns, path.name))[: -self._num_kept]:
                old.unlink()


def save_training_state(
    path: str | os.PathLike,
    model_name: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Write model, optimizer, progress, loss scaler and random states.

    The keys of the original code keep their names: epoch, model, state_dict, perf, optimizer.

    Raises:
        InputError: the disk refuses, or a weight, moment or sum is not finite; an existing file stays.
    """
    state = {
        "epoch": progress.epoch,
        "step": progress.step,
        "groups": progress.groups,
        "steps_before": progress.steps_before,
        "data": progress.data,
        "config": progress.config,
        "meters": progress.meters,
        "model": model_name,
        "state_dict": model.state_dict(),
        "perf": progress.perf,
        "optimizer": optimizer.state_dict(),
        "optimizer_kind": type(optimizer).__name__,
        "best_perf": progress.best_perf,
        "history": progress.history,
        "scaler": {} if scaler is None else scaler.state_dict(),
        "rng": {
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        },
    }
    check_finite_state(state, f"{path}: not written, the training has diverged")
    save_checkpoint(state, path)


def check_finite_state(state: dict[str, Any], problem: str) -> None:
    """Raise an InputError that names the first weight, moment or sum that is not finite."""
    name = first_not_finite({key: state.get(key) for key in ("state_dict", "optimizer", "meters")})
    if name is not None:
        raise InputError(
            f"{problem}: '{name}' is not finite; resume from an earlier checkpoint (--resume FILE), perhaps with a "
            "smaller TRAIN.LR, or start again with TRAIN.RESUME false"
        )
