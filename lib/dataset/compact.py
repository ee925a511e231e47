"""Annotations as arrays on disk, mapped into memory: they open at once, and all processes share them.

A folder beside the pickle, h36m_train.arrays for h36m_train.pkl: one .npy file per array and meta.json. Lengths are
in mm and T is the camera centre, whatever the pickle states.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lib.dataset.annotations import Annotations, PoseLabels
from lib.dataset.conventions import Conventions
from lib.dataset.read_records import read_records
from lib.multiviews.cameras import Cameras
from lib.utils.checks import InputError
from lib.utils.files import atomic_directory, read_json, write_json
from lib.utils.joints import JointSet

logger = logging.getLogger(__name__)

REMAKE = "make it anew with run/data/compact_annotations.py"
LARGE = 200_000  # records from which a hint to this form pays
_VERSION = 1
_META = "meta.json"
_IMAGE_ARRAYS = ("image", "joints_img", "visible", "center", "scale")
_LABEL_ARRAYS = ("subject", "action", "subaction", "frame", "camera_id", "pose_cam", "camera_idx")
_CAMERA_ARRAYS = tuple(field.name for field in fields(Cameras))
_SAMPLE_BYTES = 1 << 20


def compact_path(pickle_path: Path) -> Path:
    """Return the folder of arrays that belongs to a pickle."""
    return pickle_path.with_suffix(".arrays")


def _fingerprint(path: Path) -> list[Any]:
    """Tell versions of a file apart by its size, beginning and end; times differ between copies."""
    size = path.stat().st_size
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        digest.update(file.read(_SAMPLE_BYTES))
        file.seek(max(0, size - _SAMPLE_BYTES))
        digest.update(file.read())
    return [size, digest.hexdigest()]


def save_compact(annotations: Annotations, pickle_path: Path, conventions: Conventions) -> Path:
    """Write the folder of arrays beside a pickle, atomically.

    Args:
        annotations: what the pickle holds, with 3D labels.
        pickle_path: the pickle; its fingerprint is stored, so that a pickle made anew is noticed.
        conventions: how the pickle was read.

    Returns:
        The folder.

    Raises:
        InputError: the disk refuses.
    """
    labels, folder = annotations.labels3d, compact_path(pickle_path)
    arrays = {name: getattr(annotations, name) for name in _IMAGE_ARRAYS}
    arrays |= {name: getattr(labels, name) for name in _LABEL_ARRAYS}
    arrays |= {f"camera_{name}": getattr(labels.cameras, name) for name in _CAMERA_ARRAYS}
    with atomic_directory(folder) as partial_folder:
        for name, array in arrays.items():
            np.save(partial_folder / f"{name}.npy", array, allow_pickle=False)
        write_json(partial_folder / _META, {
            "version": _VERSION,
            "source": annotations.source,
            "num_images": len(annotations),
            "joint_names": list(annotations.joint_set.names),
            "conventions": asdict(conventions),
            "pickle": _fingerprint(pickle_path),
        })  # fmt: skip
    return folder


def open_compact(folder: str | os.PathLike, images_dir: Path, joint_set: JointSet) -> Annotations:
    """Map a folder of arrays into memory.

    Args:
        folder: of save_compact().
        images_dir: folder of the images.
        joint_set: the joints that the data set annotates.

    Returns:
        The annotations; their arrays are read-only and read from disk when they are used.

    Raises:
        InputError: a file is missing, cut off, of another version or for other joints.
    """
    folder = Path(folder)
    meta = read_json(folder / _META)
    if not isinstance(meta, dict) or meta.get("version") != _VERSION:
        raise InputError(f"{folder}: arrays of another version; {REMAKE}")
    if meta.get("joint_names") != list(joint_set.names):
        raise InputError(f"{folder}: joints are {meta.get('joint_names')}, expected {list(joint_set.names)}; {REMAKE}")
    num_images = meta["num_images"]
    arrays = {name: _map(folder, name, num_images) for name in (*_IMAGE_ARRAYS, *_LABEL_ARRAYS)}
    cameras = Cameras(**{name: _map(folder, f"camera_{name}", None) for name in _CAMERA_ARRAYS})
    return Annotations(
        source=meta["source"],
        joint_set=joint_set,
        images_dir=images_dir,
        **{name: arrays[name] for name in _IMAGE_ARRAYS},
        labels3d=PoseLabels(**{name: arrays[name] for name in _LABEL_ARRAYS}, cameras=cameras),
        reopen=partial(open_compact, folder, images_dir, joint_set),
    )


def _map(folder: Path, name: str, length: int | None) -> np.ndarray:
    path = folder / f"{name}.npy"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: missing or cut off ({error}); {REMAKE}") from None
    if length is not None and len(array) != length:
        raise InputError(f"{path}: expected {length} rows, received {len(array)}; {REMAKE}")
    return np.asarray(array)  # a plain view: memmap's own type is slow to index


def load_annotations(
    pickle_path: Path, images_dir: Path, source: str, joint_set: JointSet, conventions: Conventions
) -> Annotations:
    """Open the arrays beside a pickle where they are there and belong to it, otherwise read the pickle.

    Args:
        pickle_path: the published file; it may be absent where the arrays are there.
        images_dir: folder of the images.
        source: name of the data set.
        joint_set: the joints, in the order of the pickle's arrays.
        conventions: what the pickle's lengths and camera positions mean.

    Returns:
        The annotations.

    Raises:
        InputError: as of read_records() and open_compact(), or the arrays were made with other conventions.
    """
    folder = compact_path(pickle_path)
    if folder.is_dir():
        meta = read_json(folder / _META)
        if not pickle_path.exists() or _fingerprint(pickle_path) == meta.get("pickle"):
            if meta.get("conventions") != asdict(conventions):
                raise InputError(f"{folder}: made for {meta.get('conventions')}, the configuration says "
                                 f"{asdict(conventions)}; {REMAKE}")  # fmt: skip
            return open_compact(folder, images_dir, joint_set)
        logger.warning("%s does not belong to %s and is not used; %s", folder, pickle_path.name, REMAKE)
    annotations = read_records(pickle_path, images_dir, source, joint_set, conventions)
    if len(annotations) >= LARGE:
        logger.info("%s: %d records; run/data/compact_annotations.py makes a form of it that opens at once and is "
                    "shared by all processes", pickle_path, len(annotations))  # fmt: skip
    return annotations
