"""Checkpoints: training state, file format, writing. resume.py reads them.

A resumed run equals an uninterrupted one bit by bit. The learning rate depends on (epoch, step); data order and
augmentation depend on (seed, epoch, item). None of them has a state to store.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from lib.core.run_directory import CHECKPOINT_NAME, KEPT_CHECKPOINT_NAME, KEPT_CHECKPOINT_PATTERN
from lib.core.training.snapshot import Snapshot
from lib.core.training.step import TrainStep
from lib.utils.errors import InputError
from lib.utils.files.atomic import atomic_path
from lib.utils.files.torch_file import first_not_finite, save_checkpoint

logger = logging.getLogger(__name__)

_LARGE = ("state_dict", "optimizer")  # entries of training_state()


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
        return f"best JDR {100 * self.best_perf:.2f} %" if self.best_perf >= 0 else "no epoch validated"


class CheckpointKeeper:
    """Writes the checkpoints and weights of a run directory and deletes old checkpoints.

    The newest is always checkpoint.pth.tar. It is replaced atomically, so a killed process leaves a whole file.

    In the background, save() takes a snapshot and a thread writes it; at most one snapshot of weights and moments
    exists. Errors of the thread are raised by the next save() or wait(), or at the end of the context. On the CPU this
    would only take memory and cores from the training.
    """

    def __init__(self, directory: Path, model_name: str, num_kept: int = 1, in_background: bool = False) -> None:
        """
        Args:
            directory: the run directory.
            model_name: MODEL of the configuration.
            num_kept: number of checkpoints to keep (TRAIN.KEEP_CHECKPOINTS).
            in_background: return from save() before the files are written.
        """
        self._path = directory / CHECKPOINT_NAME
        self._model_name = model_name
        self._num_kept = num_kept
        self._thread = ThreadPoolExecutor(1, "write-checkpoint") if in_background else None
        self._pending: list[Future] = []
        self._snapshot: Snapshot | None = None  # of the last call, until it is written

    def __enter__(self) -> CheckpointKeeper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except Exception as failure:
            if error is None:
                raise
            logger.error("the last checkpoint is not written: %s", failure)
        finally:
            if self._thread is not None:
                self._thread.shutdown()

    def wait(self) -> None:
        """Wait until everything is written.

        Raises:
            InputError: see save().
        """
        pending, self._pending = self._pending, []
        self._snapshot = None
        for one in pending:
            one.result()

    def save(
        self,
        train_step: TrainStep,
        model: nn.Module,
        progress: Progress,
        keep: bool = True,
        weights_names: Sequence[str] = (),
        is_unchanged: bool = False,
    ) -> None:
        """Write the training state.

        Args:
            train_step: has the optimizer and the loss scaler.
            model: the network, not wrapped in DistributedDataParallel.
            progress: progress of the training.
            keep: count it among the checkpoints that are kept.
            weights_names: files that receive the weights alone.
            is_unchanged: weights and moments equal the previous call's, whose snapshot is used if it still exists.

        Raises:
            InputError: see save_training_state(). In the background: of the previous call.
        """
        state = training_state(self._model_name, model, train_step.optimizer, progress, train_step.scaler)
        unwritten = is_unchanged and bool(self._pending) and not self._pending[-1].done()
        if unwritten and self._snapshot is not None:
            snapshot = self._snapshot.with_values({key: state[key] for key in state if key not in _LARGE})
        else:
            self.wait()
            snapshot = None if self._thread is None else self._take_snapshot(state)
        if snapshot is None:
            self._write(state, keep, weights_names)
            return
        self._snapshot = snapshot
        self._pending.append(self._thread.submit(self._write_snapshot, snapshot, keep, weights_names))

    def _take_snapshot(self, state: dict[str, Any]) -> Snapshot | None:
        """Return a snapshot; None if there is not enough memory for it."""
        try:
            return Snapshot(state)
        except RuntimeError as error:  # torch's and CUDA's errors of allocation
            logger.warning(
                "not enough memory for a copy of the training state (%s); training waits for each checkpoint",
                str(error).splitlines()[0],
            )
            self._thread.shutdown()
            self._thread = None
            return None

    def _write_snapshot(self, snapshot: Snapshot, keep: bool, weights_names: Sequence[str]) -> None:
        self._write(snapshot.wait(), keep, weights_names)

    def _write(self, state: dict[str, Any], keep: bool, weights_names: Sequence[str]) -> None:
        save_training_state(self._path, state, [self._path.with_name(name) for name in weights_names])
        if keep and self._num_kept > 1:
            self._keep(KEPT_CHECKPOINT_NAME.format(epoch=state["epoch"], step=state["step"]))

    def _keep(self, name: str) -> None:
        """Keep the newest checkpoint under another name and delete the oldest ones."""
        with atomic_path(self._path.with_name(name)) as temporary:
            try:
                os.link(self._path, temporary)
            except OSError:  # file systems without hard links
                shutil.copyfile(self._path, temporary)
        # by time: an earlier training in this directory may have reached a later epoch
        kept = self._path.parent.glob(KEPT_CHECKPOINT_PATTERN)
        for old in sorted(kept, key=lambda path: (path.stat().st_mtime_ns, path.name))[: -self._num_kept]:
            old.unlink()


def training_state(
    model_name: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    scaler: torch.amp.GradScaler | None = None,
) -> dict[str, Any]:
    """Return model, optimizer, progress, loss scaler and random states.

    The tensors share memory with the training.

    The keys of the original code keep their names: epoch, model, state_dict, perf, optimizer.
    """
    return {
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


def save_training_state(path: str | os.PathLike, state: dict[str, Any], weights_paths: Sequence[Path] = ()) -> None:
    """Write files of weights, then the checkpoint, which tells that they are complete.

    Args:
        path: the checkpoint.
        state: training_state().
        weights_paths: files that receive the weights alone.

    Raises:
        InputError: the disk refuses, or a weight, moment or sum is not finite; existing files stay.
    """
    check_finite_state(state, f"{path}: not written, the training has diverged")
    for weights_path in weights_paths:
        save_checkpoint(state["state_dict"], weights_path)
    save_checkpoint(state, path)


def check_finite_state(state: dict[str, Any], problem: str) -> None:
    """Raise an InputError that names the first weight, moment or sum that is not finite."""
    name = first_not_finite({key: state.get(key) for key in ("state_dict", "optimizer", "meters")})
    if name is not None:
        raise InputError(
            f"{problem}: '{name}' is not finite; resume from an earlier checkpoint (--resume FILE), perhaps with a "
            "smaller TRAIN.LR, or start again with TRAIN.RESUME false"
        )
