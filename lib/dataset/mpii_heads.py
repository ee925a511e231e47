"""Head boxes of MPII and the gt_valid.mat that evaluations of MPII read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from lib.utils.errors import InputError
from lib.utils.files.mat_io import load_mat, write_mat
from lib.utils.joints import MPII_16

HEAD_OF_DIAGONAL = 0.6
GT_FILE = "gt_valid.mat"
_GT_NAMES = {"root": "pelvis", "upper neck": "upper_neck", "head top": "head"}
# A gt_valid.mat of other persons, or in another order, places nearly all joints elsewhere.
_SAME_PLACE_PX = 5.0
_SAME_SHARE = 0.99


def head_sizes(boxes: np.ndarray) -> np.ndarray:
    """Return the head sizes to which PCKh relates distances.

    Args:
        boxes: (M, 4) x1, y1, x2, y2 of the annotated head boxes, px; NaN where there is none.

    Returns:
        (M,) float32 px: 0.6 of the diagonals.

    Source: the MPII benchmark's evaluation (Andriluka et al., CVPR 2014).
    """
    diagonal = np.linalg.norm(boxes[:, 2:] - boxes[:, :2], axis=1)
    return (HEAD_OF_DIAGONAL * diagonal).astype(np.float32)


def write_gt(path: str | os.PathLike, joints: np.ndarray, annotated: np.ndarray, boxes: np.ndarray) -> None:
    """Write gt_valid.mat.

    A person without a head box counts with none of its joints, for evaluations would divide by its head size.

    Args:
        path: the file.
        joints: (M, 16, 2) image px from 1, in the order of valid.json.
        annotated: (M, 16) bool.
        boxes: (M, 4) x1, y1, x2, y2, image px from 1; NaN where there is none.

    Source: names and shapes of the variables as Simple Baselines (Xiao et al., ECCV 2018) reads them.
    """
    counts = annotated & np.isfinite(boxes).all(1)[:, None]
    names = [_GT_NAMES.get(name, name) for name in MPII_16.names]
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
    """Read the head boxes of gt_valid.mat.

    Args:
        path: the file.
        joints: (M, 16, 2) of valid.json, image px from 1.
        annotated: (M, 16) bool.

    Returns:
        (M, 4) x1, y1, x2, y2, image px from 1.

    Raises:
        InputError: the file is damaged, of another form, or is not about the same persons in the same order.
    """
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
            f"{path}: the joints are not those of valid.json, so it is about other persons or in another "
            "order; use the two files of one source, or move it away"
        )
    return found["headboxes_src"].transpose(2, 0, 1).reshape(-1, 4).astype(np.float64)
