"""The training loop over epochs: validation, checkpoints, metrics and interrupts."""

import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import DataLoader

from lib.core.evaluation2d.predict_images import learned_joints
from lib.core.evaluation2d.validate import validate
from lib.core.evaluation2d.validation_settings import ValidationSettings
from lib.core.run_directory import BEST_NAME, CURVES_NAME, DEBUG_FOLDER, FINAL_NAME, board_directory, selection_data
from lib.core.runtime.interrupt import InterruptGuard
from lib.core.training.checkpoint import CheckpointKeeper, Progress
from lib.core.training.debug_images import DebugImages, fusion_image
from lib.core.training.epoch import EpochHooks, EpochMeters, EpochSettings, check_finite, train_one_epoch
from lib.core.training.learning_check import empty_heatmap_loss, learning_problem
from lib.core.training.metrics_log import MetricsLog
from lib.core.training.optimizer import learning_rate, set_learning_rate
from lib.core.training.resume import resuming_command
from lib.core.training.step import StepResult, TrainStep
from lib.dataset.multiview_dataset import MultiviewDataset
from lib.models.registry import fusion_name
from lib.utils.drawing.training_curves import save_curves
from lib.utils.errors import InputError, Interrupted
from lib.utils.joints import UNION_20
from lib.utils.memory import peak_memory_mb
from lib.utils.parallel.distributed import broadcast_buffers
from lib.utils.parallel.ranks import Ranks

logger = logging.getLogger(__name__)

_CURVES = {  # key of a row -> label
    "epoch": "epoch",
    "loss": "training_loss",
    "valid_loss": "validation_loss",
    "accuracy": "peak_accuracy",
    "jdr": "JDR",
}
_LOGGED = (
    "peak accuracy: share of the heatmap peaks of the training batches within 1/20 of the map size of the target's, as "
    "in the original code; JDR: share of the validation joints within TEST.JDR_THRESHOLD %s"
)
_EPOCH = "epoch %(epoch)d: loss %(loss).5f peak accuracy %(accuracy).3f, learning rate %(learning_rate)g"
_AUGMENTATIONS = ("ROT_FACTOR", "SCALE_FACTOR", "SHIFT_FACTOR")


class _StepsDone(Exception):
    """Raised after the last step of --max-steps."""


class Training:
    """Trains a model from its progress to TRAIN.END_EPOCH.

    All ranks train and validate. Rank 0 writes checkpoints, metrics and images.
    """

    def __init__(
        self,
        config: Any,
        directory: Path,
        model: nn.Module,
        train_step: TrainStep,
        loaders: tuple[DataLoader, DataLoader],
        progress: Progress,
        settings: EpochSettings,
        ranks: Ranks,
        max_steps: int | None = None,
    ) -> None:
        """
        Args:
            config: the configuration; keys of TRAIN, DEBUG, TEST, NETWORK, MODEL, OUTPUT_DIR and LOG_DIR.
            directory: the run directory.
            model: the network, not wrapped in DistributedDataParallel.
            train_step: updates the model.
            loaders: loaders of training and validation data.
            progress: where to start.
            settings: settings of the epoch loop.
            ranks: this process among the ones that train together.
            max_steps: end after so many steps, counted from the start of the training; None = TRAIN.END_EPOCH.
        """
        self._config = config
        self._directory = directory
        self._model = model
        self._train_step = train_step
        self._train_loader, self._test_loader = loaders
        self._progress = progress
        self._settings = settings
        self._ranks = ranks
        self._max_steps = max_steps
        self._steps_per_epoch = len(self._train_loader.batch_sampler)
        if progress.steps_before is None:
            progress.steps_before = progress.epoch * self._steps_per_epoch
        self._debug = DebugImages(config.DEBUG, settings.sample, directory / DEBUG_FOLDER)
        self._keeper = CheckpointKeeper(
            directory, config.MODEL, config.TRAIN.KEEP_CHECKPOINTS, in_background=settings.device.type == "cuda"
        )
        self._validation = ValidationSettings.from_config(config, with_loss=True)
        self._empty_loss = empty_heatmap_loss(config.NETWORK, self._train_loader.dataset.num_views)
        self._problem: str | None = None
        self._log: MetricsLog | None = None
        self._guard = InterruptGuard()

    def run(self) -> None:
        """Train until TRAIN.END_EPOCH, or for `max_steps`.

        Raises:
            Interrupted: a signal was received; a checkpoint of the last step is written.
            InputError: a loss is not finite, an image cannot be read, or the disk refuses.
        """
        start = time.perf_counter()
        logger.info(_LOGGED, self._validation.jdr_threshold)
        keys = self._config.DATASET
        data = selection_data(keys.HELD_OUT_SUBJECTS, keys.TRAIN_DATASET, keys.TEST_DATASET)
        logger.info("%s: weights with the best JDR on %s", BEST_NAME, data)
        with self._guard:
            if not self._ranks.is_main:
                self._train_epochs()
                return
            board = board_directory(self._config, self._directory)
            first_step = self._global_step(self._progress.step)
            with self._keeper, MetricsLog(self._directory, board, first_step, self._progress.epoch) as self._log:
                self._train_epochs()
        logger.info(
            "done in %.0f s with at most %.0f MB: %s; weights in %s",
            time.perf_counter() - start,
            peak_memory_mb(self._settings.device),
            self._progress.best_text(),
            self._directory,
        )

    def _global_step(self, step: int) -> int:
        return self._progress.steps_before + step

    def _train_epochs(self) -> None:
        for epoch in range(self._progress.epoch, self._config.TRAIN.END_EPOCH):
            try:
                self._train_epoch(epoch)
            except _StepsDone:
                self._validate(epoch, is_last=True)
            steps = self._global_step(self._progress.step)
            if self._max_steps is not None and steps >= self._max_steps:
                again = resuming_command(self._config.TRAIN.RESUME)
                logger.info("ended after %d steps (--max-steps); %s to continue", steps, again)
                return

    def _train_epoch(self, epoch: int) -> None:
        train = self._config.TRAIN
        progress = self._progress
        rate = learning_rate(train, epoch)
        set_learning_rate(self._train_step.optimizer, rate)
        meters = EpochMeters(len(UNION_20), self._settings.device)
        if progress.step and self._ranks.is_main:  # the checkpoint holds the sums of all ranks
            meters.load_state(progress.meters)
        hooks = EpochHooks(
            report=partial(self._report, epoch, rate), after_step=lambda step: self._after_step(step, meters)
        )
        values = train_one_epoch(
            self._train_step, self._train_loader, meters, self._settings, epoch, hooks, progress.step, self._ranks
        )
        row = {"epoch": epoch, "learning_rate": rate, **values}
        is_saved = False
        is_last = epoch + 1 == train.END_EPOCH
        if is_last or (epoch + 1) % train.VALIDATE_EVERY == 0:
            if progress.step < self._steps_per_epoch:  # a failing validation must not cost the epoch
                self._save_within_epoch(self._steps_per_epoch, meters, keep=False)
                is_saved = True
            row |= self._validate(epoch, is_last)
        progress.epoch = epoch + 1
        progress.step = 0
        progress.groups = 0
        progress.meters = {}
        progress.steps_before += self._steps_per_epoch
        if self._ranks.is_main:
            self._finish_epoch(row, is_saved)

    def _report(
        self, epoch: int, rate: float, step: int, values: dict[str, float], batch: dict[str, Tensor], result: StepResult
    ) -> None:
        self._log.add("train", self._global_step(step + 1), {**values, "learning_rate": rate})
        self._debug.save(f"train_{epoch:03d}", step, batch, result.routed)

    def _after_step(self, step: int, meters: EpochMeters) -> None:
        """Write a checkpoint if one is due, and end if a signal was received."""
        every = self._config.TRAIN.CHECKPOINT_STEPS
        is_interrupted = self._guard.requested()
        is_within = step < self._steps_per_epoch
        is_last = is_within and self._max_steps is not None and self._global_step(step) >= self._max_steps
        if is_interrupted or is_last or (every and step % every == 0 and is_within):
            self._save_within_epoch(step, meters)
        self._end_if(is_interrupted)
        if is_last:
            raise _StepsDone

    def _end_if(self, is_interrupted: bool) -> None:
        if is_interrupted:
            self._keeper.wait()
            raise Interrupted(
                f"interrupted at epoch {self._progress.epoch}, step {self._progress.step}; "
                f"{resuming_command(self._config.TRAIN.RESUME)} to continue"
            )

    def _save_within_epoch(self, step: int, meters: EpochMeters, keep: bool = True) -> None:
        """Write a checkpoint, unless a loss was not finite: batch-norm statistics have seen that step."""
        progress = self._progress
        check_finite(self._train_loader, progress.epoch, meters.bad_step())
        progress.step = step
        progress.groups = self._train_loader.batch_sampler.items_before(step)
        progress.meters = meters.state()
        if self._ranks.is_main:
            self._keeper.save(self._train_step, self._model, progress, keep)

    def _validate(self, epoch: int, is_last: bool) -> dict[str, float]:
        """Validate the weights of rank 0 on all ranks; rank 0 returns the score, and logs tables if it is the last."""
        broadcast_buffers(self._train_step.network)
        result = validate(
            self._train_step.network,
            self._test_loader,
            self._validation,
            self._settings.device,
            ranks=self._ranks,
            after_batch=lambda: self._end_if(self._guard.requested()),
            debug=partial(self._show_fusion, epoch) if self._ranks.is_main else None,
        )
        if result is None:
            return {}
        text = "epoch %d, validation on %d images: loss %.5f%s"
        rates = f"\n{result.tables()}" if is_last else f", {result.means()}"
        logger.info(text, epoch, result.num_images, result.loss, rates)
        return {"valid_loss": result.loss, "jdr": result.perf, "jdr_published": result.original_perf}

    def _show_fusion(
        self, epoch: int, step: int, batch: dict[str, Tensor], single_view: Tensor, routed: Tensor
    ) -> None:
        self._debug.save(f"valid_{epoch:03d}", step, batch, routed)
        image = fusion_image(batch, single_view, routed)
        self._log.add_image("heatmaps_before_and_after_fusion", self._global_step(self._steps_per_epoch), image)

    def _finish_epoch(self, row: dict[str, float], is_saved: bool) -> None:
        """Log the epoch and write the best and last weights, the checkpoint and the curves.

        Args:
            row: values of the epoch.
            is_saved: the last checkpoint has the weights of the epoch's end.
        """
        progress = self._progress
        self._log.add("epoch", self._global_step(0), row)
        progress.history.append(row)
        logger.info(_EPOCH, row)
        if "jdr" in row:
            progress.perf = row["jdr"]
        weights_names = []
        if row.get("jdr", -1.0) > progress.best_perf:
            progress.best_perf = row["jdr"]
            weights_names.append(BEST_NAME)
            logger.info("epoch %d: %s so far", row["epoch"], progress.best_text())
        if progress.epoch == self._config.TRAIN.END_EPOCH:
            weights_names.append(FINAL_NAME)
        self._keeper.save(self._train_step, self._model, progress, True, weights_names, is_saved)
        curves = [{label: row[key] for key, label in _CURVES.items() if key in row} for row in progress.history]
        save_curves(self._directory / CURVES_NAME, curves, title=str(self._directory))
        self._check_learning()

    def _check_learning(self) -> None:
        """Warn when a sign that the training does not learn appears, and again after the last epoch."""
        problem = learning_problem(self._progress.history, self._empty_loss, self._config.NETWORK)
        if problem and (not self._problem or self._progress.epoch == self._config.TRAIN.END_EPOCH):
            logger.warning("epoch %d: %s", self._progress.epoch - 1, problem)
        self._problem = problem


def check_training(config: Any, fusion: nn.Module | None, test_set: MultiviewDataset) -> None:
    """Check before training that validation and augmentation will work; warn if they conflict with the fusion.

    Args:
        config: the configuration; keys of DATASET, NETWORK.FUSION and TEST.JOINTS.
        fusion: fusion layer of the network.
        test_set: validation data.

    Raises:
        InputError: the fusion needs another number of views than the test set has, DATASET.FLIP is on with the learned
            fusion, or TEST.JOINTS names an unknown joint.
    """
    learned_joints(config.TEST.JOINTS, test_set.joint_set)
    keys = config.DATASET
    if fusion is not None:
        expected = fusion.num_views or max(test_set.num_views, 2)  # None = any number of views from 2
        if test_set.num_views != expected:
            raise InputError(
                f"DATASET.TEST_DATASET {keys.TEST_DATASET}: expected {expected} views, for which the fusion of "
                f"{keys.TRAIN_DATASET} is made, received {test_set.num_views}; use another data set, select views with "
                "DATASET.CAMERAS, or set NETWORK.FUSION none"
            )
    if fusion_name(config.NETWORK) == "learned" and keys.FLIP:
        raise InputError(
            "DATASET.FLIP true: expected another fusion than NETWORK.FUSION learned, which does not hold for the "
            "mirrored rig; set it false, or use NETWORK.FUSION adaptive"
        )
    factors = [f"{name} {keys[name]:g}" for name in _AUGMENTATIONS if keys[name] > 0]
    if fusion_name(config.NETWORK) == "learned" and factors:
        logger.warning(
            "DATASET.%s: NETWORK.FUSION learned assumes fixed crops; set DATASET.ROT_FACTOR, SCALE_FACTOR and "
            "SHIFT_FACTOR to 0, or use NETWORK.FUSION adaptive",
            ", ".join(factors),
        )
