"""A trace of some training steps, for chrome://tracing or Perfetto."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule
from torch.utils.data import DataLoader

from lib.core.run_directory import TRACE_NAME
from lib.core.training.epoch import EpochHooks, train_one_epoch
from lib.core.training.epoch_meters import EpochMeters
from lib.core.training.optimizer import learning_rate, set_learning_rate
from lib.core.training.step import TrainStep
from lib.utils.errors import InputError
from lib.utils.joints import UNION_20
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks

logger = logging.getLogger(__name__)

WARM_UP_STEPS = 3
NUM_ROWS = 15


class StepProfiler:
    """Records steps WARM_UP_STEPS + 1, ...; writes trace.json and logs the costliest operations."""

    def __init__(self, num_steps: int, directory: Path, device: torch.device) -> None:
        """
        Args:
            num_steps: steps to record; 0 = none.
            directory: receives the trace.
            device: where the model lives.
        """
        if num_steps < 0:
            raise InputError(f"--profile: expected a number of steps, received {num_steps}")
        self._profile: profile | None = None
        self._path = directory / TRACE_NAME
        self._is_cuda = device.type == "cuda"
        if num_steps:
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._is_cuda else [])]
            plan = schedule(wait=WARM_UP_STEPS - 1, warmup=1, active=num_steps, repeat=1)
            self._profile = profile(activities=activities, schedule=plan, on_trace_ready=self._write)
            self._profile.start()

    def step(self) -> None:
        """Tell that a step is done."""
        if self._profile is not None:
            self._profile.step()

    def _write(self, recorded: profile) -> None:
        recorded.export_chrome_trace(str(self._path))
        order = "self_device_time_total" if self._is_cuda else "self_cpu_time_total"
        logger.info("profile: %s\n%s", self._path, recorded.key_averages().table(sort_by=order, row_limit=NUM_ROWS))

    def stop(self) -> None:
        """End the recording; a training shorter than planned leaves what there is."""
        if self._profile is not None:
            self._profile.stop()
            self._profile = None


class _AllRecorded(Exception):
    """The steps that were asked for are made."""


def profile_steps(
    config: Any,
    num_steps: int,
    directory: Path,
    train_step: TrainStep,
    loader: DataLoader,
    device: torch.device,
    ranks: Ranks = SINGLE_PROCESS,
) -> None:
    """Train WARM_UP_STEPS + num_steps steps for the trace alone: nothing else of them is kept.

    Args:
        config: the configuration.
        num_steps: steps to record.
        directory: receives the trace.
        train_step: updates the model.
        loader: of the training, with at least one step an epoch.
        device: where the model lives.
        ranks: the processes that train together; rank 0 records.

    Raises:
        InputError: a negative number of steps, or an image cannot be read.
    """
    profiler = StepProfiler(num_steps if ranks.is_main else 0, directory, device)
    made = itertools.count(1)

    def after_step(step: int) -> None:
        profiler.step()
        if next(made) == WARM_UP_STEPS + num_steps:
            raise _AllRecorded

    hooks = EpochHooks(after_step=after_step)
    try:
        for epoch in itertools.count(config.TRAIN.BEGIN_EPOCH):
            set_learning_rate(train_step.optimizer, learning_rate(config, epoch))
            meters = EpochMeters(len(UNION_20), device)
            train_one_epoch(train_step, loader, meters, config, epoch, device, hooks, ranks=ranks)
    except _AllRecorded:
        pass
    finally:
        profiler.stop()
