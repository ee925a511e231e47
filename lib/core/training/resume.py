"""Resuming: find the checkpoint, check that it belongs to this training, restore it, find the step to continue at."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lib.core.config import all_keys, keys_with_scope
from lib.core.config_io import changed_values, flat_values
from lib.core.run_directory import BEST_NAME, CHECKPOINT_NAME, FINAL_NAME
from lib.core.training.checkpoint import Progress, check_finite_state
from lib.core.training.step import TrainStep
from lib.dataset.loader import EpochBatches
from lib.models.multiview_pose import MultiViewPose
from lib.models.weights import load_model_state
from lib.utils.errors import InputError
from lib.utils.files.torch_file import load_checkpoint, save_checkpoint

logger = logging.getLogger(__name__)


def checkpoint_to_resume(named: Path | None, resumes: bool, directory: Path) -> Path | None:
    """Return the checkpoint to resume from; None starts a new training.

    Args:
        named: checkpoint of the command line, if any.
        resumes: TRAIN.RESUME.
        directory: the run directory.
    """
    path = directory / CHECKPOINT_NAME
    if named or not resumes:
        return named
    if path.is_file():
        return path
    logger.info("TRAIN.RESUME: no %s; training starts from the beginning", path)
    return None


def resuming_command(resumes: bool) -> str:
    """Return what to do to resume a training; `resumes` is its TRAIN.RESUME."""
    return "run the same command" if resumes else "run the same command with --opts TRAIN.RESUME true"


def finish_if_complete(
    progress: Progress, end_epoch: int, directory: Path, model: torch.nn.Module, is_main: bool
) -> bool:
    """Return whether the training is complete. If so, log it and write final_state.pth.tar if that is missing.

    Args:
        progress: progress of the checkpoint.
        end_epoch: TRAIN.END_EPOCH.
        directory: the run directory.
        model: has the weights to store.
        is_main: whether this process writes.
    """
    if progress.epoch < end_epoch:
        return False
    if is_main and not (directory / FINAL_NAME).is_file():
        save_checkpoint(model.state_dict(), directory / FINAL_NAME)
    logger.info(
        "already finished at epoch %d, nothing to train; set TRAIN.END_EPOCH above %d to continue, or another NAME to "
        "start again",
        progress.epoch,
        progress.epoch,
    )
    return True


def resume(
    path: Path,
    model_name: str,
    directory: Path,
    model: MultiViewPose,
    step: TrainStep,
    batches: EpochBatches,
    data: dict[str, int | str],
    config: dict[str, Any],
) -> Progress:
    """Resume from a checkpoint.

    Its best score is kept only if model_best.pth.tar is in the run directory and TEST.JDR_THRESHOLD has not changed.

    Args:
        path: the checkpoint.
        model_name: MODEL of the configuration.
        directory: the run directory.
        model: receives the weights.
        step: its optimizer and loss scaler receive their state.
        batches: batches of the training data; their size may differ from the checkpoint's.
        data: data_fingerprint() of the training data.
        config: the configuration as plain values.

    Raises:
        InputError: see load_training_state().
    """
    progress = load_training_state(path, model_name, model, step.optimizer, step.scaler, data, config)
    _fit_to_batches(progress, batches)
    logger.info("resumed from %s at epoch %d, step %d; %s", path, progress.epoch, progress.step, progress.best_text())
    if progress.best_perf >= 0 and not (directory / BEST_NAME).is_file():
        logger.info("no %s in %s; the best score counts from here on", BEST_NAME, directory)
        progress.best_perf = -1.0
    return progress


def _fit_to_batches(progress: Progress, batches: EpochBatches) -> None:
    """Set the step that follows the groups done: BATCH_SIZE or the number of processes may have changed."""
    step = batches.step_after(progress.groups)
    repeated = progress.groups - batches.items_before(step)
    if repeated > 0 and step < len(batches):
        logger.warning(
            "%d groups of epoch %d are done, which is no multiple of the batch of %d: %d groups are repeated",
            progress.groups,
            progress.epoch,
            batches.items_before(1),
            repeated,
        )
    if progress.steps_before is not None:
        progress.steps_before += progress.step - step
    progress.step = step


def load_training_state(
    path: str | os.PathLike,
    model_name: str,
    model: MultiViewPose,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None = None,
    data: dict[str, int | str] | None = None,
    config: dict[str, Any] | None = None,
) -> Progress:
    """Restore a file of save_training_state() or a checkpoint.pth.tar of the original code.

    The original code's optimizer state has another layout. Of its files only weights, epoch and score are used; a
    warning says so.

    Args:
        path: the checkpoint.
        model_name: MODEL of the configuration; must equal the file's.
        model: receives the weights.
        optimizer: receives the moments; learning rate and other settings stay. Its parameters must already be on
            their final device.
        scaler: receives the loss scale.
        data: data_fingerprint() of the training data; must equal the file's. None = any data.
        config: the configuration as plain values, see check_resumable(). None = any configuration.

    Returns:
        The progress.

    Raises:
        InputError: other model, optimizer, data or settings; weights that do not fit or are not finite; a file
            without a training state.
    """
    state: Any = load_checkpoint(path)
    if not isinstance(state, dict) or not {"epoch", "state_dict", "optimizer"} <= state.keys():
        raise InputError(f"{path}: holds no training state; set TRAIN.RESUME false, or validate it with --model-file")
    if config is not None and state.get("config"):
        check_resumable(path, state["config"], config)
    if data is not None:
        _check_data(path, state.get("data"), data)
    if "rng" not in state:
        progress = _load_original(path, state, model, Progress(data=data or {}, config=config or {}))
        return _with_comparable_scores(path, state, progress)
    if state["model"] != model_name:
        raise InputError(f"{path}: MODEL: expected '{model_name}', received '{state['model']}'")
    _check_optimizer(path, state["optimizer_kind"], type(optimizer).__name__)
    check_finite_state(state, f"{path}: checkpoint of a training that diverged")
    load_model_state(model, state, str(path))
    try:
        _load_moments(optimizer, state["optimizer"])
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: does not fit the configured network ({reason})") from None
    torch.set_rng_state(state["rng"]["torch"])
    if torch.cuda.is_available() and len(state["rng"]["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["rng"]["cuda"])
    if scaler is not None and state.get("scaler"):
        scaler.load_state_dict(state["scaler"])
    # older files have no `groups`; the last entry of `sums` counts them. The oldest were written at epoch ends only.
    meters = state.get("meters", {})
    groups = state["groups"] if "groups" in state else int(meters["sums"][-1]) if meters else 0
    progress = Progress(
        epoch=state["epoch"],
        step=state.get("step", 0),
        groups=groups,
        steps_before=state.get("steps_before"),
        meters=meters,
        perf=state["perf"],
        best_perf=state["best_perf"],
        history=state["history"],
        data=data or {},
        config=config or {},
    )
    return _with_comparable_scores(path, state, progress)


def _with_comparable_scores(path: str | os.PathLike, state: Mapping[str, Any], progress: Progress) -> Progress:
    """Drop the best score and rename the curve of scores if TEST.JDR_THRESHOLD has changed.

    Files without this key, e.g. of the original code, have scores at the threshold "published".
    """
    then = state.get("config", {}).get("TEST", {}).get("JDR_THRESHOLD", "published")
    now = flat_values(progress.config)["TEST.JDR_THRESHOLD"] if progress.config else then
    if then == now or progress.best_perf < 0:
        return progress
    logger.warning(
        "%s: its best JDR, %.2f %%, was measured with TEST.JDR_THRESHOLD %s; the best score counts from here on with "
        "%s, and the next validation replaces %s; set TEST.JDR_THRESHOLD %s to keep it",
        path,
        100 * progress.best_perf,
        then,
        now,
        BEST_NAME,
        then,
    )
    progress.best_perf = -1.0
    progress.history = [{f"jdr_{then}" if key == "jdr" else key: row[key] for key in row} for row in progress.history]
    return progress


def check_resumable(path: str | os.PathLike, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compare the configuration of a checkpoint with the current one. Changes that are allowed are logged.

    Args:
        path: the checkpoint, for messages.
        then: configuration of the checkpoint; missing keys have their defaults.
        now: current configuration.

    Raises:
        InputError: a key of scope "weights" differs: data, network, target, loss, seed or kind of optimizer.
    """
    changed = changed_values(then, now, dict(all_keys()).keys() - {"TRAIN.RESUME"})
    weights_keys = keys_with_scope("weights")
    refused = ", ".join(text for name, text in changed.items() if name in weights_keys)
    if refused:
        raise InputError(
            f"{path}: trained with other settings (then -> now): {refused}; train under another "
            "NAME (--opts NAME ...), or remove the directory"
        )
    if changed:
        logger.info("%s: changed settings (then -> now): %s", path, ", ".join(changed.values()))


def _check_data(path: str | os.PathLike, stored: dict[str, int | str] | None, data: dict[str, int | str]) -> None:
    if not stored:
        logger.warning("%s: no data fingerprint in this checkpoint; assuming the configured data set", path)
    elif stored != data:
        received = (
            f"{data['groups']} groups"
            if stored["groups"] != data["groups"]
            else "the same number of groups with other images, boxes or joints"
        )
        raise InputError(
            f"{path}: DATASET: expected the training data of this checkpoint ({stored['groups']} groups), received "
            f"{received}; train under another NAME (--opts NAME ...), or remove the directory"
        )


def _check_optimizer(path: str | os.PathLike, stored: str, configured: str) -> None:
    if stored == "LeanAdam":
        raise InputError(
            f"{path}: TRAIN.FUSION_STATE bfloat16 is no longer supported; validate its weights with --model-file, or "
            "train again under another NAME (--opts NAME ...)"
        )
    if stored != configured:
        raise InputError(
            f"{path}: TRAIN.OPTIMIZER: expected {stored.lower()}, received {configured.lower()}; set it as before"
        )


def _load_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the state of an optimizer, but keep the settings of the configuration."""
    settings = [{name: value for name, value in g.items() if name != "params"} for g in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, values in zip(optimizer.param_groups, settings, strict=True):
        group.update(values)


def _load_original(
    path: str | os.PathLike, state: dict[str, Any], model: MultiViewPose, progress: Progress
) -> Progress:
    check_finite_state({"state_dict": state["state_dict"]}, f"{path}: checkpoint of a training that diverged")
    load_model_state(model, state, str(path))
    progress.epoch = int(state["epoch"])
    progress.perf = float(state.get("perf", 0.0))
    progress.best_perf = progress.perf
    logger.warning(
        "%s: checkpoint of the original code: its weights are loaded and training continues at epoch %d with a new "
        "optimizer state; its score is %.2f %%",
        path,
        progress.epoch,
        100 * progress.best_perf,
    )
    return progress
