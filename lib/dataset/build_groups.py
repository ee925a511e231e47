"""Configuration -> annotations of a multi-view data set and its groups. Imports no torch.

To add a data set, name its loader in _LOADERS.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lib.dataset.annotations import Annotations
from lib.dataset.conventions import Conventions, check_rotations
from lib.dataset.groups import group_views, parse_scenes, without_scenes
from lib.dataset.h36m import load_h36m
from lib.utils.checks import InputError

# data set -> loader of its multi-view part
_LOADERS = {
    "h36m": load_h36m,
    "multiview_h36m": load_h36m,
    "mixed": load_h36m,
}
MULTIVIEW_NAMES = tuple(_LOADERS)


def conventions_of(config: Any) -> Conventions:
    """Return what DATASET says about the file's lengths and camera positions."""
    keys = config.DATASET
    return Conventions(keys.POSE_UNIT, keys.CAMERA_UNIT, keys.CAMERA_T)


def load_multiview(config: Any, name: str, root: Any, subset: str, check: bool = True) -> Annotations:
    """Read the multi-view part of a data set, in mm and with camera centres.

    Args:
        config: the configuration: CROP, and the units and the meaning of T.
        name: one of MULTIVIEW_NAMES.
        root: DATA_DIR/DATASET.ROOT.
        subset: "train" or "validation".
        check: refuse cameras whose R is no rotation.

    Raises:
        InputError: the data set has no views that belong together; unreadable annotation; impossible camera.
    """
    if name not in _LOADERS:
        raise InputError(f"'{name}' has no calibrated views; expected one of {', '.join(MULTIVIEW_NAMES)}")
    annotations = _LOADERS[name](root, subset, config.DATASET.CROP, conventions_of(config))
    if check:
        try:
            check_rotations(annotations.labels3d.cameras)
        except InputError as error:
            raise InputError(f"{annotations.images_dir.parent}: {subset}: {error}; run/data/check.py finds the "
                             "cause") from None  # fmt: skip
    return annotations


def build_groups(config: Any, root: Any, is_train: bool) -> tuple[Annotations, np.ndarray]:
    """Read a multi-view data set and choose the groups that are trained on or evaluated.

    Args:
        config: the configuration.
        root: DATA_DIR/DATASET.ROOT.
        is_train: TRAIN_DATASET, TRAIN_SUBSET and TRAIN_STEP, or those of TEST and TEST_EXCLUDE. The excluded groups
            are taken out of those that TEST_STEP keeps, so that the others are those of the whole evaluation.

    Returns:
        The annotations, and (G, V) their rows.

    Raises:
        InputError: as of load_multiview() and group_views().
    """
    keys = config.DATASET
    name, subset = (keys.TRAIN_DATASET, keys.TRAIN_SUBSET) if is_train else (keys.TEST_DATASET, keys.TEST_SUBSET)
    annotations = load_multiview(config, name, root, subset)
    groups = group_views(annotations, keys.INCOMPLETE_GROUPS, keys.CAMERAS)
    if is_train:
        return annotations, groups[:: keys.TRAIN_STEP]
    return annotations, without_scenes(annotations, groups[:: keys.TEST_STEP], parse_scenes(keys.TEST_EXCLUDE))
