"""Configuration -> annotations of a multi-view data set and its groups. Imports no torch.

To add a data set, add it to DATA_SETS here and a function to _BUILDERS in build.py; the configuration's choices and the
check follow from DATA_SETS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.dataset.annotations import Annotations
from lib.dataset.conventions import Conventions, check_rotations
from lib.dataset.groups import group_views, parse_scenes, without_scenes
from lib.dataset.h36m import h36m_file
from lib.dataset.storage.memmap import AnnotationFile, open_annotations
from lib.dataset.totalcapture import totalcapture_file
from lib.utils.errors import InputError


def _h36m(keys: Any, root: Any, subset: str, crop: bool, conventions: Conventions) -> AnnotationFile:
    return h36m_file(root, subset, crop, conventions)


def _totalcapture(keys: Any, root: Any, subset: str, crop: bool, conventions: Conventions) -> AnnotationFile:
    return totalcapture_file(root, subset, crop, conventions, keys.TOTALCAPTURE_ACTIONS)


@dataclass(frozen=True)
class DataSet:
    """What a data set consists of.

    Attributes:
        views_file: annotation file of its multi-view part, None = it has none; `keys` is the configuration's DATASET.
        has_mpii: whether MPII's single images are part of it.
    """

    views_file: Callable[[Any, Any, str, bool, Conventions], AnnotationFile] | None
    has_mpii: bool = False


DATA_SETS = {
    "h36m": DataSet(_h36m),
    "multiview_h36m": DataSet(_h36m),
    "multiview_totalcapture": DataSet(_totalcapture),
    "mpii": DataSet(None, has_mpii=True),
    "multiview_mpii": DataSet(None, has_mpii=True),
    "mixed": DataSet(_h36m, has_mpii=True),
}
MULTIVIEW_NAMES = tuple(name for name, parts in DATA_SETS.items() if parts.views_file is not None)


def annotation_file(config: Any, name: str, root: Any, subset: str, crop: bool) -> AnnotationFile:
    """Return the annotation file of the multi-view part of a data set.

    Args:
        config: the configuration: the units, the meaning of T, and the ids of Total Capture's actions.
        name: one of MULTIVIEW_NAMES.
        root: DATA_DIR/DATASET.ROOT.
        subset: "train" or "validation".
        crop: boxes around the person; otherwise the file with the whole image as box.

    Raises:
        InputError: the data set has no views that belong together, or there is no folder of it.
    """
    views_file = DATA_SETS[name].views_file if name in DATA_SETS else None
    if views_file is None:
        raise InputError(f"'{name}' has no calibrated views; expected one of {', '.join(MULTIVIEW_NAMES)}")
    keys = config.DATASET
    conventions = Conventions(keys.POSE_UNIT, keys.CAMERA_UNIT, keys.CAMERA_T)
    return views_file(keys, root, subset, crop, conventions)


def load_multiview(config: Any, name: str, root: Any, subset: str, check: bool = True) -> Annotations:
    """Read the multi-view part of a data set as DATASET.CROP says, in mm and with camera centres.

    Args:
        config, name, root, subset: as of annotation_file().
        check: refuse cameras whose R is no rotation.

    Raises:
        InputError: as of annotation_file(), unreadable annotation, or impossible camera.
    """
    annotations = open_annotations(annotation_file(config, name, root, subset, config.DATASET.CROP))
    if check:
        try:
            check_rotations(annotations.labels3d.cameras)
        except InputError as error:
            raise InputError(
                f"{annotations.images_dir.parent}: {subset}: {error}; run/data/check.py finds the cause"
            ) from None
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
