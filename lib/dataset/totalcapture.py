"""Total Capture in the form of its toolbox: where its files are, the split of the paper, its actions."""

from __future__ import annotations

import logging
import operator
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lib.dataset.annotations import Annotations
from lib.dataset.conventions import PUBLISHED, Conventions
from lib.dataset.groups import Scene
from lib.dataset.protocol import TOTALCAPTURE_ACTIONS, EvaluationProtocol
from lib.dataset.storage.h36m_pickle import SUBSETS, annotation_path, column, load_records, to_annotations
from lib.dataset.storage.memmap import AnnotationFile, open_annotations
from lib.utils.errors import InputError, unknown_name
from lib.utils.joints import TOTALCAPTURE_16

logger = logging.getLogger(__name__)

_ROM, _WALKING, _ACTING, _RUNNING, _FREESTYLE = TOTALCAPTURE_ACTIONS  # the ids
TRAIN_SUBJECTS = (1, 2, 3)
TEST_SUBJECTS = (1, 2, 3, 4, 5)
# Source: Trumble et al., BMVC 2017 (the data set); the paper has the same split.
TRAIN_RECORDINGS = (
    (_ROM, 1),
    (_ROM, 2),
    (_ROM, 3),
    (_WALKING, 1),
    (_WALKING, 3),
    (_ACTING, 1),
    (_ACTING, 2),
    (_RUNNING, 1),
    (_FREESTYLE, 1),
    (_FREESTYLE, 2),
)
TEST_RECORDINGS = {"W2": (_WALKING, 2), "FS3": (_FREESTYLE, 3), "A3": (_ACTING, 3)}
SPLIT: dict[str, frozenset[Scene]] = {
    subset: frozenset((subject, *recording) for subject in subjects for recording in recordings)
    for subset, subjects, recordings in (
        ("train", TRAIN_SUBJECTS, TRAIN_RECORDINGS),
        ("validation", TEST_SUBJECTS, TEST_RECORDINGS.values()),
    )
}
PROTOCOL = EvaluationProtocol(TOTALCAPTURE_ACTIONS, TEST_RECORDINGS, TRAIN_SUBJECTS)


def totalcapture_file(
    root: str | os.PathLike,
    subset: str,
    crop: bool = True,
    conventions: Conventions = PUBLISHED,
    file_actions: Sequence[str] = tuple(TOTALCAPTURE_ACTIONS.values()),
) -> AnnotationFile:
    """Return ROOT/totalcapture/annot/totalcapture_<subset>.pkl; the arguments are those of load_totalcapture().

    Raises:
        InputError: an unknown subset, or actions that are not Total Capture's.
    """
    subset = SUBSETS.get(subset, subset)
    if subset not in SPLIT:
        raise unknown_name("subset of Total Capture", subset, SPLIT)
    path = annotation_path(root, "totalcapture", subset, crop)
    numbers = _numbers(file_actions)

    def read() -> Annotations:
        records = load_records(path)
        _unify_actions(records, numbers, path)
        records = _of_split(records, subset, path)
        return to_annotations(records, path, "totalcapture", TOTALCAPTURE_16, conventions, PROTOCOL)

    made_with = {**asdict(conventions), "actions": list(file_actions)}
    return AnnotationFile(path, TOTALCAPTURE_16, PROTOCOL, made_with, read)


def load_totalcapture(
    root: str | os.PathLike,
    subset: str,
    crop: bool = True,
    conventions: Conventions = PUBLISHED,
    file_actions: Sequence[str] = tuple(TOTALCAPTURE_ACTIONS.values()),
) -> Annotations:
    """Read ROOT/totalcapture/annot/totalcapture_<subset>.pkl, or the arrays made of it: the paper's split.

    Args:
        root: folder that holds `totalcapture/`.
        subset: "train" or "validation" (also "valid").
        crop: boxes around the person; otherwise the `_uncrop` file with the whole image as box.
        conventions: what the file's lengths and camera positions mean.
        file_actions: names of the actions that the file numbers 1, 2, ...; where its records hold names, these count.

    Returns:
        The annotations in the order of the file; action ids are those of TOTALCAPTURE_ACTIONS, whatever the file's.

    Raises:
        InputError: file missing, cut off or refused; a record without an entry or with another shape; an unknown
            subset or action; no recording of the split.
    """
    return open_annotations(totalcapture_file(root, subset, crop, conventions, file_actions))


def _numbers(file_actions: Sequence[str]) -> dict[int, int]:
    """Return the file's number of an action -> ours."""
    ours = {name.lower(): action for action, name in TOTALCAPTURE_ACTIONS.items()}
    names = [name.lower() for name in file_actions]
    if not set(names) <= ours.keys() or len(set(names)) != len(names):
        raise InputError(
            f"DATASET.TOTALCAPTURE_ACTIONS: expected different names out of "
            f"{', '.join(TOTALCAPTURE_ACTIONS.values())}, received {list(file_actions)}"
        )
    return {number: ours[name] for number, name in enumerate(names, 1)}


def _unify_actions(records: Sequence[dict], numbers: Mapping[int, int], path: Path) -> None:
    """Replace the records' actions, names or numbers of the file, by the ids of TOTALCAPTURE_ACTIONS."""
    by_name = {name.lower(): action for action, name in TOTALCAPTURE_ACTIONS.items()}
    unknown: dict[str, None] = {}  # in the order in which they come
    for record in records:
        if "action" not in record:
            continue  # column() names the record
        given = record["action"]
        action = by_name.get(given.lower()) if isinstance(given, str) else numbers.get(_integer(given))
        if action is None:
            unknown[str(given)] = None
        else:
            record["action"] = action
    if unknown:
        known = ", ".join(f"{number} {TOTALCAPTURE_ACTIONS[action]}" for number, action in numbers.items())
        raise InputError(
            f"{path}: unknown actions {', '.join(unknown)}; expected names or numbers of {known} "
            "(DATASET.TOTALCAPTURE_ACTIONS)"
        )


def _integer(value: Any) -> int | None:
    try:
        return operator.index(value)
    except TypeError:
        return None


def _of_split(records: Sequence[dict], subset: str, path: Path) -> list[dict]:
    """Return the records of the split's recordings; a warning says what else there was."""
    ids = [column(records, key, (), np.int32, path) for key in ("subject", "action", "subaction")]
    scenes, scene_of = np.unique(np.stack(ids, 1), axis=0, return_inverse=True)  # (recordings, 3), (M,)
    inside = np.array([tuple(scene) in SPLIT[subset] for scene in scenes.tolist()])
    if not inside.any():
        raise InputError(
            f"{path}: no recording of the paper's split for '{subset}' ({_listing(SPLIT[subset])}); the "
            f"file holds {_listing(scenes.tolist())}"
        )
    keep = inside[scene_of.ravel()]
    if not keep.all():
        others = scenes[~inside].tolist()
        logger.warning(
            "%s: %d of %d images left out, of %d recordings outside the paper's split for '%s': %s",
            path,
            np.count_nonzero(~keep),
            len(keep),
            len(others),
            subset,
            _listing(others),
        )
    return [record for record, wanted in zip(records, keep, strict=True) if wanted]


def _listing(scenes: Collection[Iterable[int]]) -> str:
    """Name recordings, e.g. "Walking 2 (S1 S4), Acting 3 (S2)"."""
    subjects: dict[tuple[int, int], list[int]] = {}
    for subject, *recording in sorted(map(tuple, scenes)):
        subjects.setdefault(tuple(recording), []).append(subject)
    return ", ".join(
        f"{PROTOCOL.recording_name(*recording)} ({' '.join(f'S{subject}' for subject in subjects[recording])})"
        for recording in sorted(subjects)
    )
