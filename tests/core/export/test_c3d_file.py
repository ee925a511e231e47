"""C3D files are written by ezc3d and read back with c3d."""

from __future__ import annotations

import warnings

import c3d
import numpy as np
import pytest

from lib.core.export.c3d_file import write_c3d
from lib.core.export.marker_names import POSE2SIM, marker_names
from lib.core.export.pose_sequence import load_sequences
from lib.utils.joints import H36M_17

NAMES = marker_names(H36M_17.names, POSE2SIM)


def read(path):
    """Return the reader, frame numbers (F,) and rows (F, J, 5): position, residual, camera mask."""
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No analog data")
        reader = c3d.Reader(file)
        frames = [(number, points.copy()) for number, points, _ in reader.read_frames()]
    return reader, [number for number, _ in frames], np.stack([points for _, points in frames])


def test_write_c3d_is_read_by_another_library(walk, pose_file, tmp_path):
    (sequence,) = load_sequences(pose_file(walk, 40 + np.arange(30)))
    write_c3d(tmp_path / "a.c3d", sequence, NAMES, "z")
    reader, numbers, points = read(tmp_path / "a.c3d")
    assert [label.strip() for label in reader.point_labels] == NAMES
    assert reader.point_rate == 50
    assert reader.get("POINT:UNITS").string_value.strip() == "mm"
    assert reader.get("POINT:Y_SCREEN").string_value.strip() == "+Z"
    assert numbers == list(range(41, 71))
    known = np.isfinite(walk).all(-1)
    assert np.abs(points[..., :3] - walk)[known].max() < 0.01
    np.testing.assert_array_equal(points[..., 3], np.where(known, 0, -1))
    assert (points[~known][:, :3] == 0).all()


@pytest.mark.parametrize("frame", [65530 + np.arange(30), 10 * np.arange(30)])
def test_write_c3d_counts_from_1_if_frame_numbers_do_not_fit(walk, pose_file, tmp_path, frame):
    (sequence,) = load_sequences(pose_file(walk, frame))
    write_c3d(tmp_path / "a.c3d", sequence.scaled("m"), NAMES, "y")
    reader, numbers, points = read(tmp_path / "a.c3d")
    assert numbers == list(range(1, 31))
    assert reader.get("POINT:UNITS").string_value.strip() == "m"
    assert reader.get("POINT:Y_SCREEN").string_value.strip() == "+Y"
    known = np.isfinite(walk).all(-1)
    assert np.abs(1000 * points[..., :3] - walk)[known].max() < 0.01
