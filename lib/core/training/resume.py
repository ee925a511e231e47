"""Going on from a checkpoint: which one, whether it belongs to this training, and at which step."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from lib.core.config_io import plain_config
from lib.core.run_directory import BEST_NAME, CHECKPOINT_NAME, FINAL_NAME
from lib.core.training.checkpoint import Progress, load_training_state
from lib.core.training.step import TrainStep
from lib.dataset.loader import EpochBatches
from lib.models.multiview_pose import MultiViewPose
from lib.utils.files.torch_file import save_checkpoint

logger = logging.getLogger(__name__)


def checkpoint_to_resume(named: Path | None, config: Any, directory: Path) -> Path | None:
    """Return the checkpoint to go on from, None for a training from the beginning.

    Args:
        named: of the command line; it need not be there.
        config: the configuration: TRAIN.RESUME.
        directory: the run directory.
    """
    path = directory / CHECKPOINT_NAME
    if named or not config.TRAIN.RESUME:
        return named
    if path.is_file():
        return path
    logger.info("TRAIN.RESUME: there is no %s; training starts from the beginning", path)
    return None


def leave_finished(progress: Progress, config: Any, directory: Path, model: MultiViewPose, is_main: bool) -> bool:
    """Return whether there is nothing to train any more, and say so; what the run directory holds stays.

    Args:
        progress: of the checkpoint.
        config: the configuration: TRAIN.END_EPOCH.
        directory: the run directory; receives the last weights where they are not there.
        model: has the weights.
        is_main: the process that writes.
    """
    if progress.epoch < config.TRAIN.END_EPOCH:
        return False
    if is_main and not (directory / FINAL_NAME).is_file():
        save_checkpoint(model.state_dict(), directory / FINAL_NAME)
    logger.info(
        "already finished at epoch %d: nothing to train; a TRAIN.END_EPOCH above %d goes on, another NAME begins anew",
        progress.epoch,
        progress.epoch,
    )
    return True


def resume(
    path: Path,
    config: Any,
    directory: Path,
    model: MultiViewPose,
    step: TrainStep,
    data: dict[str, int | str],
    batches: EpochBatches,
) -> Progress:
    """Load a checkpoint; its best score counts only where the weights that reached it are.

    Args:
        path: of the checkpoint.
        config: the configuration.
        directory: the run directory.
        model: receives the weights.
        step: its optimizer and loss scale receive their state.
        data: data_fingerprint() of the training data.
        batches: of the training data, whose steps may be larger or smaller than those of before.

    Raises:
        InputError: as of load_training_state().
    """
    progress = load_training_state(path, config.MODEL, model, step.optimizer, step.scaler, data, plain_config(config))
    _fit_to_steps(progress, batches)
    logger.info("resumed from %s at epoch %d, step %d; %s", path, progress.epoch, progress.step, progress.best_text())
    if progress.best_perf >= 0 and not (directory / BEST_NAME).is_file():
        logger.info("the weights that reached it are not in %s; the best of what follows will be", directory)
        progress.best_perf = -1.0
    return progress


def _fit_to_steps(progress: Progress, batches: EpochBatches) -> None:
    """Find the step behind the groups that are done: the number of processes or BATCH_SIZE may have changed."""
    step = batches.step_after(progress.groups)
    again = progress.groups - batches.items_before(step)
    if again > 0 and step < len(batches):
        logger.warning(
            "%d groups of epoch %d are done, no whole number of steps of %d: %d of them come again",
            progress.groups,
            progress.epoch,
            batches.items_before(1),
            again,
        )
    if progress.steps_before is not None:
        progress.steps_before += progress.step - step
    progress.step = step
