"""MPII annotations in the published JSON form."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from lib.dataset.annotations import Annotations
from lib.utils.checks import InputError
from lib.utils.files import read_json
from lib.utils.joints import MPII_16, to_union

# Boxes are moved down and enlarged, as published.
MPII_DOWN_PX = 15.0  # times scale
MPII_ENLARGE = 1.25
_SUBSETS = {"validation": "valid"}  # Human3.6M's word for it
_FOLDERS = ("mpii", "MPII")  # READMEs in the wild use either


def load_mpii(root: str | os.PathLike, subset: str) -> Annotations:
    """Read ROOT/mpii/annot/<subset>.json.

    Boxes are moved down by MPII_DOWN_PX*scale and enlarged by MPII_ENLARGE, and coordinates become 0-based.

    Args:
        root: folder that holds `mpii/` (or `MPII/`).
        subset: "train", "valid" (also "validation"), "trainval" or "test" (no joints).

    Returns:
        The annotations in the order of the file.

    Raises:
        InputError: file missing or not as described; the message names the record.
    """
    folder = next((Path(root) / name for name in _FOLDERS if (Path(root) / name).is_dir()), None)
    if folder is None:
        raise InputError(f"{Path(root) / 'mpii'}: no such folder; DATASET.ROOT must hold mpii/annot and mpii/images")
    path = folder / "annot" / f"{_SUBSETS.get(subset, subset)}.json"
    records = read_json(path)
    if not isinstance(records, list) or not records:
        raise InputError(f"{path}: expected a list of records, one per person")
    center = np.empty((len(records), 2), np.float32)
    scale = np.empty((len(records), 2), np.float32)
    joints = np.zeros((len(records), len(MPII_16), 2), np.float32)
    visible = np.zeros((len(records), len(MPII_16)), bool)
    names = []
    for row, record in enumerate(records):
        try:
            names.append(record["image"].encode())
            center[row], scale[row] = _box(record)
            if "joints" in record:
                joints[row] = _numbers(record, "joints", (len(MPII_16), 2)) - 1
                visible[row] = _numbers(record, "joints_vis", (len(MPII_16),)) > 0
        except KeyError as error:
            raise InputError(f"{path}: record {row} has no {error}") from None
        except (AttributeError, TypeError, ValueError) as error:
            raise InputError(f"{path}: record {row}: not in the published form ({error})") from None
    return Annotations(
        source="mpii",
        joint_set=MPII_16,
        images_dir=folder / "images",
        image=np.array(names),
        joints_img=to_union(joints, MPII_16),
        visible=to_union(visible, MPII_16),
        center=center,
        scale=scale,
    )


def _box(record: dict) -> tuple[np.ndarray, float]:
    center, scale = _numbers(record, "center", (2,)), float(_numbers(record, "scale", ()))
    if scale == 0:
        raise ValueError("'scale' is 0")
    if center[0] != -1:
        center[1] += MPII_DOWN_PX * scale
        scale *= MPII_ENLARGE
    return center - 1, scale


def _numbers(record: dict, key: str, shape: tuple[int, ...]) -> np.ndarray:
    values = np.array(record[key], np.float32)
    if values.shape != shape or not np.isfinite(values).all():
        raise ValueError(f"'{key}': expected finite numbers of shape {shape}, received shape {values.shape}")
    return values
