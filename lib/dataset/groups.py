"""Images that show one instant, and unrelated images put together, as groups of views."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from lib.dataset.annotations import Annotations
from lib.dataset.h36m import DAMAGED_SCENES
from lib.utils.errors import InputError

logger = logging.getLogger(__name__)

Scene = tuple[int, int, int]  # subject, action, sub-action
DAMAGED = "damaged"  # stands for DAMAGED_SCENES of Human3.6M


@dataclass(frozen=True)
class Part:
    """Groups out of one source.

    Attributes:
        annotations: the images.
        groups: (G, V) rows of the annotations.
        is_multiview: the views show one instant, so fusion has a meaning.
        random_view: yield one random view of each group instead of all.
    """

    annotations: Annotations
    groups: np.ndarray
    is_multiview: bool
    random_view: bool = False


def parse_scenes(texts: Sequence[str]) -> set[Scene]:
    """Turn the entries of DATASET.TEST_EXCLUDE into recordings.

    Args:
        texts: "damaged" or SUBJECT-ACTION-SUBACTION, e.g. "9-5-2".

    Raises:
        InputError: an entry is neither.
    """
    scenes: set[Scene] = set()
    for text in texts:
        if text == DAMAGED:
            scenes |= set(DAMAGED_SCENES)
            continue
        parts = text.split("-")
        if len(parts) != 3 or not all(part.isascii() and part.isdecimal() for part in parts):
            raise InputError(
                f"DATASET.TEST_EXCLUDE: expected '{DAMAGED}' or SUBJECT-ACTION-SUBACTION such as 9-5-2, "
                f"received '{text}'"
            )
        scenes.add((int(parts[0]), int(parts[1]), int(parts[2])))
    return scenes


def group_views(annotations: Annotations, incomplete: str = "drop", camera_ids: Sequence[int] = ()) -> np.ndarray:
    """Collect the images of one instant, ordered by camera.

    Args:
        annotations: images with 3D labels.
        incomplete: groups that lack a view: "drop" (with one warning) or "error".
        camera_ids: which cameras, in this order; () = all, ascending.

    Returns:
        (G, V) int64 rows of the annotations, groups in the order of their first image, V = number of cameras.

    Raises:
        InputError: an unknown camera, fewer than 2 views, no complete group, two images of one view in a group, or,
            where asked for, an incomplete group.
    """
    labels = annotations.labels3d
    where = annotations.images_dir.parent
    rows, view_idx, num_views = _views(labels.camera_id, camera_ids, str(where))
    keys = np.stack([ids[rows] for ids in (labels.subject, labels.action, labels.subaction, labels.frame)])
    _, first, group_of = np.unique(_one_key(keys), return_index=True, return_inverse=True)
    groups = np.full((len(first), num_views), -1, np.int64)
    groups[group_of, view_idx] = rows
    if np.count_nonzero(groups >= 0) != len(rows):
        raise InputError(f"{where}: two images share subject, action, subaction, image_id and camera_id")
    groups = groups[np.argsort(first)]
    complete = (groups >= 0).all(1)
    if not complete.all():
        example = annotations.image_name(groups[~complete][0].max())
        lacking = f"{np.count_nonzero(~complete)} of {len(groups)} groups lack a view"
        text = f"{where}: {lacking} of the {num_views} (the first has '{example}')"
        if incomplete == "error" or not complete.any():
            raise InputError(f"{text}; every group needs an image of each camera_id")
        logger.warning("%s; dropped", text)
    return groups[complete]


def _views(camera_id: np.ndarray, camera_ids: Sequence[int], where: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the rows of the wanted cameras, which view each of them is, and the number of views."""
    known, view_idx = np.unique(camera_id, return_inverse=True)
    rows = np.arange(len(camera_id))
    if len(camera_ids):
        missing = sorted(set(camera_ids) - set(known.tolist()))
        if missing or len(set(camera_ids)) != len(camera_ids):
            raise InputError(
                f"{where}: DATASET.CAMERAS: expected different camera_id out of {known.tolist()}, "
                f"received {list(camera_ids)}"
            )
        place = np.full(len(known), -1)
        place[np.searchsorted(known, camera_ids)] = np.arange(len(camera_ids))
        rows = rows[place[view_idx] >= 0]
        view_idx = place[view_idx[rows]]
        known = np.asarray(camera_ids)
    if len(known) < 2:
        raise InputError(f"{where}: the annotation has 1 view (camera_id); cross-view methods need at least 2")
    return rows, view_idx, len(known)


def _one_key(columns: np.ndarray) -> np.ndarray:
    """Combine integer columns (K, M) into (M,) keys that are equal where all columns are."""
    key = np.zeros(columns.shape[1], np.int64)
    for column in columns:
        values, index = np.unique(column, return_inverse=True)
        key = key * len(values) + index
        if key.max() * 1.0 * len(values) > 2**40:  # keep room for the next column
            key = np.unique(key, return_inverse=True)[1]
    return key


def without_scenes(annotations: Annotations, groups: np.ndarray, scenes: Collection[Scene]) -> np.ndarray:
    """Leave out the groups of some recordings.

    Args:
        annotations: images with 3D labels.
        groups: (G, V) rows.
        scenes: (subject, action, sub-action) of the recordings.

    Returns:
        (K, V) the other groups.

    Raises:
        InputError: none is left.
    """
    labels = annotations.labels3d
    first = groups[:, 0]
    ids = np.stack([labels.subject[first], labels.action[first], labels.subaction[first]], 1)
    out = np.zeros(len(groups), bool)
    for scene in scenes:
        out |= (ids == scene).all(1)
    if out.all() and len(out):
        raise InputError(f"{annotations.images_dir.parent}: DATASET.TEST_EXCLUDE leaves no group to evaluate")
    return groups[~out]


def group_singles(annotations: Annotations, num_views: int = 4, complete: bool = False) -> np.ndarray:
    """Put unrelated images together in pseudo-groups, so that they fit a multi-view batch.

    Args:
        annotations: single images.
        num_views: images per pseudo-group.
        complete: fill the last pseudo-group with images from the front, for an evaluation of every image;
            otherwise the remainder is left out.

    Returns:
        (G, num_views) int64 rows, in order.

    Raises:
        InputError: fewer images than views where the remainder is left out.
    """
    num_images = len(annotations)
    num_groups = -(-num_images // num_views) if complete else num_images // num_views
    if num_groups == 0:
        raise InputError(f"{annotations.images_dir.parent}: {num_images} images, need at least {num_views}")
    return np.resize(np.arange(num_images), (num_groups, num_views))
