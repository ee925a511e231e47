"""Configuration -> data sets and loaders.

To add a data set, add it to DATA_SETS in build_groups.py and a function to _BUILDERS here.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from lib.dataset.data_sets import build_groups
from lib.dataset.groups import group_singles
from lib.dataset.mpii import GT_FILE, load_mpii
from lib.dataset.multiview_dataset import EpochBatches, MultiviewDataset, Part
from lib.dataset.sample import SampleSettings
from lib.utils.errors import InputError, unknown_name
from lib.utils.parallel.processes import leave_ending_to_parent
from lib.utils.parallel.ranks import SINGLE, Ranks

logger = logging.getLogger(__name__)

PSEUDO_GROUP_VIEWS = 4  # of multiview_mpii alone; in a mixture it follows the multi-view part


def _multiview(config: Any, root: Any, subset: str, is_train: bool) -> list[Part]:
    return [Part(*build_groups(config, root, is_train), True)]


def _h36m(config: Any, root: Any, subset: str, is_train: bool) -> list[Part]:
    annotations, groups = build_groups(config, root, is_train)
    if is_train:
        return [Part(annotations, groups, False, random_view=True)]
    return [Part(annotations, groups.reshape(-1, 1), False)]  # every view, so that it can be evaluated


def _mpii(config: Any, root: Any, subset: str, is_train: bool) -> list[Part]:
    annotations = load_mpii(root, subset)
    return [Part(annotations, group_singles(annotations, 1), False)]


def _multiview_mpii(config: Any, root: Any, subset: str, is_train: bool) -> list[Part]:
    annotations = load_mpii(root, subset)
    return [Part(annotations, group_singles(annotations, PSEUDO_GROUP_VIEWS, complete=not is_train), False)]


def _mixed(config: Any, root: Any, subset: str, is_train: bool) -> list[Part]:
    (multiview,) = _multiview(config, root, subset, is_train)
    singles = load_mpii(root, subset)
    groups = group_singles(singles, multiview.groups.shape[1], complete=not is_train)
    return [multiview, Part(singles, groups, False)]


_BUILDERS = {
    "h36m": _h36m,
    "multiview_h36m": _multiview,
    "multiview_totalcapture": _multiview,
    "mpii": _mpii,
    "multiview_mpii": _multiview_mpii,
    "mixed": _mixed,
}


def build_dataset(config: Any, root: Any, is_train: bool) -> MultiviewDataset:
    """Make DATASET.TRAIN_DATASET or DATASET.TEST_DATASET.

    Args:
        config: the configuration.
        root: DATA_DIR/DATASET.ROOT.
        is_train: training (augmentation, TRAIN_STEP) or validation.

    Raises:
        InputError: unknown name, unreadable annotation, no group left, no head sizes where TEST.JDR_THRESHOLD needs
            them.
    """
    name = config.DATASET.TRAIN_DATASET if is_train else config.DATASET.TEST_DATASET
    subset = config.DATASET.TRAIN_SUBSET if is_train else config.DATASET.TEST_SUBSET
    if name not in _BUILDERS:
        raise unknown_name("data set", name, _BUILDERS)
    settings = SampleSettings(
        image_wh=tuple(config.NETWORK.IMAGE_SIZE),
        heatmap_wh=tuple(config.NETWORK.HEATMAP_SIZE),
        sigma=config.NETWORK.SIGMA,
        target_subpixel=config.NETWORK.TARGET_SUBPIXEL,
        data_format=config.DATASET.DATA_FORMAT,
        scale_factor=config.DATASET.SCALE_FACTOR,
        rot_factor=config.DATASET.ROT_FACTOR,
        shift_factor=config.DATASET.SHIFT_FACTOR,
    )
    parts = _BUILDERS[name](config, root, subset, is_train)
    dataset = MultiviewDataset(parts, settings, augment=is_train, seed=config.SEED)
    if not is_train:
        _check_heads(config, dataset)
    return dataset


def _check_heads(config: Any, dataset: MultiviewDataset) -> None:
    """Say why there will be no PCKh, or that TEST.JDR_THRESHOLD cannot be had."""
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


def build_loader(config: Any, dataset: MultiviewDataset, is_train: bool, ranks: Ranks = SINGLE) -> DataLoader:
    """Make a loader of one rank's share of the batches.

    Keys as in MultiviewDataset with a leading axis B, as torch tensors. The batch sampler is an EpochBatches: call
    `loader.batch_sampler.set_epoch()` before each training epoch. BATCH_SIZE is that of each rank, WORKERS are shared
    by the ranks of a machine, as the published single process has them for all its GPUs.
    """
    batch_size = config.TRAIN.BATCH_SIZE if is_train else config.TEST.BATCH_SIZE
    shuffle = is_train and config.TRAIN.SHUFFLE
    workers = math.ceil(config.WORKERS / ranks.local_world_size)
    batches = EpochBatches(len(dataset), batch_size, shuffle, config.SEED, ranks, every_item=not is_train)
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
        generator=torch.Generator(),  # else each pass takes a number of torch's own, and a resumed epoch is two passes
    )


def _start_worker(worker_idx: int) -> None:
    cv2.setNumThreads(0)  # the processes are the parallelism
    leave_ending_to_parent()  # which finishes its step and writes a checkpoint; signals reach all of a group
