"""Groups of views of one moment, and pseudo-groups of unrelated images."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from lib.dataset.annotations import Annotations
from lib.dataset.h36m import DAMAGED_SCENES
from lib.utils.errors import InputError

logger = logging.getLogger(__name__)

Scene = tuple[int, int, int]  # subject, action, subaction
DAMAGED = "damaged"  # DAMAGED_SCENES of Human3.6M


@dataclass(frozen=True)
class Part:
    """Groups of one source.

    Attributes:
        annotations: images.
        groups: (G, V) rows of the annotations.
        is_multiview: whether the views of a group show the same moment, so that they can be fused.
        random_view: whether an item is one random view of a group instead of all views.
    """

    annotations: Annotations
    groups: np.ndarray
    is_multiview: bool
    random_view: bool = False


def parse_scenes(texts: Sequence[str]) -> set[Scene]:
    """Parse the entries of DATASET.TEST_EXCLUDE: "damaged" or SUBJECT-ACTION-SUBACTION, e.g. "9-5-2".

    Raises:
        InputError: an entry has another form.
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
    """Group the images of the same moment, ordered by camera.

    Args:
        annotations: images with 3D labels.
        incomplete: how to handle groups that lack a view: "drop" (with one warning) or "error".
        camera_ids: cameras to use, in this order; () = all, ascending.

    Returns:
        (G, V) int64 rows of the annotations, in the order of the groups' first images.

    Raises:
        InputError: unknown camera, fewer than 2 views, no complete group, or two images of one view in a group; with
            "error", also an incomplete group.
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
    """Return the rows of the selected cameras, the view index of each row, and the number of views."""
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
        raise InputError(f"{where}: expected at least 2 views (camera_id), received 1")
    return rows, view_idx, len(known)


def _one_key(columns: np.ndarray) -> np.ndarray:
    """Combine integer columns (K, M) to keys (M,) that are equal if all columns are."""
    key = np.zeros(columns.shape[1], np.int64)
    for column in columns:
        values, index = np.unique(column, return_inverse=True)
        key = key * len(values) + index
        if key.max() * 1.0 * len(values) > 2**40:  # avoid an overflow by the next column
            key = np.unique(key, return_inverse=True)[1]
    return key


def without_scenes(annotations: Annotations, groups: np.ndarray, scenes: Collection[Scene]) -> np.ndarray:
    """Return the groups (G, V) that do not belong to the given recordings.

    Raises:
        InputError: no group is left.
    """
    labels = annotations.labels3d
    first = groups[:, 0]
    ids = np.stack([labels.subject[first], labels.action[first], labels.subaction[first]], 1)
    excluded = np.zeros(len(groups), bool)
    for scene in scenes:
        excluded |= (ids == scene).all(1)
    if excluded.all() and len(excluded):
        raise InputError(f"{annotations.images_dir.parent}: DATASET.TEST_EXCLUDE leaves no group to evaluate")
    return groups[~excluded]


def of_subjects(annotations: Annotations, groups: np.ndarray, subjects: Collection[int]) -> np.ndarray:
    """Return which groups (G, V) belong to subjects of DATASET.HELD_OUT_SUBJECTS, (G,) bool.

    Raises:
        InputError: a subject has no group, or no other subject is left.
    """
    of_groups = annotations.labels3d.subject[groups[:, 0]]
    known = set(of_groups.tolist())
    if not set(subjects) < known:
        raise InputError(
            f"{annotations.images_dir.parent}: DATASET.HELD_OUT_SUBJECTS: expected some of the training subjects "
            f"{sorted(known)}, but not all, received {list(subjects)}"
        )
    return np.isin(of_groups, list(subjects))


def group_singles(annotations: Annotations, num_views: int = 4, complete: bool = False) -> np.ndarray:
    """Combine unrelated images to pseudo-groups, so that they fit a multi-view batch.

    Args:
        annotations: single images.
        num_views: images per pseudo-group.
        complete: fill the last pseudo-group with the first images, so that every image is evaluated. Otherwise the
            remainder is dropped.

    Returns:
        (G, num_views) int64 rows, in order.

    Raises:
        InputError: fewer images than `num_views` if the remainder is dropped.
    """
    num_images = len(annotations)
    num_groups = -(-num_images // num_views) if complete else num_images // num_views
    if num_groups == 0:
        raise InputError(
            f"{annotations.images_dir.parent}: expected at least {num_views} images, received {num_images}"
        )
    return np.resize(np.arange(num_images), (num_groups, num_views))
