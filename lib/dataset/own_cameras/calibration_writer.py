"""Writes a camera rig as a calibration file, in the TOML format of Pose2Sim and Anipose."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from lib.dataset.conventions import MM_PER_UNIT
from lib.dataset.own_cameras.calibration_file import MATCH_TABLE, Rig
from lib.utils.files.atomic import write_bytes


def write_rig(path: str | os.PathLike, rig: Rig, metadata: Mapping[str, Any]) -> None:
    """Write a calibration file that load_rig() reads, with the translations in the unit of the rig.

    Args:
        path: TOML file.
        rig: the cameras.
        metadata: numbers, texts and lists for the table [metadata], which programs that read such files skip.
    """
    cameras = rig.cameras
    tables = []
    for view, name in enumerate(rig.names):
        (fx, fy), (cx, cy) = cameras.f[view], cameras.c[view]
        entries = {
            "name": name,
            "size": rig.image_wh[view].astype(float),
            "matrix": np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
            "distortions": [*cameras.k[view, :2], *cameras.p[view], cameras.k[view, 2]],
            "rotation": cv2.Rodrigues(cameras.R[view])[0].ravel(),
            "translation": -(cameras.R[view] @ cameras.T[view]) / MM_PER_UNIT[rig.unit],
            "fisheye": False,
        }
        tables.append(_table(f"cam_{view + 1:02d}", entries))
    if rig.aliases:
        tables.append(_table(MATCH_TABLE, {_value(name): list(files) for name, files in rig.aliases.items()}))
    tables.append(_table("metadata", metadata))
    write_bytes(path, "\n".join(tables).encode())


def _table(name: str, entries: Mapping[str, Any]) -> str:
    return "".join([f"[{name}]\n", *(f"{key} = {_value(value)}\n" for key, value in entries.items())])


def _value(value: Any) -> str:
    """Format a value; JSON's texts, finite numbers, truth values and lists are also TOML's."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float | np.floating):
        return json.dumps(float(value)) if math.isfinite(value) else str(float(value))
    return json.dumps(value, ensure_ascii=False)  # TOML has no surrogate pairs
