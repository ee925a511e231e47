"""Memory-mapped annotations, which open instantly and are shared by all processes.

The folder h36m_train.arrays next to h36m_train.pkl has one .npy file per array and meta.json. Lengths are in mm, and T
is the camera center, independent of the conventions of the pickle.
"""

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
from lib.utils.errors import InputError, brief
from lib.utils.files.json_file import read_json, write_json
from lib.utils.joints import UNION_20, JointSet

logger = logging.getLogger(__name__)

REMAKE = "recreate it with run/data/compact_annotations.py"
LARGE = 200_000  # number of records from which this format is recommended
VERSION = 2
META = "meta.json"
IMAGE_ARRAYS = ("image", "joints_img", "visible", "center", "scale")
OPTIONAL_ARRAYS = ("occluded",)  # meta.json lists those that exist
LABEL_ARRAYS = ("subject", "action", "subaction", "frame", "camera_id", "pose_cam", "camera_idx")
CAMERA_ARRAYS = tuple(field.name for field in fields(Cameras))
# array -> dtype kind and shape of a row; "J": number of joints of the data set
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
    """An annotation file, and how to read it.

    Attributes:
        path: the pickle.
        joint_set: joints annotated in the data set.
        protocol: names of the recordings and parts of the results.
        made_with: settings that the annotations depend on (units, convention of T, ...), plain values.
        read: reads the pickle.
    """

    path: Path
    joint_set: JointSet
    protocol: EvaluationProtocol
    made_with: dict[str, Any]
    read: Callable[[], Annotations]

    @property
    def compact_folder(self) -> Path:
        """Folder of the memory-mapped arrays."""
        return self.path.with_suffix(".arrays")


def file_fingerprint(path: Path) -> dict[str, Any]:
    """Return size, modification time and digest of a file."""
    status = path.stat()
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "digest": digest}


def _belongs(folder: Path, meta: dict[str, Any], path: Path) -> bool:
    """Return whether arrays were made from this pickle. A copied pickle has another time but the same digest."""
    stored = meta.get("pickle")
    status = path.stat()
    if not isinstance(stored, dict) or stored.get("size") != status.st_size:
        return False
    if stored.get("mtime_ns") == status.st_mtime_ns:
        return True
    found = file_fingerprint(path)
    if found["digest"] != stored.get("digest"):
        return False
    with contextlib.suppress(InputError):  # in a read-only data set the digest is computed every time
        write_json(folder / META, meta | {"pickle": found})
    return True


def open_compact(folder: Path, joint_set: JointSet, protocol: EvaluationProtocol) -> Annotations:
    """Map a folder of compact_writer() into memory.

    Args:
        folder: DATA_SET/annot/NAME.arrays; the images are in DATA_SET/images.
        joint_set: joints annotated in the data set.
        protocol: names of the recordings and parts of the results.

    Returns:
        Annotations with read-only arrays, which are read from disk on access.

    Raises:
        InputError: a file is missing, truncated, of another version or for other joints.
    """
    meta = read_json(folder / META)
    if not isinstance(meta, dict) or meta.get("version") != VERSION:
        raise InputError(f"{folder}: version: expected {VERSION}, received another one; {REMAKE}")
    if meta.get("joint_names") != list(joint_set.names):
        raise InputError(
            f"{folder}: joints: expected {list(joint_set.names)}, received {meta.get('joint_names')}; {REMAKE}"
        )
    if not isinstance(meta.get("num_images"), int) or not isinstance(meta.get("source"), str):
        raise InputError(f"{folder / META}: 'num_images' or 'source' is missing; {REMAKE}")
    optional = meta.get("optional", [])
    if not isinstance(optional, list) or any(name not in OPTIONAL_ARRAYS for name in optional):
        raise InputError(
            f"{folder / META}: 'optional': expected some of {', '.join(OPTIONAL_ARRAYS)}, received {optional}; {REMAKE}"
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
        raise InputError(f"{path}: missing or truncated ({brief(error)}); {REMAKE}") from None
    kind, row_shape = _ROWS[name]
    row_shape = tuple(num_joints if size == "J" else size for size in row_shape)
    if array.dtype.kind != kind or array.shape[1:] != row_shape or array.ndim != 1 + len(row_shape):
        raise InputError(
            f"{path}: expected rows of shape {row_shape} and type '{kind}', received an array of shape "
            f"{array.shape} and type '{array.dtype.kind}'; {REMAKE}"
        )
    if length is not None and len(array) != length:
        raise InputError(f"{path}: expected {length} rows, received {len(array)}; {REMAKE}")
    return np.asarray(array)  # a plain view, because np.memmap is slow to index


def open_annotations(file: AnnotationFile) -> Annotations:
    """Open the arrays of an annotation file if they are complete and up to date; otherwise read the pickle.

    The pickle may be missing if the arrays exist.

    Raises:
        InputError: see file.read(). Without a pickle: the arrays are damaged or were made with other settings.
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
            "%s: %d records; run/data/compact_annotations.py converts it to a format that opens instantly and is "
            "shared by all processes",
            file.path,
            len(annotations),
        )
    return annotations


def _open_made(folder: Path, file: AnnotationFile) -> Annotations:
    """Open the arrays, or raise an InputError if they are outdated."""
    meta = read_json(folder / META)
    if not isinstance(meta, dict):
        raise InputError(f"{folder / META}: expected an object; {REMAKE}")
    if file.path.exists() and not _belongs(folder, meta, file.path):
        raise InputError(f"{folder} does not belong to {file.path.name}; {REMAKE}")
    made_with = meta.get("made_with")
    if isinstance(made_with, dict) and made_with.get("camera_t") == "centre":  # the former spelling
        made_with["camera_t"] = "center"
    if made_with != file.made_with:
        raise InputError(f"{folder}: settings: expected {file.made_with}, received {made_with}; {REMAKE}")
    return open_compact(folder, file.joint_set, file.protocol)
