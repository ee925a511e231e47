"""The registry of data sets; imports no torch.

To add a data set, write a function like `_h36m` and add an entry to DATA_SETS; the values of DATASET.TRAIN_DATASET and
DATASET.TEST_DATASET follow. `section` is the DATASET section of the configuration.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.dataset.annotations import Annotations
from lib.dataset.conventions import Conventions, check_rotations
from lib.dataset.groups import Part, group_singles, group_views, of_subjects, parse_scenes, without_scenes
from lib.dataset.h36m import h36m_file
from lib.dataset.mpii import load_mpii
from lib.dataset.storage.memmap import AnnotationFile, open_annotations
from lib.dataset.totalcapture import totalcapture_file
from lib.utils.errors import InputError, naming_part, unknown_name

logger = logging.getLogger(__name__)

Root = str | os.PathLike
FEW_GROUPS = 25  # an evaluation with TEST_STEP needs as many; 100 images of 4 views
PSEUDO_GROUP_VIEWS = 4  # images per group of multiview_mpii; in a mixture as many as the multi-view part has


@dataclass(frozen=True)
class DataSet:
    """A value of DATASET.TRAIN_DATASET and DATASET.TEST_DATASET.

    Attributes:
        views_file: (section, root, subset, crop) -> annotation file of the calibrated views; None = there are none.
        has_mpii: whether the single images of MPII are included.
        grouped: whether an item is a group of views. Otherwise an item is one image: a random view of each group in
            training, every view in validation.
    """

    views_file: Callable[[Any, Root, str, bool], AnnotationFile] | None = None
    has_mpii: bool = False
    grouped: bool = True


def _conventions(section: Any) -> Conventions:
    return Conventions(section.POSE_UNIT, section.CAMERA_UNIT, section.CAMERA_T)


def _h36m(section: Any, root: Root, subset: str, crop: bool) -> AnnotationFile:
    return h36m_file(root, subset, crop, _conventions(section))


def _totalcapture(section: Any, root: Root, subset: str, crop: bool) -> AnnotationFile:
    return totalcapture_file(root, subset, crop, _conventions(section), section.TOTALCAPTURE_ACTIONS)


DATA_SETS = {
    "h36m": DataSet(_h36m, grouped=False),
    "multiview_h36m": DataSet(_h36m),
    "multiview_totalcapture": DataSet(_totalcapture),
    "mpii": DataSet(has_mpii=True, grouped=False),
    "multiview_mpii": DataSet(has_mpii=True),
    "mixed": DataSet(_h36m, has_mpii=True),
}


def has_views(name: str) -> bool:
    """Return whether a data set has calibrated views."""
    return name in DATA_SETS and DATA_SETS[name].views_file is not None


def annotation_file(name: str, section: Any, root: Root, subset: str, crop: bool) -> AnnotationFile:
    """Return the annotation file of the calibrated views of a data set.

    Args:
        name: key of DATA_SETS.
        section: the DATASET section; POSE_UNIT, CAMERA_UNIT, CAMERA_T and TOTALCAPTURE_ACTIONS are read.
        root: DATA_DIR/DATASET.ROOT.
        subset: "train" or "validation".
        crop: True for boxes around the person, False for the whole image.

    Raises:
        InputError: the data set has no calibrated views, or its folder is missing.
    """
    if not has_views(name):
        expected = ", ".join(filter(has_views, DATA_SETS))
        raise InputError(f"'{name}' has no calibrated views; expected one of {expected}")
    with naming_part(f"data set {name}"):
        return DATA_SETS[name].views_file(section, root, subset, crop)


def load_multiview(name: str, section: Any, root: Root, subset: str, check: bool = True) -> Annotations:
    """Read the calibrated views of a data set, with the boxes that DATASET.CROP selects.

    Args:
        name, section, root, subset: see annotation_file().
        check: refuse cameras whose R is not a rotation.

    Returns:
        Annotations in mm, with camera centers as T.

    Raises:
        InputError: see annotation_file(); the annotation is unreadable, or R of a camera is not a rotation.
    """
    file = annotation_file(name, section, root, subset, section.CROP)
    with naming_part(f"data set {name}"):
        annotations = open_annotations(file)
        cameras = annotations.labels3d.cameras
    if check:
        try:
            check_rotations(cameras)
        except InputError as error:
            raise InputError(
                f"{annotations.images_dir.parent}: {subset}: {error}; run/data/check.py finds the cause"
            ) from None
    return annotations


def build_groups(section: Any, root: Root, is_train: bool) -> tuple[Annotations, np.ndarray]:
    """Read a multi-view data set and select its groups for training or evaluation.

    TEST_STEP is applied before TEST_EXCLUDE, so an evaluation without some recordings uses a subset of the groups of
    the full evaluation. Likewise TRAIN_STEP before HELD_OUT_SUBJECTS.

    Args:
        section: the DATASET section.
        root: DATA_DIR/DATASET.ROOT.
        is_train: use the TRAIN_ keys; otherwise the TEST_ keys.

    Returns:
        The annotations, and (G, V) rows of the annotations.

    Raises:
        InputError: see load_multiview(), group_views() and without_scenes().
    """
    annotations, groups = _all_groups(section, root, is_train)
    if is_train and section.HELD_OUT_SUBJECTS:
        is_held_out = of_subjects(annotations, groups, section.HELD_OUT_SUBJECTS)
        return annotations, groups[:: section.TRAIN_STEP][~is_held_out[:: section.TRAIN_STEP]]
    if is_train:
        return annotations, groups[:: section.TRAIN_STEP]
    selected = without_scenes(annotations, groups[:: section.TEST_STEP], parse_scenes(section.TEST_EXCLUDE))
    if section.TEST_STEP > 1 and len(selected) < FEW_GROUPS:
        logger.warning(
            "DATASET.TEST_STEP %d leaves %d of %d groups to evaluate, too few for a score; set it to %d",
            section.TEST_STEP,
            len(selected),
            len(groups),
            max(1, len(groups) // FEW_GROUPS),
        )
    return annotations, selected


def _all_groups(section: Any, root: Root, is_train: bool) -> tuple[Annotations, np.ndarray]:
    name, subset = _name_and_subset(section, is_train)
    annotations = load_multiview(name, section, root, subset)
    return annotations, group_views(annotations, section.INCOMPLETE_GROUPS, section.CAMERAS)


def held_out_parts(section: Any, root: Root) -> list[Part]:
    """Return every TEST_STEP-th group of HELD_OUT_SUBJECTS of the training set, for validation.

    Args:
        section, root: see build_groups().

    Raises:
        InputError: the training data have no subjects, or see of_subjects().
    """
    name = section.TRAIN_DATASET
    if not has_views(name):
        raise InputError(f"DATASET.HELD_OUT_SUBJECTS: {name} has no subjects; set it to '[]'")
    annotations, groups = _all_groups(section, root, True)
    groups = groups[of_subjects(annotations, groups, section.HELD_OUT_SUBJECTS)][:: section.TEST_STEP]
    grouped = DATA_SETS[name].grouped
    return [Part(annotations, groups if grouped else groups.reshape(-1, 1), grouped)]


def build_parts(section: Any, root: Root, is_train: bool) -> list[Part]:
    """Read TRAIN_DATASET or TEST_DATASET.

    Args:
        section, root, is_train: see build_groups().

    Returns:
        The calibrated views, if the data set has any, then the single images, if it has any.

    Raises:
        InputError: unknown data set, or see build_groups(), load_mpii() and group_singles().
    """
    name, subset = _name_and_subset(section, is_train)
    if name not in DATA_SETS:
        raise unknown_name("data set", name, DATA_SETS)
    data_set = DATA_SETS[name]
    num_views = PSEUDO_GROUP_VIEWS if data_set.grouped else 1
    parts = []
    if data_set.views_file is not None:
        annotations, groups = build_groups(section, root, is_train)
        if data_set.grouped:
            num_views = groups.shape[1]
        elif not is_train:
            groups = groups.reshape(-1, 1)
        parts.append(Part(annotations, groups, data_set.grouped, random_view=is_train and not data_set.grouped))
    if data_set.has_mpii:
        singles = load_mpii(root, subset)
        parts.append(Part(singles, group_singles(singles, num_views, complete=not is_train), False))
    return parts


def _name_and_subset(section: Any, is_train: bool) -> tuple[str, str]:
    if is_train:
        return section.TRAIN_DATASET, section.TRAIN_SUBSET
    return section.TEST_DATASET, section.TEST_SUBSET
