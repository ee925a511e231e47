"""The rigs of a data set: which cameras it was recorded with, in which order. Stored with a training.

The matrices of NETWORK.FUSION learned fit only the rig of their training. Images, crops and lenses do not matter here:
a crop follows the person and has a side of 2 m, so the mapping between crops depends on the poses of the cameras.
"""

from dataclasses import fields
from pathlib import Path

import numpy as np

from lib.dataset.annotations import Annotations
from lib.multiviews.cameras import Cameras
from lib.utils.errors import InputError
from lib.utils.files.json_file import read_json, write_json

MAX_TURN_DEG = 3.0  # between rigs that count as equal; epipolar lines of a 64 px map then turn by at most 2 px
MAX_SHIFT = 0.05  # of a camera, share of the extent of the rig


def rigs_of(annotations: Annotations, groups: np.ndarray) -> list[Cameras]:
    """Return the different rigs of groups (G, V), each with the leading axis V, mm.

    Human3.6M has a calibration per subject; calibrations that is_same_rig() calls equal are listed once.
    """
    labels = annotations.labels3d
    rigs: list[Cameras] = []
    for index in np.unique(labels.camera_idx[groups], axis=0):
        cameras = labels.cameras[index]
        if not any(is_same_rig(cameras, rig) for rig in rigs):
            rigs.append(cameras)
    return rigs


def is_same_rig(cameras: Cameras, others: Cameras) -> bool:
    """Return whether two rigs have the same cameras in the same order, up to a motion of the whole rig.

    Args:
        cameras: leading axis V, mm.
        others: leading axis V.
    """
    if len(cameras) != len(others):
        return False
    (rotations, centers), (other_rotations, other_centers) = _relative(cameras), _relative(others)
    cosines = (np.einsum("vij,vij->v", rotations, other_rotations) - 1) / 2
    extent = max(float(np.linalg.norm(other_centers, axis=-1).max()), 1.0)
    shift = np.linalg.norm(centers - other_centers, axis=-1).max()
    return bool(cosines.min() >= np.cos(np.radians(MAX_TURN_DEG)) and shift <= MAX_SHIFT * extent)


def _relative(cameras: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations (V, 3, 3) and centers (V, 3), mm, in the frame of the first camera."""
    return cameras.R @ cameras.R[0].T, (cameras.T - cameras.T[0]) @ cameras.R[0].T


def save_rigs(path: Path, rigs: list[Cameras]) -> None:
    """Write rigs as JSON: a list of rigs, each a dictionary of the fields of Cameras."""
    write_json(path, {"rigs": [{field.name: getattr(rig, field.name) for field in fields(Cameras)} for rig in rigs]})


def load_rigs(path: Path) -> list[Cameras]:
    """Read a file of save_rigs(); raise an InputError if it is missing or damaged."""
    try:
        entries = read_json(path)["rigs"]
        return [
            Cameras(**{field.name: np.array(entry[field.name], np.float64) for field in fields(Cameras)})
            for entry in entries
        ]
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: not a file of camera rigs; run/pose2d/train.py writes it") from None
