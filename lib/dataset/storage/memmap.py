"""Annotations as arrays on disk, mapped into memory: they open at once, and all processes share them.

A folder beside the pickle, h36m_train.arrays for h36m_train.pkl: one .npy file per array and meta.json. Lengths are
in mm and T is the camera centre, whatever the pickle states.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lib.dataset.annotations import Annotations, PoseLabels
from lib.dataset.protocol import EvaluationProtocol
from lib.multiviews.cameras import Cameras
from lib.utils.errors import InputError
from lib.utils.files.json_file import read_json, write_json
from lib.utils.joints import UNION_20, JointSet

logger = logging.getLogger(__name__)

REMAKE = "make it anew with run/data/compact_annotations.py"
LARGE = 200_000  # records from which a hint to this form pays
VERSION = 2
META = "meta.json"
IMAGE_ARRAYS = ("image", "joints_img", "visible", "center", "scale")
OPTIONAL_ARRAYS = ("occluded",)  # of some data sets; meta.json lists those that are there
LABEL_ARRAYS = ("subject", "action", "subaction", "frame", "camera_id", "pose_cam", "camera_idx")
CAMERA_ARRAYS = tuple(field.name for field in fields(Cameras))
# array -> kind of its numbers and shape of a row; "J": joints of the data set
_ROWS: dict[str, tuple[str, tuple[int | str, ...]]] = {
    "image": ("S", ()),
    "joints_img": ("f", (len(UNION_20), 2)),
    "visible": ("b", (len(UNION_20),)),
    "center": ("f", (2,)),
    "scale": ("f", (2,)),
    "occluded": ("b", (len(UNION_20),)),
    "pose_cam": ("f", ("J", 3)),
    **dict.fromkeys(("subject", "action", "subaction", "frame", "camera_id", "camera_idx"), ("i", ())),
    "camera_R": ("f", (3, 3)),
    "camera_T": ("f", (3,)),
    "camera_f": ("f", (2,)),
    "camera_c": ("f", (2,)),
    "camera_k": ("f", (3,)),
    "camera_p": ("f", (2,)),
}


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
    protocol: EvaluationProtocol
    made_with: dict[str, Any]
    read: Callable[[], Annotations]

    @property
    def compact_folder(self) -> Path:
        """The folder of arrays that belongs to the pickle."""
        return self.path.with_suffix(".arrays")


def file_fingerprint(path: Path) -> dict[str, Any]:
    """Tell versions of a file apart: its size, time and content."""
    status = path.stat()
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "digest": digest}


def _belongs(folder: Path, meta: dict[str, Any], path: Path) -> bool:
    """Tell whether arrays were made of the pickle that is there; a copy of it has another time and equal content."""
    stored = meta.get("pickle")
    status = path.stat()
    if not isinstance(stored, dict) or stored.get("size") != status.st_size:
        return False
    if stored.get("mtime_ns") == status.st_mtime_ns:
        return True
    found = file_fingerprint(path)
    if found["digest"] != stored.get("digest"):
        return False
    with contextlib.suppress(InputError):  # a data set may be read-only; then this is looked into every time
        write_json(folder / META, meta | {"pickle": found})
    return True


def open_compact(folder: Path, joint_set: JointSet, protocol: EvaluationProtocol) -> Annotations:
    """Map a folder of arrays into memory.

    Args:
        folder: of compact_writer(); the images are below images/ beside its parent.
        joint_set: the joints that the data set annotates.
        protocol: names of the recordings, and what results are split into.

    Returns:
        The annotations; their arrays are read-only and read from disk when they are used.

    Raises:
        InputError: a file is missing, cut off, of another version or for other joints.
    """
    meta = read_json(folder / META)
    if not isinstance(meta, dict) or meta.get("version") != VERSION:
        raise InputError(f"{folder}: arrays of another version; {REMAKE}")
    if meta.get("joint_names") != list(joint_set.names):
        raise InputError(f"{folder}: joints are {meta.get('joint_names')}, expected {list(joint_set.names)}; {REMAKE}")
    if not isinstance(meta.get("num_images"), int) or not isinstance(meta.get("source"), str):
        raise InputError(f"{folder / META}: does not say whose arrays these are; {REMAKE}")
    optional = meta.get("optional", [])
    if not isinstance(optional, list) or any(name not in OPTIONAL_ARRAYS for name in optional):
        raise InputError(
            f"{folder / META}: 'optional' may list {', '.join(OPTIONAL_ARRAYS)}, received {optional}; {REMAKE}"
        )
    num_images = meta["num_images"]
    num_joints = len(joint_set)
    arrays = {name: _map(folder, name, num_images, num_joints) for name in (*IMAGE_ARRAYS, *LABEL_ARRAYS, *optional)}
    cameras = Cameras(**{name: _map(folder, f"camera_{name}", None, num_joints) for name in CAMERA_ARRAYS})
    return Annotations(
        source=meta["source"],
        joint_set=joint_set,
        images_dir=folder.parents[1] / "images",
        **{name: arrays[name] for name in (*IMAGE_ARRAYS, *optional)},
        labels3d=PoseLabels(**{name: arrays[name] for name in LABEL_ARRAYS}, cameras=cameras, protocol=protocol),
        reopen=partial(open_compact, folder, joint_set, protocol),
    )


def _map(folder: Path, name: str, length: int | None, num_joints: int) -> np.ndarray:
    path = folder / f"{name}.npy"
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: missing or cut off ({error}); {REMAKE}") from None
    kind, row_shape = _ROWS[name]
    row_shape = tuple(num_joints if size == "J" else size for size in row_shape)
    if array.dtype.kind != kind or array.shape[1:] != row_shape or array.ndim != 1 + len(row_shape):
        raise InputError(
            f"{path}: expected rows of shape {row_shape} and type '{kind}', received an array of shape "
            f"{array.shape} and type '{array.dtype.kind}'; {REMAKE}"
        )
    if length is not None and len(array) != length:
        raise InputError(f"{path}: expected {length} rows, received {len(array)}; {REMAKE}")
    return np.asarray(array)  # a plain view: memmap's own type is slow to index


def open_annotations(file: AnnotationFile) -> Annotations:
    """Open the arrays beside a pickle where they are whole and belong to it, otherwise read the pickle.

    Args:
        file: the pickle; it may be absent where the arrays are there.

    Raises:
        InputError: as of file.read(); without a pickle, the arrays are damaged or were made with other settings.
    """
    folder = file.compact_folder
    if folder.is_dir():
        try:
            return _open_made(folder, file)
        except InputError as error:
            if not file.path.exists():
                raise
            logger.warning("%s; reading %s instead", error, file.path.name)
    annotations = file.read()
    if len(annotations) >= LARGE:
        logger.info(
            "%s: %d records; run/data/compact_annotations.py makes a form of it that opens at once and is "
            "shared by all processes",
            file.path,
            len(annotations),
        )
    return annotations


def _open_made(folder: Path, file: AnnotationFile) -> Annotations:
    """Open the arrays; an InputError says why they do not serve."""
    meta = read_json(folder / META)
    if not isinstance(meta, dict):
        raise InputError(f"{folder / META}: expected an object; {REMAKE}")
    if file.path.exists() and not _belongs(folder, meta, file.path):
        raise InputError(f"{folder} does not belong to {file.path.name}; {REMAKE}")
    if meta.get("made_with") != file.made_with:
        raise InputError(
            f"{folder}: made with {meta.get('made_with')}, the configuration says {file.made_with}; {REMAKE}"
        )
    return open_compact(folder, file.joint_set, file.protocol)
