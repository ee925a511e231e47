"""C3D files of motion capture programs."""

from collections.abc import Sequence
from pathlib import Path

import ezc3d
import numpy as np

from lib.core.export.pose_sequence import PoseSequence
from lib.utils.files.atomic import atomic_path

_LAST_FRAME = 65535  # the header has 16 bits for frame numbers, which count from 1
# Directions of the axes to the right and up on a screen, for z up and y up.
_SCREEN = {"z": ("+Y", "+Z"), "y": ("+X", "+Y")}


def write_c3d(path: Path, sequence: PoseSequence, names: Sequence[str], up: str) -> None:
    """Write a C3D file; an unknown joint is 0, 0, 0 with residual -1, a known one has residual 0.

    C3D frames count from 1: frame n of the video is n + 1, if the video shows every frame and there are at most 65535.
    Otherwise the first frame is 1.

    Args:
        path: the file.
        sequence: evenly spaced poses.
        names: names of the J markers.
        up: vertical axis, "y" or "z", stored as POINT:Y_SCREEN.

    Source: the C3D file format, c3d.org, sections on POINT and residuals.
    """
    points = sequence.positions.transpose(2, 1, 0)  # (3, J, F)
    unknown = np.isnan(points).any(0)
    file = ezc3d.c3d()
    values = {
        "RATE": [sequence.rate],
        "LABELS": list(names),
        "UNITS": [sequence.unit],
        "X_SCREEN": [_SCREEN[up][0]],
        "Y_SCREEN": [_SCREEN[up][1]],
    }
    for name, value in values.items():
        file.add_parameter("POINT", name, value)
    first, every_frame = int(sequence.frame[0]), bool((np.diff(sequence.frame) == 1).all())
    file["header"]["points"]["first_frame"] = first if every_frame and first + len(sequence) <= _LAST_FRAME else 0
    file["data"]["points"] = np.concatenate([np.where(unknown, 0.0, points), np.ones((1, *unknown.shape))])
    file["data"]["meta_points"]["residuals"] = np.where(unknown, -1.0, 0.0)[None]
    with atomic_path(path) as temporary:
        file.write(str(temporary))
