"""Trials before a long training: a dry run, and a check that the network can learn a few groups by heart.

Neither writes a file.
"""

import itertools
import logging
import math
import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from lib.core.evaluation2d.predict_images import predict_images
from lib.core.evaluation2d.validation_settings import ValidationSettings
from lib.core.loss import training_losses
from lib.core.run_directory import BEST_NAME, CHECKPOINT_NAME, FINAL_NAME
from lib.core.training.checkpoint import Progress, training_state
from lib.core.training.epoch import EpochSettings
from lib.core.training.learning_check import remedy
from lib.core.training.optimizer import set_learning_rate
from lib.core.training.step import TrainStep
from lib.dataset.multiview_dataset import MultiviewDataset
from lib.dataset.network_input import NetworkInput, network_input
from lib.utils.errors import InputError, ProgramExit
from lib.utils.files.torch_file import tensors_of
from lib.utils.joints import union_subset
from lib.utils.memory import peak_memory_mb
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks
from lib.utils.tables import markdown_table

logger = logging.getLogger(__name__)

TIMED_STEPS = 4  # steps and validation batches of a dry run after the first one, which is slower
OVERFIT_STEPS = 500  # default of --max-steps for --overfit
LEARNED_SHARE = 0.05  # of the loss of empty heatmaps
_BYTES = {"float16": 2, "float32": 4}


def dry_run(
    config: Any,
    directory: Path,
    step: TrainStep,
    loaders: tuple[DataLoader, DataLoader],
    settings: EpochSettings,
    ranks: Ranks = SINGLE_PROCESS,
) -> None:
    """Make a few training steps and validation batches; log memory, times and the files that a training writes.

    Args:
        config: the configuration; keys of MODEL, OUTPUT_DIR, TRAIN, TEST and NETWORK.
        directory: the run directory of the training; it need not exist.
        step: updates the model.
        loaders: loaders of training and validation data.
        settings: see EpochSettings.
        ranks: the processes that train together; rank 0 logs.

    Raises:
        ProgramExit: the loss is not finite, or the disk has too little space.
    """
    train = config.TRAIN
    batches = loaders[0].batch_sampler
    batches.set_epoch(train.BEGIN_EPOCH)
    set_learning_rate(step.optimizer, train.LR)
    step.model.train()
    losses = []
    seconds = []
    start = time.perf_counter()
    for batch in itertools.islice(loaders[0], 1 + TIMED_STEPS):
        result = step(network_input(batch, settings.sample, settings.device, settings.channels_last))
        losses.append(result.losses.total.item())
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    if not np.isfinite(losses).all():
        raise ProgramExit(f"dry run: expected finite losses, received {losses}; {remedy(config.NETWORK)}")
    test_seconds = _validation_seconds(config, step, loaders[1], settings, ranks)
    if not ranks.is_main:
        return
    step_seconds = _typical(seconds)
    epochs = train.END_EPOCH - train.BEGIN_EPOCH
    epoch_seconds = len(batches) * step_seconds
    total = epochs * epoch_seconds + math.ceil(epochs / train.VALIDATE_EVERY) * test_seconds
    logger.info(
        "dry run: %d steps, loss %.4g -> %.4g; at most %.0f MB of memory\n"
        "%d steps of %.2f s per epoch (%s), %s per validation: about %s for %d epochs",
        len(losses),
        losses[0],
        losses[-1],
        peak_memory_mb(settings.device),
        len(batches),
        step_seconds,
        _duration(epoch_seconds),
        _duration(test_seconds),
        _duration(total),
        epochs,
    )
    files = _files(config, step, loaders[1].dataset)
    rows = [[name, script, size / 1e6] for name, size, script in files]
    logger.info("%s will hold\n%s", directory, markdown_table(["file", "written by", "MB"], rows, left_columns=2))
    needed = sum(size for _, size, _ in files) + files[0][1]  # a file is complete before it replaces the old one
    place = next(path for path in (directory, *directory.resolve().parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise ProgramExit(
            f"{place}: expected {needed / 1e9:.1f} GB of free disk, received {free / 1e9:.1f} GB; use another "
            "OUTPUT_DIR, or TEST.HEATMAP_DTYPE float16"
        )
    logger.info("disk: %.1f GB needed, %.1f GB free; dry run: nothing was written", needed / 1e9, free / 1e9)


def _validation_seconds(
    config: Any, step: TrainStep, loader: DataLoader, settings: EpochSettings, ranks: Ranks
) -> float:
    """Return the estimated time of a validation in s."""
    seconds = []
    start = time.perf_counter()
    images = predict_images(step.network, loader, ValidationSettings.from_config(config), settings.device, ranks=ranks)
    for _ in itertools.islice(images, 1 + TIMED_STEPS):
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    images.close()
    return len(loader.batch_sampler) * _typical(seconds)


def _typical(seconds: list[float]) -> float:
    """Return the mean time without the first, slower one."""
    return float(np.mean(seconds[1:] or seconds))


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=math.ceil(seconds)))


def _files(config: Any, step: TrainStep, test_set: MultiviewDataset) -> list[tuple[str, int, str]]:
    """Return name, bytes and script of the large files of a run, the checkpoint first."""
    state = training_state(config.MODEL, step.network, step.optimizer, Progress(), step.scaler)
    weights = _num_bytes(step.network.state_dict())
    width, height = config.NETWORK.HEATMAP_SIZE
    num_maps = len(test_set) * test_set.num_views * len(union_subset(test_set.joint_set))
    kept = config.TRAIN.KEEP_CHECKPOINTS
    return [
        (CHECKPOINT_NAME, _num_bytes(state), "train.py"),
        *([(f"{kept - 1} earlier checkpoints", (kept - 1) * _num_bytes(state), "train.py")] if kept > 1 else []),
        (BEST_NAME, weights, "train.py"),
        (FINAL_NAME, weights, "train.py"),
        (
            config.TEST.HEATMAP_LOCATION_FILE,
            num_maps * width * height * _BYTES[config.TEST.HEATMAP_DTYPE],
            "valid.py, before compression",
        ),
    ]


def _num_bytes(state: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for _, tensor in tensors_of(state))


def overfit(
    num_groups: int, max_steps: int, step: TrainStep, dataset: MultiviewDataset, settings: EpochSettings, config: Any
) -> None:
    """Train on a few groups without augmentation until the loss is near 0.

    Args:
        num_groups: number of groups, spread over the data set.
        max_steps: largest number of steps.
        step: updates the model.
        dataset: the training data.
        settings: see EpochSettings.
        config: reads TRAIN.LR, TRAIN.BATCH_SIZE and NETWORK.

    Raises:
        InputError: the data set has fewer groups, or `num_groups` is not positive.
        ProgramExit: after `max_steps` the loss is above LEARNED_SHARE of the loss of empty heatmaps.
    """
    if not 1 <= num_groups <= len(dataset):
        raise InputError(f"--overfit: expected 1 to {len(dataset)} groups, received {num_groups}")
    batches = list(_fixed_batches(num_groups, config.TRAIN.BATCH_SIZE, dataset, settings))
    set_learning_rate(step.optimizer, config.TRAIN.LR)
    step.model.train()
    losses = [math.inf] * len(batches)  # the last one of each batch
    empty = sum(_empty_loss(step, batch) for batch in batches) / len(batches)
    for number in range(max_steps):
        losses[number % len(batches)] = step(batches[number % len(batches)]).losses.total.item()
        share = sum(losses) / len(batches) / empty
        if number % settings.print_freq == len(batches) - 1:
            logger.info("overfit: step %d, loss is %.1f %% of that of empty heatmaps", number + 1, 100 * share)
        if share <= LEARNED_SHARE:
            logger.info(
                "overfit: %d groups learned after %d steps (loss %.1f %% of that of empty heatmaps)",
                num_groups,
                number + 1,
                100 * share,
            )
            return
    raise ProgramExit(
        f"overfit: expected a loss of at most {100 * LEARNED_SHARE:.0f} % of that of empty heatmaps on {num_groups} "
        f"groups, received {100 * share:.1f} % after {max_steps} steps; allow more --max-steps if "
        f"it was still falling, or {remedy(config.NETWORK)}"
    )


def _fixed_batches(
    num_groups: int, batch_size: int, dataset: MultiviewDataset, settings: EpochSettings
) -> Iterator[NetworkInput]:
    """Yield groups spread over the data set, without augmentation."""
    plain = MultiviewDataset(dataset.parts, settings.sample, augment=False)
    chosen = np.linspace(0, len(plain) - 1, num_groups).round().astype(int).tolist()
    for first in range(0, num_groups, batch_size):
        items = plain.__getitems__(chosen[first : first + batch_size])
        batch = {name: torch.as_tensor(values) for name, values in items.items()}
        yield network_input(batch, settings.sample, settings.device, settings.channels_last)


def _empty_loss(step: TrainStep, batch: NetworkInput) -> float:
    """Return the loss of heatmaps that are 0 everywhere."""
    zeros = torch.zeros_like(batch.target)
    fused = None if step.network.fusion is None else zeros
    losses = training_losses(zeros, fused, batch.target, batch.weight, batch.is_multiview, step.loss_settings)
    return losses.total.item()
