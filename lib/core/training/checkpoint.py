"""A whole training state in one file, so that a resumed run equals an uninterrupted one.

The learning rate is a function of the epoch and the data order and augmentation are functions of (seed, epoch,
item), so neither has a state to save.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lib.core.training.check_resumable import check_same_run
from lib.models.multiview_pose import MultiViewPose
from lib.models.weights import load_model_state
from lib.utils.errors import InputError
from lib.utils.files.torch_file import first_not_finite, load_checkpoint, save_checkpoint

logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """Where a training run stands.

    Attributes:
        epoch: the next epoch, or the one that is under way.
        step: the next step of that epoch; 0 = it has not begun.
        groups: groups of that epoch that are done, of all processes; a step may have another number of them later.
        steps_before: with `step`, all steps that were made; None = unknown, as in older files.
        meters: sums of the steps before, of EpochMeters.state(); {} where `step` is 0.
        perf: score of the last validation, 0 to 1.
        best_perf: best score so far.
        history: one dictionary of numbers per finished epoch, for the training curves.
        data: data_fingerprint() of the training data.
        config: the configuration, plain values.
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
        """Say which the best score is."""
        return f"best JDR {100 * self.best_perf:.2f} %" if self.best_perf >= 0 else "no validation"


def save_training_state(
    path: str | os.PathLike,
    model_name: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Write model, optimizer, progress, loss scale and random states; published keys keep their names.

    Raises:
        InputError: the disk refuses, or weights, moments or sums are not finite; the file of before stays.
    """
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
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
        "rng": {"torch": torch.get_rng_state(), "cuda": cuda},
    }
    _check_finite(state, f"{path}: not written, since the training has failed")
    save_checkpoint(state, path)


def load_training_state(
    path: str | os.PathLike,
    model_name: str,
    model: MultiViewPose,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None = None,
    data: dict[str, int | str] | None = None,
    config: dict[str, Any] | None = None,
) -> Progress:
    """Continue from a file of save_training_state, or from a `checkpoint.pth.tar` of the released code.

    The latter gives weights and epoch; its optimizer state is laid out for other tensors, so the optimizer starts
    afresh, and its last score stands for the best. A warning says so.

    Args:
        path: checkpoint.pth.tar.
        model_name: MODEL of the configuration; must be the file's.
        model: receives the weights.
        optimizer: receives its state, not its settings: those are the configuration's. Its parameters must live on
            their final device.
        scaler: receives its state.
        data: data_fingerprint() of the training data; must be that of the file, which older ones lack. None = any.
        config: the configuration, plain values; what has been learned must not depend on where it differs from the
            file's, which older ones lack. None = any.

    Returns:
        The progress.

    Raises:
        InputError: another model, optimizer, data or settings, weights that do not fit or are not finite, or a file
            without a training state.
    """
    state: Any = load_checkpoint(path)
    if not isinstance(state, dict) or not {"epoch", "state_dict", "optimizer"} <= state.keys():
        raise InputError(f"{path}: holds no training state; set TRAIN.RESUME false, or validate it with --model-file")
    if config is not None and state.get("config"):
        check_same_run(path, state["config"], config)
    if data is not None:
        _check_data(path, state.get("data"), data)
    if "rng" not in state:
        return _continue_published(path, state, model, Progress(data=data or {}, config=config or {}))
    if state["model"] != model_name:
        raise InputError(f"{path}: holds '{state['model']}', the configuration wants '{model_name}'")
    if state["optimizer_kind"] != type(optimizer).__name__:
        raise InputError(
            f"{path}: was trained with {state['optimizer_kind']}, TRAIN.OPTIMIZER and TRAIN.FUSION_STATE make "
            f"{type(optimizer).__name__}"
        )
    _check_finite(state, f"{path}: of a training that had failed")
    load_model_state(model, state, str(path))
    try:
        _load_optimizer(optimizer, state["optimizer"])
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: does not fit the configured network ({reason})") from None
    torch.set_rng_state(state["rng"]["torch"])
    if torch.cuda.is_available() and len(state["rng"]["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["rng"]["cuda"])
    if scaler is not None and state.get("scaler"):
        scaler.load_state_dict(state["scaler"])
    # files of before steps were stored stand at the beginning of an epoch; the last sum is that of the groups
    meters = state.get("meters", {})
    groups = state["groups"] if "groups" in state else int(meters["sums"][-1]) if meters else 0
    return Progress(
        state["epoch"],
        state.get("step", 0),
        groups,
        state.get("steps_before"),
        meters,
        state["perf"],
        state["best_perf"],
        state["history"],
        data or {},
        config or {},
    )


def _check_finite(state: dict[str, Any], what: str) -> None:
    """Refuse weights, moments and sums of which some are not finite, where there are such."""
    name = first_not_finite({key: state.get(key) for key in ("state_dict", "optimizer", "meters")})
    if name is not None:
        raise InputError(
            f"{what}: '{name}' is not finite; go on from an earlier checkpoint (--resume FILE), with a "
            "smaller TRAIN.LR perhaps, or begin anew with TRAIN.RESUME false"
        )


def _check_data(path: str | os.PathLike, stored: dict[str, int | str] | None, data: dict[str, int | str]) -> None:
    """Refuse to go on with other data: a finished training of those would pass for one of these."""
    if not stored:
        logger.warning("%s: does not tell on which data it was trained; it must have been on these", path)
    elif stored != data:
        how = (
            f"{stored['groups']} groups, here {data['groups']}"
            if stored["groups"] != data["groups"]
            else f"as many groups ({data['groups']}), but other images, boxes or joints"
        )
        raise InputError(
            f"{path}: is of other training data (DATASET): {how}; begin anew in another --modelDir "
            "(OUTPUT_DIR), or with TRAIN.RESUME false in place of that run"
        )


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take the moments of a file and keep the settings of the configuration."""
    settings = [{name: value for name, value in g.items() if name != "params"} for g in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, values in zip(optimizer.param_groups, settings, strict=True):
        group.update(values)


def _continue_published(
    path: str | os.PathLike, state: dict[str, Any], model: MultiViewPose, progress: Progress
) -> Progress:
    _check_finite({"state_dict": state["state_dict"]}, str(path))
    load_model_state(model, state, str(path))
    progress.epoch = int(state["epoch"])
    progress.perf = float(state.get("perf", 0.0))
    progress.best_perf = progress.perf
    logger.warning(
        "%s: a checkpoint of the released code: its weights are taken and training goes on at epoch %d; the optimizer "
        "starts afresh, and %.2f %% counts as the best JDR",
        path,
        progress.epoch,
        100 * progress.best_perf,
    )
    return progress
