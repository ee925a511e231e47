"""The checkpoints of a run directory: the newest under the published name, earlier ones beside it if wanted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from lib.core.run_directory import CHECKPOINT_NAME, KEPT_CHECKPOINT_NAME, KEPT_CHECKPOINT_PATTERN
from lib.core.training.checkpoint import Progress, save_training_state
from lib.core.training.step import TrainStep
from lib.utils.files.atomic import atomic_path


class CheckpointKeeper:
    """Writes checkpoints and removes old ones.

    Attributes:
        path: the newest checkpoint; it is replaced as a whole, so that a kill at any instant leaves a whole file.
    """

    def __init__(self, directory: Path, config: Any) -> None:
        """
        Args:
            directory: the run directory.
            config: the configuration: MODEL, TRAIN.KEEP_CHECKPOINTS.
        """
        self.path = directory / CHECKPOINT_NAME
        self._model_name = config.MODEL
        self._keep = config.TRAIN.KEEP_CHECKPOINTS

    def save(self, train_step: TrainStep, model: Any, progress: Progress, keep: bool = True) -> None:
        """Write the training state; an InputError says why that cannot be, and leaves the one before.

        Args:
            train_step: its optimizer and loss scale.
            model: the network itself.
            progress: where the training stands.
            keep: it may stay beside later ones, as TRAIN.KEEP_CHECKPOINTS says.
        """
        save_training_state(self.path, self._model_name, model, train_step.optimizer, progress, train_step.scaler)
        if keep and self._keep > 1:
            name = KEPT_CHECKPOINT_NAME.format(epoch=progress.epoch, step=progress.step)
            _keep_beside(self.path, self.path.with_name(name))
            every = self.path.parent.glob(KEPT_CHECKPOINT_PATTERN)  # an earlier training's may be further on
            for old in sorted(every, key=lambda path: (path.stat().st_mtime_ns, path.name))[: -self._keep]:
                old.unlink()


def _keep_beside(path: Path, kept: Path) -> None:
    """Give a file a second name, by a copy where the disk has no hard links."""
    with atomic_path(kept) as temporary:
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
