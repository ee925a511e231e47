"""Reader of the original code's annotation pickles: a list of records, one dictionary per image."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.dataset.annotations import Annotations, PoseLabels
from lib.dataset.conventions import Conventions
from lib.dataset.protocol import HUMAN36M, EvaluationProtocol
from lib.multiviews.cameras import Cameras
from lib.utils.errors import InputError, brief
from lib.utils.files.safe_pickle import load_pickle
from lib.utils.joints import JointSet, to_union

_CAMERA_KEYS = ("R", "T", "fx", "fy", "cx", "cy", "k", "p")
SUBSETS = {"valid": "validation"}  # name in MPII -> name in Human3.6M


def annotation_path(root: str | os.PathLike, source: str, subset: str, crop: bool) -> Path:
    """Return ROOT/<source>/annot/<source>_<subset>.pkl, or the `_uncrop` file unless `crop`.

    Raises:
        InputError: the folder ROOT/<source> is missing.
    """
    folder = Path(root) / source
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; DATASET.ROOT must hold {source}/annot and {source}/images")
    return folder / "annot" / f"{source}_{SUBSETS.get(subset, subset)}{'' if crop else '_uncrop'}.pkl"


def load_records(path: Path) -> list[dict]:
    """Load a pickled list of records, one per image.

    Returns:
        Dictionaries of the original code's format. With J joints:
            image: path below the images folder. subject, action, subaction, image_id, camera_id: integer ids.
            joints_2d: (J, 2) image px. joints_vis: (J, 3), 0 = not annotated.
            joints_3d, joints_3d_camera: (J, 3), both in the frame of the camera, not of the world; mm in Human3.6M.
            center, scale, box: the box of the person, px, px / 200 and px (x0, y0, x1, y1).
            camera: see Cameras.from_records(); T is the center of the camera in the world frame.
        load_multiview() (lib/dataset/data_sets.py) reads the same as arrays in mm, with the world frame:
        `annotations.labels3d.pose_world(rows)`.

    Raises:
        InputError: the file is missing, truncated or refused, or holds something else.
    """
    records = load_pickle(path)
    if not isinstance(records, list) or not records or not all(isinstance(record, dict) for record in records):
        raise InputError(f"{path}: expected a list of dictionaries, one per image")
    return records


def to_annotations(
    records: Sequence[dict],
    path: Path,
    source: str,
    joint_set: JointSet,
    conventions: Conventions,
    protocol: EvaluationProtocol = HUMAN36M,
) -> Annotations:
    """Convert records to arrays, in the order of the records.

    Args:
        records: one per image.
        path: DATA_SET/annot/FILE.pkl; the images are in DATA_SET/images.
        source: name of the data set.
        joint_set: joints in the order of the file's arrays.
        conventions: units and camera convention of the file.
        protocol: names of the recordings and parts of the results.

    Raises:
        InputError: an entry of a record is missing or has another shape.
    """
    num_joints = len(joint_set)
    joints_img = column(records, "joints_2d", (num_joints, 2), np.float32, path)
    visible = column(records, "joints_vis", (num_joints, None), np.float32, path)[..., 0] > 0
    return Annotations(
        source=source,
        joint_set=joint_set,
        images_dir=path.parents[1] / "images",
        image=_names(records, path),
        joints_img=to_union(joints_img, joint_set),
        visible=to_union(visible, joint_set),
        center=column(records, "center", (2,), np.float32, path),
        scale=_scale(records, path),
        labels3d=_labels3d(records, num_joints, conventions, protocol, path),
        occluded=_occluded(records, joint_set, path),
    )


def _occluded(records: Sequence[dict], joint_set: JointSet, path: Path) -> np.ndarray | None:
    """Read `joints_occluded` of the synthetic data; None unless every record has it."""
    if not all("joints_occluded" in record for record in records):
        return None
    return to_union(column(records, "joints_occluded", (len(joint_set),), bool, path), joint_set)


def column(records: Sequence[dict], key: str, shape: tuple, dtype: type, path: Path) -> np.ndarray:
    """Collect one entry of M records as an array (M, *shape).

    Args:
        records: one per image.
        key: name of the entry.
        shape: expected shape of each entry; None = any size, equal for all records.
        dtype: dtype of the result.
        path: file, for error messages.

    Raises:
        InputError: the entry of a record is missing, has another shape or type, or a number that is not finite or, for
            integers, not whole.
    """
    try:
        entries = [record[key] for record in records]
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.array(entries, dtype)
    except KeyError:
        row = next(i for i, record in enumerate(records) if key not in record)
        raise InputError(f"{path}: record {row} has no '{key}'") from None
    except (TypeError, ValueError, OverflowError) as error:
        bad = (f"record {row}: " for row, entry in enumerate(entries) if not _converts(entry, dtype))
        where = f"{path}: {next(bad, '')}"
        raise InputError(f"{where}'{key}' differs in shape or type between records ({brief(error)})") from None
    fits = len(values.shape) == 1 + len(shape) and all(
        want is None or size == want for size, want in zip(values.shape[1:], shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("*" if size is None else str(size) for size in shape)
        raise InputError(f"{path}: '{key}': expected shape ({wanted}), received {values.shape[1:]}")
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        raise InputError(f"{path}: record {row}: '{key}' is not finite")
    if np.issubdtype(dtype, np.integer):
        _check_integers(entries, values, key, path)
    return values


def _converts(entry: Any, dtype: type) -> bool:
    try:
        np.array(entry, dtype)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _check_integers(entries: list, values: np.ndarray, key: str, path: Path) -> None:
    """Raise an InputError for values that numpy changes in the conversion: fractions, NaN, overflows."""
    given = np.array(entries)
    changed = given != values if given.dtype.kind in "iuf" else np.zeros(len(values), bool)
    if changed.any():
        row = int(np.argmax(changed))
        raise InputError(
            f"{path}: record {row}: '{key}' must be an integer of at most {8 * values.itemsize} bits, "
            f"received {entries[row]}"
        )


def _scale(records: Sequence[dict], path: Path) -> np.ndarray:
    scale = column(records, "scale", (2,), np.float32, path)
    if not (scale > 0).all():
        row = int(np.argwhere(scale <= 0)[0, 0])
        raise InputError(f"{path}: record {row}: 'scale' must be positive, received {scale[row].tolist()}")
    return scale


def _names(records: Sequence[dict], path: Path) -> np.ndarray:
    try:
        return np.array([record["image"].encode() for record in records])
    except (KeyError, AttributeError):
        row = next(i for i, record in enumerate(records) if not isinstance(record.get("image"), str))
        raise InputError(f"{path}: record {row} has no image name") from None
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: the image name {error.object!r} is not Unicode") from None


def _labels3d(
    records: Sequence[dict], num_joints: int, conventions: Conventions, protocol: EvaluationProtocol, path: Path
) -> PoseLabels:
    ids = {key: column(records, key, (), np.int32, path) for key in ("subject", "action", "subaction", "camera_id")}
    pose_cam = column(records, "joints_3d_camera", (num_joints, 3), np.float32, path)
    cameras, camera_idx = _unique_cameras(records, path)
    pose_cam, cameras = conventions.convert(pose_cam, cameras)
    return PoseLabels(
        **ids,
        frame=column(records, "image_id", (), np.int64, path),  # time stamps exceed 32 bits
        pose_cam=pose_cam,
        cameras=cameras,
        camera_idx=camera_idx,
        protocol=protocol,
    )


def _unique_cameras(records: Sequence[dict], path: Path) -> tuple[Cameras, np.ndarray]:
    """Return the distinct cameras, and the index of each record's camera."""
    known: dict[bytes, int] = {}
    unique: list[dict[str, Any]] = []
    camera_idx = np.empty(len(records), np.int32)
    for row, record in enumerate(records):
        camera = record.get("camera")
        if not isinstance(camera, dict) or any(key not in camera for key in _CAMERA_KEYS):
            missing = "camera" if not isinstance(camera, dict) else next(k for k in _CAMERA_KEYS if k not in camera)
            raise InputError(f"{path}: record {row} ('{record['image']}') has no '{missing}' (camera parameters)")
        try:
            content = b"".join(np.asarray(camera[key], np.float64).tobytes() for key in _CAMERA_KEYS)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{path}: record {row} ('{record['image']}'): camera: not numbers ({brief(error)})"
            ) from None
        if content not in known:
            known[content] = len(unique)
            unique.append(camera)
        camera_idx[row] = known[content]
    try:
        return Cameras.from_records(unique), camera_idx
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
