"""Configuration -> data set and loader."""

import logging
import math
import os
from pathlib import Path
from typing import Any

from lib.dataset.data_sets import build_parts, held_out_parts
from lib.dataset.loader import BatchLoader, EpochBatches
from lib.dataset.mpii import GT_FILE
from lib.dataset.multiview_dataset import MultiviewDataset
from lib.dataset.sample import SampleSettings
from lib.dataset.storage.crop_cache import open_caches
from lib.utils.errors import InputError
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks

logger = logging.getLogger(__name__)


def build_dataset(config: Any, root: str | os.PathLike, is_train: bool, held_out: bool = False) -> MultiviewDataset:
    """Build DATASET.TRAIN_DATASET, DATASET.TEST_DATASET or DATASET.HELD_OUT_SUBJECTS.

    Args:
        config: the configuration.
        root: DATA_DIR/DATASET.ROOT.
        is_train: training (TRAIN_ keys, augmentation) or validation (TEST_ keys).
        held_out: build the data that a training validates: the held-out subjects if there are any.

    Raises:
        InputError: see build_parts(), or TEST.JDR_THRESHOLD is "head" and there are no head sizes.
    """
    settings = SampleSettings.from_config(config)
    if held_out and config.DATASET.HELD_OUT_SUBJECTS:
        parts = held_out_parts(config.DATASET, root)
    else:
        parts = build_parts(config.DATASET, root, is_train)
    caches = []
    if config.DATASET.CROP_CACHE and is_train and settings.moves_crops:
        logger.info("DATASET.CROP_CACHE: not used for training, whose scale, rotation or shift is random")
    elif config.DATASET.CROP_CACHE:
        caches = open_caches(Path(config.DATASET.CROP_CACHE), parts, settings)
    dataset = MultiviewDataset(parts, settings, is_train, config.SEED, caches)
    if not is_train:
        _check_head_sizes(config, dataset)
    return dataset


def _check_head_sizes(config: Any, dataset: MultiviewDataset) -> None:
    """Log why PCKh is missing, or raise if TEST.JDR_THRESHOLD needs head sizes."""
    if dataset.has_head_sizes:
        return
    folders = [part.annotations.images_dir.parent for part in dataset.parts if part.annotations.source == "mpii"]
    cause = f"{config.DATASET.TEST_DATASET} has no head boxes"
    if folders:
        cause = (
            f"{folders[0] / 'annot'}: no head_box in the records and, for valid, no {GT_FILE}; "
            "run/data/prepare_mpii.py writes both"
        )
    if config.TEST.JDR_THRESHOLD == "head":
        raise InputError(f"TEST.JDR_THRESHOLD head: {cause}")
    if folders:
        logger.info("no PCKh: %s", cause)


def build_loader(config: Any, dataset: MultiviewDataset, is_train: bool, ranks: Ranks = SINGLE_PROCESS) -> BatchLoader:
    """Build a loader of one rank's share of the batches; its batch sampler is an EpochBatches.

    BATCH_SIZE is per rank. WORKERS are shared by the ranks of a machine.
    """
    batch_size = config.TRAIN.BATCH_SIZE if is_train else config.TEST.BATCH_SIZE
    shuffle = is_train and config.TRAIN.SHUFFLE
    batches = EpochBatches(len(dataset), batch_size, shuffle, config.SEED, ranks, every_item=not is_train)
    return BatchLoader(dataset, batches, math.ceil(config.WORKERS / ranks.local_world_size))
