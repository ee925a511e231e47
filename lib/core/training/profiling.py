"""Trace of a few training steps, for chrome://tracing or Perfetto."""

import contextlib
import itertools
import logging
from pathlib import Path

from torch.profiler import ProfilerActivity, profile, schedule
from torch.utils.data import DataLoader

from lib.core.run_directory import TRACE_NAME
from lib.core.training.epoch import EpochHooks, EpochMeters, EpochSettings, train_one_epoch
from lib.core.training.step import TrainStep
from lib.utils.errors import InputError
from lib.utils.joints import UNION_20
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks

logger = logging.getLogger(__name__)

WARM_UP_STEPS = 3
_TABLE_ROWS = 15


class _AllRecorded(Exception):
    """Raised after the last step to record."""


def profile_steps(
    num_steps: int,
    directory: Path,
    train_step: TrainStep,
    loader: DataLoader,
    settings: EpochSettings,
    ranks: Ranks = SINGLE_PROCESS,
) -> None:
    """Train WARM_UP_STEPS + num_steps steps, record the last `num_steps`, and keep nothing but the trace.

    Args:
        num_steps: number of steps to record.
        directory: receives trace.json.
        train_step: updates the model.
        loader: loader of the training data, with at least one step per epoch.
        settings: see EpochSettings.
        ranks: this process among the ones that train together; rank 0 writes.

    Raises:
        InputError: num_steps is not positive, or an image cannot be read.
    """
    if num_steps < 1:
        raise InputError(f"--profile: expected a positive number of steps, received {num_steps}")
    is_cuda = settings.device.type == "cuda"
    steps = itertools.count(1)

    def after_step(step: int) -> None:
        profiler.step()
        if next(steps) == WARM_UP_STEPS + num_steps:
            raise _AllRecorded

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if is_cuda else [])]
    plan = schedule(wait=WARM_UP_STEPS - 1, warmup=1, active=num_steps, repeat=1)
    with profile(activities=activities, schedule=plan) as profiler, contextlib.suppress(_AllRecorded):
        for epoch in itertools.count():
            meters = EpochMeters(len(UNION_20), settings.device)
            train_one_epoch(train_step, loader, meters, settings, epoch, EpochHooks(after_step=after_step), ranks=ranks)
    if ranks.is_main:
        profiler.export_chrome_trace(str(directory / TRACE_NAME))
        order = "self_device_time_total" if is_cuda else "self_cpu_time_total"
        table = profiler.key_averages().table(sort_by=order, row_limit=_TABLE_ROWS)
        logger.info("profile: %s\n%s", directory / TRACE_NAME, table)
