"""One epoch of training."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from lib.core.evaluation2d.metrics_2d import heatmap_hits
from lib.core.training.epoch_meters import EpochMeters
from lib.core.training.step import StepResult, TrainStep
from lib.dataset.network_input import network_input
from lib.utils.errors import InputError
from lib.utils.memory import peak_memory_mb
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks

logger = logging.getLogger(__name__)


@dataclass
class EpochHooks:
    """What the loop calls; every one may be left out.

    Attributes:
        report: at every PRINT_FREQ, at rank 0: (step, values of the window and the run).
        debug: at every PRINT_FREQ, at rank 0: (step, batch of the loader, raw heatmaps, routed heatmaps).
        after_step: after every step, at all ranks: (next step); may raise to end the epoch there.
    """

    report: Callable[[int, dict[str, float]], None] | None = None
    debug: Callable[[int, dict[str, Tensor], Tensor, Tensor], None] | None = None
    after_step: Callable[[int], None] | None = None


class _Clock:
    """Time of the window: in all, and spent waiting for data."""

    def __init__(self) -> None:
        self.waiting = 0.0
        self._start = time.perf_counter()

    def lap(self) -> tuple[float, float]:
        """Return seconds of the window, in all and waiting for data, and begin a new one."""
        seconds = time.perf_counter() - self._start
        waiting = self.waiting
        self.waiting = 0.0
        self._start = time.perf_counter()
        return seconds, waiting


def train_one_epoch(
    train_step: TrainStep,
    loader: DataLoader,
    meters: EpochMeters,
    config: Any,
    epoch: int,
    device: torch.device,
    hooks: EpochHooks | None = None,
    first_step: int = 0,
    ranks: Ranks = SINGLE_PROCESS,
) -> dict[str, float]:
    """Train on every batch once, or on those from `first_step` on.

    Nothing is read from the device but at every PRINT_FREQ and at the end.

    Args:
        train_step: updates the model; its learning rate is already that of the epoch.
        loader: batches of lib.dataset.loader.
        meters: of the epoch; with `first_step`, those of the steps before.
        config: the configuration.
        epoch: its index, from 0.
        device: where the model lives.
        hooks: what to call.
        first_step: where to begin.
        ranks: the processes that train together.

    Returns:
        Means over the groups of the epoch: loss, loss_routed, loss_raw, accuracy; and, if a step was made, groups_per_s
        of this call's part of the epoch, over all processes.

    Raises:
        InputError: a loss is not finite; names the images of the batch.
    """
    hooks = hooks or EpochHooks()
    train_step.model.train()
    batches = loader.batch_sampler
    batches.set_epoch(epoch, first_step)
    clock = _Clock()
    begin = time.perf_counter()
    end = time.perf_counter()
    bar = tqdm(
        loader,
        desc=f"epoch {epoch}",
        unit="batch",
        initial=first_step,
        total=len(batches),
        leave=False,
        disable=None if ranks.is_main else True,
    )
    for step, batch in enumerate(bar, first_step):
        clock.waiting += time.perf_counter() - end
        shares = batches.shares(step)
        inputs = network_input(batch, loader.dataset.settings, device, config.TRAIN.CHANNELS_LAST)
        result = train_step(inputs, shares[ranks.rank] * ranks.world_size / sum(shares))
        hits = heatmap_hits(result.routed, inputs.target, inputs.weight)
        meters.update(result.losses, hits, len(inputs), step)
        if step % config.PRINT_FREQ == 0:
            values = _read(meters, loader, clock, epoch, step, device)
            if ranks.is_main:
                _report(hooks, values, batch, result, epoch, step, len(batches))
                bar.set_postfix(loss=f"{values['loss']:.4f}", accuracy=f"{values['accuracy']:.3f}")
        if hooks.after_step is not None:
            hooks.after_step(step + 1)
        end = time.perf_counter()
    means, _, bad_step = meters.read()
    check_finite(loader, epoch, bad_step)
    num_groups = batches.items_before(len(batches)) - batches.items_before(first_step)
    del means["groups"]
    return {**means, **({"groups_per_s": num_groups / max(time.perf_counter() - begin, 1e-9)} if num_groups else {})}


def _read(
    meters: EpochMeters, loader: DataLoader, clock: _Clock, epoch: int, step: int, device: torch.device
) -> dict[str, float]:
    """Read the window: losses, accuracy, speed, waiting, memory."""
    mean, window, bad_step = meters.read()
    check_finite(loader, epoch, bad_step)
    seconds, waiting = clock.lap()
    window["groups_per_s"] = window.pop("groups") / max(seconds, 1e-9)
    window |= {"mean_loss": mean["loss"], "mean_accuracy": mean["accuracy"]}
    return {
        **window,
        "data_seconds": waiting,
        "data_share": waiting / max(seconds, 1e-9),
        "memory_mb": peak_memory_mb(device),
    }


def _report(
    hooks: EpochHooks,
    values: dict[str, float],
    batch: dict[str, Tensor],
    result: StepResult,
    epoch: int,
    step: int,
    num_steps: int,
) -> None:
    logger.info(
        "epoch %d step %d/%d: loss %.5f (%.5f) accuracy %.3f (%.3f) | %.1f groups/s, %.0f %% waiting for data",
        epoch,
        step,
        num_steps,
        values["loss"],
        values["mean_loss"],
        values["accuracy"],
        values["mean_accuracy"],
        values["groups_per_s"],
        100 * values["data_share"],
    )
    if hooks.report is not None:
        hooks.report(step, values)
    if hooks.debug is not None:
        hooks.debug(step, batch, result.single, result.routed)


def check_finite(loader: DataLoader, epoch: int, bad_step: int) -> None:
    """Raise an InputError that names the images of a bad step, one of EpochMeters; nothing happens at -1."""
    if bad_step < 0:
        return
    batches, dataset = loader.batch_sampler, loader.dataset
    items = batches.batch(batches.order(), bad_step)
    names = ", ".join(dataset.image_name(int(image)) for item in items for image in dataset.images_of(epoch, int(item)))
    raise InputError(f"epoch {epoch}, step {bad_step}: the loss is not finite; images of the batch: {names}")
