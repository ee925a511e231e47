"""Annotations as arrays on disk, mapped into memory: they open at once, and all processes share them.

A folder beside the pickle, h36m_train.arrays for h36m_train.pkl: one .npy file per array and meta.json. Lengths are
in mm and T is the camera centre, whatever the pickle states.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lib.dataset.annotations import Annotations, PoseLabels
from lib.dataset.protocol import Protocol
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


@dataclass(frozen=True)
class AnnotationFile:
    """A pickle of records and what it becomes.

    Attributes:
        path: the published file.
        joint_set: the joints that the data set annotates.
        protocol: names of the recordings, and what results are split into.
        made_with: what else the annotations depend on: units, meaning of T, ...; plain values.
        read: reads the pickle.
    """

    path: Path
    joint_set: JointSet
    protocol: Protocol
    made_with: dict[str, Any]
    read: Callable[[], Annotations]

    @property
    def compact_folder(self) -> Path:
        """The folder of arrays that belongs to the pickle."""
        return self.path.with_suffix(".arrays")


def _fingerprint(path: Path) -> list[Any]:
    """Tell versions of a file apart by its size, beginning and end; times differ between copies."""
    size = path.stat().st_size
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        digest.update(file.read(_SAMPLE_BYTES))
        file.seek(max(0, size - _SAMPLE_BYTES))
        digest.update(file.read())
    return [size, digest.hexdigest()]


def save_compact(annotations: Annotations, file: AnnotationFile) -> None:
    """Write the folder of arrays beside a pickle, atomically.

    Args:
        annotations: what the pickle becomes, with 3D labels.
        file: the pickle; its fingerprint is stored, so that a pickle made anew is noticed.

    Raises:
        InputError: the disk refuses.
    """
    labels = annotations.labels3d
    arrays = {name: getattr(annotations, name) for name in _IMAGE_ARRAYS}
    arrays |= {name: getattr(labels, name) for name in _LABEL_ARRAYS}
    arrays |= {f"camera_{name}": getattr(labels.cameras, name) for name in _CAMERA_ARRAYS}
    with atomic_directory(file.compact_folder) as partial_folder:
        for name, array in arrays.items():
            np.save(partial_folder / f"{name}.npy", array, allow_pickle=False)
        write_json(partial_folder / _META, {
            "version": _VERSION,
            "source": annotations.source,
            "num_images": len(annotations),
            "joint_names": list(annotations.joint_set.names),
            "made_with": file.made_with,
            "pickle": _fingerprint(file.path),
        })  # fmt: skip


def open_compact(folder: Path, joint_set: JointSet, protocol: Protocol) -> Annotations:
    """Map a folder of arrays into memory.

    Args:
        folder: of save_compact(); the images are below images/ beside its parent.
        joint_set: the joints that the data set annotates.
        protocol: names of the recordings, and what results are split into.

    Returns:
        The annotations; their arrays are read-only and read from disk when they are used.

    Raises:
        InputError: a file is missing, cut off, of another version or for other joints.
    """
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
        images_dir=folder.parents[1] / "images",
        **{name: arrays[name] for name in _IMAGE_ARRAYS},
        labels3d=PoseLabels(**{name: arrays[name] for name in _LABEL_ARRAYS}, cameras=cameras, protocol=protocol),
        reopen=partial(open_compact, folder, joint_set, protocol),
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


def open_annotations(file: AnnotationFile) -> Annotations:
    """Open the arrays beside a pickle where they are there and belong to it, otherwise read the pickle.

    Args:
        file: the pickle; it may be absent where the arrays are there.

    Raises:
        InputError: as of file.read() and open_compact(), or the arrays were made with other settings.
    """
    folder = file.compact_folder
    if folder.is_dir():
        meta = read_json(folder / _META)
        if not file.path.exists() or _fingerprint(file.path) == meta.get("pickle"):
            if meta.get("made_with") != file.made_with:
                raise InputError(f"{folder}: made with {meta.get('made_with')}, the configuration says "
                                 f"{file.made_with}; {REMAKE}")  # fmt: skip
            return open_compact(folder, file.joint_set, file.protocol)
        logger.warning("%s does not belong to %s and is not used; %s", folder, file.path.name, REMAKE)
    annotations = file.read()
    if len(annotations) >= LARGE:
        logger.info("%s: %d records; run/data/compact_annotations.py makes a form of it that opens at once and is "
                    "shared by all processes", file.path, len(annotations))  # fmt: skip
    return annotations
