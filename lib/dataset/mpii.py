"""MPII annotations in the JSON format of the original code, and head boxes for PCKh."""

import logging
import os
from pathlib import Path

import numpy as np

from lib.dataset.annotations import Annotations
from lib.utils.errors import InputError, brief
from lib.utils.files.json_file import read_json
from lib.utils.joints import MPII_16, to_union

logger = logging.getLogger(__name__)

# The original code moves boxes down and enlarges them.
MPII_DOWN_PX = 15.0  # times scale
MPII_ENLARGE = 1.25
_SUBSETS = {"validation": "valid"}  # name in Human3.6M -> name in MPII
_FOLDERS = ("mpii", "MPII")  # both are common
HEAD_OF_DIAGONAL = 0.6  # head size relative to the diagonal of the head box
GT_FILE = "gt_valid.mat"
_GT_NAMES = {"root": "pelvis", "upper neck": "upper_neck", "head top": "head"}
# A gt_valid.mat belongs to the annotation if this share of its joints is within this distance.
_SAME_PLACE_PX = 5.0
_SAME_SHARE = 0.99


def find_mpii(root: str | os.PathLike) -> Path | None:
    """Return ROOT/mpii or ROOT/MPII; None if both are missing."""
    return next((Path(root) / name for name in _FOLDERS if (Path(root) / name).is_dir()), None)


def load_mpii(root: str | os.PathLike, subset: str) -> Annotations:
    """Read ROOT/mpii/annot/<subset>.json.

    Boxes are moved down by MPII_DOWN_PX * scale and enlarged by MPII_ENLARGE, and coordinates become 0-based. Head
    sizes are computed from `head_box` of the records. If no record of "valid" has it, gt_valid.mat is used, if present.
    Records with center and scale -1, persons without a position, are dropped with a warning.

    Args:
        root: folder that holds `mpii/` (or `MPII/`).
        subset: "train", "valid" (also "validation"), "trainval" or "test" (no joints).

    Raises:
        InputError: the file is missing or has another format; the message names the record.
    """
    folder = find_mpii(root)
    if folder is None:
        raise InputError(f"{Path(root) / 'mpii'}: no such folder; DATASET.ROOT must hold mpii/annot and mpii/images")
    subset = _SUBSETS.get(subset, subset)
    path = folder / "annot" / f"{subset}.json"
    gt_path = folder / "annot" / GT_FILE
    columns = _read_columns(path)
    joints, visible, boxes = columns["joints"], columns["visible"], columns["head_box"]
    if subset == "valid" and np.isnan(boxes).all() and gt_path.is_file():
        boxes = read_gt_boxes(gt_path, joints + 1, visible)
    keep = _with_position(columns["scale"], path)
    return Annotations(
        source="mpii",
        joint_set=MPII_16,
        images_dir=folder / "images",
        image=columns["image"][keep],
        joints_img=to_union(joints[keep], MPII_16),
        visible=to_union(visible[keep], MPII_16),
        center=columns["center"][keep],
        scale=columns["scale"][keep],
        head_size=None if np.isnan(boxes).all() else head_sizes(boxes[keep]),
    )


def _with_position(scale: np.ndarray, path: Path) -> np.ndarray:
    """Return which records have a position, (M,) bool; log a warning about the others."""
    keep = (scale > 0).all(1)
    if not keep.any():
        raise InputError(f"{path}: all scales are -1, so no record has a position")
    if not keep.all():
        logger.warning(
            "%s: dropped %d of %d records with center and scale -1 (no position); the first is record %d",
            path,
            np.count_nonzero(~keep),
            len(keep),
            np.argmin(keep),
        )
    return keep


def _read_columns(path: Path) -> dict[str, np.ndarray]:
    """Read M records: image (M,), center and scale (M, 2), joints (M, 16, 2), visible (M, 16), head_box (M, 4)."""
    records = read_json(path)
    if not isinstance(records, list) or not records:
        raise InputError(f"{path}: expected a list of records, one per person")
    center = np.empty((len(records), 2), np.float32)
    scale = np.empty((len(records), 2), np.float32)
    joints = np.zeros((len(records), len(MPII_16), 2), np.float32)
    visible = np.zeros((len(records), len(MPII_16)), bool)
    head_box = np.full((len(records), 4), np.nan, np.float32)
    names = []
    for row, record in enumerate(records):
        try:
            names.append(record["image"].encode())
            center[row], scale[row] = _box(record)
            if "joints" in record:
                joints[row] = _numbers(record, "joints", (len(MPII_16), 2)) - 1
                visible[row] = _numbers(record, "joints_vis", (len(MPII_16),)) > 0
            if record.get("head_box") is not None:
                head_box[row] = _head_box(record)
        except KeyError as error:
            raise InputError(f"{path}: record {row} has no {error}") from None
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{path}: record {row}: not in the MPII format of the original code ({brief(error)})"
            ) from None
    return {
        "image": np.array(names),
        "center": center,
        "scale": scale,
        "joints": joints,
        "visible": visible,
        "head_box": head_box,
    }


def _head_box(record: dict) -> np.ndarray:
    box = _numbers(record, "head_box", (4,))
    if (box[:2] == box[2:]).all():
        raise ValueError("'head_box' is empty")
    return box


def _box(record: dict) -> tuple[np.ndarray, float]:
    center = _numbers(record, "center", (2,))
    scale = float(_numbers(record, "scale", ()))
    if center[0] != -1:  # -1: no position and no scale
        if scale <= 0:
            raise ValueError(f"'scale' must be positive, received {scale:g}")
        center[1] += MPII_DOWN_PX * scale
        scale *= MPII_ENLARGE
    return center - 1, scale


def _numbers(record: dict, key: str, shape: tuple[int, ...]) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = np.array(record[key], np.float32)
    if values.shape != shape or not np.isfinite(values).all():
        raise ValueError(f"'{key}': expected finite numbers of shape {shape}, received shape {values.shape}")
    return values


def head_sizes(boxes: np.ndarray) -> np.ndarray:
    """Return the head sizes (M,) for PCKh, float32 px: 0.6 of the diagonals of head boxes (M, 4), NaN = missing.

    Source: the MPII benchmark's evaluation (Andriluka et al., CVPR 2014).
    """
    diagonal = np.linalg.norm(boxes[:, 2:] - boxes[:, :2], axis=1)
    return (HEAD_OF_DIAGONAL * diagonal).astype(np.float32)


def write_gt(path: str | os.PathLike, joints: np.ndarray, annotated: np.ndarray, boxes: np.ndarray) -> None:
    """Write gt_valid.mat. Joints of persons without a head box are marked as missing.

    Args:
        path: output file.
        joints: (M, 16, 2) 1-based image px, in the order of valid.json.
        annotated: (M, 16) bool.
        boxes: (M, 4) x1, y1, x2, y2, 1-based image px; NaN = missing.

    Source: variables as read by Simple Baselines (Xiao et al., ECCV 2018).
    """
    counts = annotated & np.isfinite(boxes).all(1)[:, None]
    names = [_GT_NAMES.get(name, name) for name in MPII_16.names]
    from lib.utils.files.mat_file import write_mat  # imports scipy; every command imports the registry

    write_mat(
        path,
        {
            "jnt_missing": (~counts).T.astype(np.float64),  # (16, M)
            "pos_gt_src": joints.transpose(1, 2, 0).astype(np.float64),  # (16, 2, M)
            "headboxes_src": boxes.reshape(-1, 2, 2).transpose(1, 2, 0).astype(np.float64),  # (corner, xy, M)
            "dataset_joints": np.array(names, object)[None],  # (1, 16)
        },
    )


def read_gt_boxes(path: Path, joints: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    """Read the head boxes (M, 4), 1-based image px, of gt_valid.mat.

    Args:
        path: input file.
        joints: (M, 16, 2) joints of valid.json, 1-based image px.
        annotated: (M, 16) bool.

    Raises:
        InputError: the file is damaged or has another format, other persons or another order.
    """
    from lib.utils.files.mat_file import load_mat  # imports scipy; every command imports the registry

    found = load_mat(path, "headboxes_src", "pos_gt_src", "jnt_missing")
    num_persons, num_joints = annotated.shape
    shapes = {
        "headboxes_src": (2, 2, num_persons),
        "pos_gt_src": (num_joints, 2, num_persons),
        "jnt_missing": (num_joints, num_persons),
    }
    for name, shape in shapes.items():
        array = found[name]
        if array.dtype.kind not in "buif" or array.shape != shape:
            raise InputError(
                f"{path}: '{name}': expected numbers of shape {shape} for the {num_persons} persons of "
                f"valid.json, received shape {array.shape}"
            )
    counts = annotated & (found["jnt_missing"].T == 0)
    distance = np.linalg.norm(found["pos_gt_src"].transpose(2, 0, 1) - joints, axis=-1)[counts]
    if not distance.size or np.mean(distance <= _SAME_PLACE_PX) < _SAME_SHARE:
        raise InputError(
            f"{path}: the joints differ from valid.json, so it has other persons or another order; use both files of "
            "one source, or remove it"
        )
    return found["headboxes_src"].transpose(2, 0, 1).reshape(-1, 4).astype(np.float64)
