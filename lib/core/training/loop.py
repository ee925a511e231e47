"""A whole training: epochs, validation, checkpoints, numbers, and going on after an interruption."""

from __future__ import annotations

import logging
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lib.core.evaluation2d.validate import validate
from lib.core.run_directory import BEST_NAME, CURVES_NAME, DEBUG_FOLDER, FINAL_NAME, board_directory
from lib.core.runtime.interrupt import InterruptGuard
from lib.core.training.checkpoint import Progress
from lib.core.training.checkpoint_files import CheckpointKeeper
from lib.core.training.debug_images import DebugPictures, fusion_picture
from lib.core.training.epoch import EpochHooks, check_finite, train_one_epoch
from lib.core.training.epoch_meters import EpochMeters
from lib.core.training.metrics_log import MetricsLog
from lib.core.training.optimizer import learning_rate, set_learning_rate
from lib.core.training.step import TrainStep
from lib.core.training.training_summary import training_summary
from lib.utils.drawing.training_curves import save_curves
from lib.utils.errors import Interrupted
from lib.utils.files.atomic import write_bytes
from lib.utils.files.torch_file import save_checkpoint
from lib.utils.joints import UNION_20
from lib.utils.memory import peak_memory_mb
from lib.utils.parallel.distributed import broadcast_buffers
from lib.utils.parallel.ranks import Ranks

logger = logging.getLogger(__name__)

CURVES = ("epoch", "loss", "accuracy", "jdr")


class Training:
    """Trains a model from where its progress stands to TRAIN.END_EPOCH.

    Rank 0 writes checkpoints, logs and pictures; all ranks train and validate.
    """

    def __init__(
        self,
        config: Any,
        directory: Path,
        model: nn.Module,
        train_step: TrainStep,
        loaders: tuple[DataLoader, DataLoader],
        progress: Progress,
        device: torch.device,
        ranks: Ranks,
    ) -> None:
        """
        Args:
            config: the configuration.
            directory: the run directory.
            model: the network itself, without DistributedDataParallel.
            train_step: updates it.
            loaders: of training and validation.
            progress: where to begin.
            device: where the model lives.
            ranks: which of several processes this one is.
        """
        self._config = config
        self._directory = directory
        self._model = model
        self._train_step = train_step
        self._train_loader, self._test_loader = loaders
        self._progress, self._device, self._ranks = progress, device, ranks
        self._steps_per_epoch = len(self._train_loader.batch_sampler)
        if progress.steps_before is None:
            progress.steps_before = progress.epoch * self._steps_per_epoch
        self._debug = DebugPictures(config, directory / DEBUG_FOLDER) if ranks.is_main else None
        self._keeper = CheckpointKeeper(directory, config) if ranks.is_main else None
        self._log: MetricsLog | None = None
        self._guard = InterruptGuard()

    def run(self) -> None:
        """Train until the last epoch is done.

        Raises:
            Interrupted: a signal came; a checkpoint of the step that was finished is written.
            InputError: a loss is not finite, an image cannot be read, or the disk refuses.
        """
        start = time.perf_counter()
        with self._guard:
            if not self._ranks.is_main:
                self._epochs()
                return
            board = board_directory(self._config, self._directory)
            first_step = self._global_step(self._progress.step)
            with MetricsLog(self._directory, board, first_step, self._progress.epoch) as self._log:
                self._epochs()
        text = training_summary(self._progress, time.perf_counter() - start, peak_memory_mb(self._device))
        write_bytes(self._directory / "training_summary.md", f"{text}\n".encode())
        logger.info("\n%s\n", text)
        logger.info("done: %s; weights in %s", self._progress.best_text(), self._directory)

    def _global_step(self, step: int) -> int:
        return self._progress.steps_before + step

    def _epochs(self) -> None:
        for epoch in range(self._progress.epoch, self._config.TRAIN.END_EPOCH):
            self._train_epoch(epoch)

    def _train_epoch(self, epoch: int) -> None:
        progress = self._progress
        rate = learning_rate(self._config, epoch)
        set_learning_rate(self._train_step.optimizer, rate)
        meters = EpochMeters(len(UNION_20), self._device)
        if progress.step and self._ranks.is_main:  # the checkpoint holds the sums of all ranks
            meters.load_state(progress.meters)
        hooks = EpochHooks(
            report=lambda step, values: self._report(step, {**values, "learning_rate": rate}),
            debug=None if self._debug is None else self._debug.hook(f"train_{epoch:03d}"),
            after_step=lambda step: self._after_step(step, meters),
        )
        values = train_one_epoch(
            self._train_step,
            self._train_loader,
            meters,
            self._config,
            epoch,
            self._device,
            hooks,
            progress.step,
            self._ranks,
        )
        row = {"epoch": epoch, "learning_rate": rate, **values}
        if epoch + 1 == self._config.TRAIN.END_EPOCH or (epoch + 1) % self._config.TRAIN.VALIDATE_EVERY == 0:
            if progress.step < self._steps_per_epoch:  # what ends the validation does not take the epoch along
                self._save_within_epoch(self._steps_per_epoch, meters, keep=False)
            row |= self._validate(epoch)
        progress.epoch = epoch + 1
        progress.step = 0
        progress.groups = 0
        progress.meters = {}
        progress.steps_before += self._steps_per_epoch
        if self._ranks.is_main:
            self._finish_epoch(row)

    def _report(self, step: int, values: dict[str, float]) -> None:
        self._log.add("train", self._global_step(step + 1), values)

    def _after_step(self, step: int, meters: EpochMeters) -> None:
        """Write a checkpoint where one is due, and end where a signal asks for it."""
        every = self._config.TRAIN.CHECKPOINT_STEPS
        asked = self._guard.requested()
        if asked or (every and step % every == 0 and step < self._steps_per_epoch):
            self._save_within_epoch(step, meters)
        self._end_if(asked)

    def _end_if(self, asked: bool) -> None:
        if asked:
            raise Interrupted(
                f"interrupted at epoch {self._progress.epoch}, step {self._progress.step}; the same "
                "command with TRAIN.RESUME true goes on there"
            )

    def _save_within_epoch(self, step: int, meters: EpochMeters, keep: bool = True) -> None:
        """Write a checkpoint, unless a loss was not finite: weights are spared such a step, batch norm is not."""
        progress = self._progress
        check_finite(self._train_loader, progress.epoch, meters.bad_step())
        progress.step = step
        progress.groups = self._train_loader.batch_sampler.items_before(step)
        progress.meters = meters.state()
        if self._ranks.is_main:
            self._keeper.save(self._train_step, self._model, progress, keep)

    def _validate(self, epoch: int) -> dict[str, float]:
        """Return the score of the weights that rank 0 saves, at rank 0; all ranks work with them."""
        broadcast_buffers(self._model)
        result = validate(
            self._model,
            self._test_loader,
            self._config,
            self._device,
            ranks=self._ranks,
            after_batch=lambda: self._end_if(self._guard.requested()),
            debug=partial(self._show_fusion, epoch) if self._ranks.is_main else None,
        )
        if result is None:
            return {}
        logger.info("epoch %d, validation on %d images:\n%s", epoch, result.num_images, result.tables())
        return {"jdr": result.perf}

    def _show_fusion(self, epoch: int, step: int, batch: dict[str, Tensor], single: Tensor, routed: Tensor) -> None:
        hook = self._debug.hook(f"valid_{epoch:03d}")
        if hook is not None:
            hook(step, batch, single, routed)
        picture = fusion_picture(batch, single, routed)
        self._log.add_picture("heatmaps_before_and_after_fusion", self._global_step(self._steps_per_epoch), picture)

    def _finish_epoch(self, row: dict[str, float]) -> None:
        """Note the epoch, keep the best weights and those of the end, and write the checkpoint."""
        progress = self._progress
        self._log.add("epoch", self._global_step(0), row)
        progress.history.append(row)
        if "jdr" in row:
            progress.perf = row["jdr"]
        if row.get("jdr", -1.0) > progress.best_perf:
            progress.best_perf = row["jdr"]
            save_checkpoint(self._model.state_dict(), self._directory / BEST_NAME)
            logger.info("epoch %d: %s so far", row["epoch"], progress.best_text())
        if progress.epoch == self._config.TRAIN.END_EPOCH:  # before the checkpoint that says that all is done
            save_checkpoint(self._model.state_dict(), self._directory / FINAL_NAME)
        self._keeper.save(self._train_step, self._model, progress)
        curves = [{key: row[key] for key in CURVES if key in row} for row in progress.history]
        save_curves(self._directory / CURVES_NAME, curves, title=str(self._directory))
