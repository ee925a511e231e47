"""TRC files of OpenSim, and CSV files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib.core.export.pose_sequence import PoseSequence
from lib.utils.files.atomic import write_bytes, write_csv

_TRC_HEADER = "DataRate CameraRate NumFrames NumMarkers Units OrigDataRate OrigDataStartFrame OrigNumFrames"
_DIGITS = {"mm": 3, "cm": 4, "m": 6}  # decimals: micrometers


def write_trc(path: Path, sequence: PoseSequence, names: Sequence[str]) -> None:
    """Write a TRC file: one row per frame, empty cells for unknown joints.

    Frame numbers and times are those of the video, so the first row need not be frame 1.

    Args:
        path: the file.
        sequence: evenly spaced poses.
        names: names of the J markers.

    Source: OpenSim documentation, "Marker (.trc) Files".
    """
    rate, count = f"{sequence.rate:.9g}", len(sequence)
    lines = [
        ["PathFileType", "4", "(X/Y/Z)", path.name],
        _TRC_HEADER.split(),
        [rate, rate, str(count), str(len(names)), sequence.unit, rate, str(sequence.frame[0]), str(count)],
        ["Frame#", "Time", *(cell for name in names for cell in (name, "", ""))],
        # OpenSim loses an empty cell at the end of a line, hence one more.
        ["", "", *(f"{axis}{number}" for number in range(1, len(names) + 1) for axis in "XYZ"), ""],
    ]
    for number, time_s, cells in _rows(sequence):
        lines.append([str(number), f"{time_s:.6f}", *cells, ""])
    write_bytes(path, "".join("\t".join(line) + "\n" for line in lines).encode())


def write_pose_csv(path: Path, sequence: PoseSequence, names: Sequence[str]) -> None:
    """Write a CSV file: frame, time_s, and x, y, z of each joint; empty cells for unknown joints."""
    header = ["frame", "time_s", *(f"{name}_{axis}_{sequence.unit}" for name in names for axis in "xyz")]
    write_csv(path, header, [[number, f"{time_s:.6f}", *cells] for number, time_s, cells in _rows(sequence)])


def _rows(sequence: PoseSequence) -> list[tuple[int, float, list[str]]]:
    """Return frame number, time and 3 J cells of each frame."""
    digits = _DIGITS[sequence.unit]
    return [
        (number, time_s, ["" if np.isnan(value) else f"{value:.{digits}f}" for value in values])
        for number, time_s, values in zip(
            sequence.frame.tolist(),
            sequence.time_s.tolist(),
            sequence.positions.reshape(len(sequence), -1).tolist(),
            strict=True,
        )
    ]
