"""Human3.6M annotations in the published pickle form, and their grouping over the views."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.dataset.annotations import Annotations, PoseLabels
from lib.multiviews.cameras import Cameras
from lib.utils.checks import InputError
from lib.utils.joints import H36M_17, to_union
from lib.utils.safe_pickle import load_pickle

logger = logging.getLogger(__name__)

_SUBSETS = {"valid": "validation"}  # MPII's word for it
_CAMERA_KEYS = ("R", "T", "fx", "fy", "cx", "cy", "k", "p")


def load_h36m(root: str | os.PathLike, subset: str, crop: bool = True) -> Annotations:
    """Read ROOT/h36m/annot/h36m_<subset>.pkl.

    Args:
        root: folder that holds `h36m/`.
        subset: "train" or "validation" (also "valid").
        crop: boxes around the person; otherwise the `_uncrop` file with the whole image as box.

    Returns:
        The annotations in the order of the file.

    Raises:
        InputError: file missing, cut off or refused; a record without an entry or with another shape.
    """
    folder = Path(root) / "h36m"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; DATASET.ROOT must hold h36m/annot and h36m/images")
    path = folder / "annot" / f"h36m_{_SUBSETS.get(subset, subset)}{'' if crop else '_uncrop'}.pkl"
    records = load_pickle(path)
    if not isinstance(records, list) or not records or not all(isinstance(record, dict) for record in records):
        raise InputError(f"{path}: expected a list of dictionaries, one per image")
    joints_img = _column(records, "joints_2d", (len(H36M_17), 2), np.float32, path)
    visible = _column(records, "joints_vis", (len(H36M_17), None), np.float32, path)[..., 0] > 0
    return Annotations(
        source="h36m",
        joint_set=H36M_17,
        images_dir=folder / "images",
        image=_names(records, path),
        joints_img=to_union(joints_img, H36M_17),
        visible=to_union(visible, H36M_17),
        center=_column(records, "center", (2,), np.float32, path),
        scale=_scale(records, path),
        labels3d=_labels3d(records, path),
    )


def _column(records: Sequence[dict], key: str, shape: tuple, dtype: type, path: Path) -> np.ndarray:
    """Collect one entry of all records; None in `shape` is any size, equal for all."""
    try:
        column = np.array([record[key] for record in records], dtype)
    except KeyError:
        row = next(i for i, record in enumerate(records) if key not in record)
        raise InputError(f"{path}: record {row} has no '{key}'") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: '{key}' differs in shape or type between records ({error})") from None
    fits = len(column.shape) == 1 + len(shape) and all(
        want is None or size == want for size, want in zip(column.shape[1:], shape, strict=True)
    )
    if not fits:
        wanted = ", ".join("*" if size is None else str(size) for size in shape)
        raise InputError(f"{path}: '{key}': expected shape ({wanted}), received {column.shape[1:]}")
    if not np.isfinite(column).all():
        row = int(np.argwhere(~np.isfinite(column))[0][0])
        raise InputError(f"{path}: record {row}: '{key}' is not finite")
    return column


def _scale(records: Sequence[dict], path: Path) -> np.ndarray:
    scale = _column(records, "scale", (2,), np.float32, path)
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


def _labels3d(records: Sequence[dict], path: Path) -> PoseLabels:
    ids = {key: _column(records, key, (), np.int32, path) for key in ("subject", "action", "subaction")}
    camera_ids = _column(records, "camera_id", (), np.int32, path)
    cameras, camera_idx = _unique_cameras(records, path)
    return PoseLabels(
        **ids,
        frame=_column(records, "image_id", (), np.int32, path),
        view_idx=np.unique(camera_ids, return_inverse=True)[1].astype(np.int32),
        pose_cam=_column(records, "joints_3d_camera", (len(H36M_17), 3), np.float32, path),
        cameras=cameras,
        camera_idx=camera_idx,
    )


def _unique_cameras(records: Sequence[dict], path: Path) -> tuple[Cameras, np.ndarray]:
    """Return the different cameras and, per record, which of them it is."""
    known: dict[bytes, int] = {}
    unique: list[dict[str, Any]] = []
    camera_idx = np.empty(len(records), np.int32)
    for row, record in enumerate(records):
        camera = record.get("camera")
        if not isinstance(camera, dict) or any(key not in camera for key in _CAMERA_KEYS):
            missing = "camera" if not isinstance(camera, dict) else next(k for k in _CAMERA_KEYS if k not in camera)
            raise InputError(f"{path}: record {row} ('{record['image']}') has no '{missing}' (camera parameters)")
        content = b"".join(np.asarray(camera[key]).tobytes() for key in _CAMERA_KEYS)
        if content not in known:
            known[content] = len(unique)
            unique.append(camera)
        camera_idx[row] = known[content]
    try:
        return Cameras.from_records(unique), camera_idx
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def group_views(annotations: Annotations, incomplete: str = "drop") -> np.ndarray:
    """Collect the images of one instant, ordered by camera.

    Args:
        annotations: images with 3D labels.
        incomplete: groups that lack a view: "drop" (with one warning) or "error".

    Returns:
        (G, V) int64 rows of the annotations, groups in the order of their first image, V = number of different
        cameras in the annotation.

    Raises:
        InputError: fewer than 2 views, no complete group, two images of one view in a group, or, where asked
            for, an incomplete group.
    """
    labels = annotations.labels3d
    num_views = int(labels.view_idx.max()) + 1
    where = annotations.images_dir.parent
    if num_views < 2:
        raise InputError(f"{where}: the annotation has 1 view (camera_id); cross-view methods need at least 2")
    key = np.stack([labels.subject, labels.action, labels.subaction, labels.frame], 1)
    _, first, group_of = np.unique(key, axis=0, return_index=True, return_inverse=True)
    groups = np.full((len(first), num_views), -1, np.int64)
    groups[group_of.ravel(), labels.view_idx] = np.arange(len(annotations))
    if np.count_nonzero(groups >= 0) != len(annotations):
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
