"""Total Capture in the format of its toolbox, with the split of the paper."""

import logging
import operator
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lib.dataset.annotations import Annotations
from lib.dataset.conventions import ORIGINAL_CONVENTIONS, Conventions
from lib.dataset.groups import Scene
from lib.dataset.protocol import TOTALCAPTURE_ACTIONS, EvaluationProtocol
from lib.dataset.storage.h36m_pickle import SUBSETS, annotation_path, column, load_records, to_annotations
from lib.dataset.storage.memmap import AnnotationFile
from lib.utils.errors import InputError, unknown_name
from lib.utils.joints import TOTALCAPTURE_16

logger = logging.getLogger(__name__)

TRAIN_SUBJECTS = (1, 2, 3)
TEST_SUBJECTS = (1, 2, 3, 4, 5)
_ROM, _WALKING, _ACTING, _RUNNING, _FREESTYLE = TOTALCAPTURE_ACTIONS  # the ids
# action -> subactions. Source: Trumble et al., BMVC 2017 (the data set); the paper has the same split.
_TRAIN_SUBACTIONS = {_ROM: (1, 2, 3), _WALKING: (1, 3), _ACTING: (1, 2), _RUNNING: (1,), _FREESTYLE: (1, 2)}
TRAIN_RECORDINGS = tuple((action, subaction) for action, ids in _TRAIN_SUBACTIONS.items() for subaction in ids)
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
    conventions: Conventions = ORIGINAL_CONVENTIONS,
    file_actions: Sequence[str] = tuple(TOTALCAPTURE_ACTIONS.values()),
) -> AnnotationFile:
    """Return ROOT/totalcapture/annot/totalcapture_<subset>.pkl, restricted to the split of the paper.

    Args:
        root: folder that holds `totalcapture/`.
        subset: "train" or "validation" (also "valid").
        crop: True for boxes around the person; False for the `_uncrop` file, whose boxes are the whole images.
        conventions: units and camera convention of the file.
        file_actions: action names for the file's numbers 1, 2, ...; ignored for records with action names. Annotations
            have the ids of TOTALCAPTURE_ACTIONS.

    Raises:
        InputError: the folder is missing, the subset is unknown, or an action is not one of Total Capture.
    """
    subset = SUBSETS.get(subset, subset)
    if subset not in SPLIT:
        raise unknown_name("subset of Total Capture", subset, SPLIT)
    path = annotation_path(root, "totalcapture", subset, crop)
    action_ids = _action_ids(file_actions)

    def read() -> Annotations:
        records = load_records(path)
        _unify_actions(records, action_ids, path)
        records = _select_split(records, subset, path)
        return to_annotations(records, path, "totalcapture", TOTALCAPTURE_16, conventions, PROTOCOL)

    made_with = {**asdict(conventions), "actions": list(file_actions)}
    return AnnotationFile(path, TOTALCAPTURE_16, PROTOCOL, made_with, read)


def _action_ids(file_actions: Sequence[str]) -> dict[int, int]:
    """Return the file's number of an action -> id in TOTALCAPTURE_ACTIONS."""
    ids = {name.lower(): action for action, name in TOTALCAPTURE_ACTIONS.items()}
    names = [name.lower() for name in file_actions]
    if not set(names) <= ids.keys() or len(set(names)) != len(names):
        raise InputError(
            f"DATASET.TOTALCAPTURE_ACTIONS: expected different names out of "
            f"{', '.join(TOTALCAPTURE_ACTIONS.values())}, received {list(file_actions)}"
        )
    return {number: ids[name] for number, name in enumerate(names, 1)}


def _unify_actions(records: Sequence[dict], action_ids: Mapping[int, int], path: Path) -> None:
    """Replace the actions of records, names or numbers of the file, by the ids of TOTALCAPTURE_ACTIONS."""
    by_name = {name.lower(): action for action, name in TOTALCAPTURE_ACTIONS.items()}
    unknown: dict[str, None] = {}  # in order of occurrence
    for record in records:
        if "action" not in record:
            continue  # column() raises the error
        value = record["action"]
        action = by_name.get(value.lower()) if isinstance(value, str) else action_ids.get(_integer(value))
        if action is None:
            unknown[str(value)] = None
        else:
            record["action"] = action
    if unknown:
        known = ", ".join(f"{number} {TOTALCAPTURE_ACTIONS[action]}" for number, action in action_ids.items())
        raise InputError(
            f"{path}: unknown actions {', '.join(unknown)}; expected names or numbers of {known} "
            "(DATASET.TOTALCAPTURE_ACTIONS)"
        )


def _integer(value: Any) -> int | None:
    try:
        return operator.index(value)
    except TypeError:
        return None


def _select_split(records: Sequence[dict], subset: str, path: Path) -> list[dict]:
    """Return the records of the split; log a warning that lists other recordings."""
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
            "%s: ignored %d of %d images, from %d recordings outside the paper's split for '%s': %s",
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
