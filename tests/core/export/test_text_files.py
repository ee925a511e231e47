"""TRC files are read back with trc-data-reader, which knows no empty cells, and cell by cell with numpy."""

from __future__ import annotations

import csv

import numpy as np
from trc import TRCData

from lib.core.export.marker_names import POSE2SIM, marker_names
from lib.core.export.pose_sequence import load_sequences
from lib.core.export.text_files import write_pose_csv, write_trc
from lib.utils.joints import H36M_17

NAMES = marker_names(H36M_17.names, POSE2SIM)
MICROMETER = 1.0001e-3  # mm


def test_write_trc_is_read_by_another_library(walk, pose_file, tmp_path):
    (sequence,) = load_sequences(pose_file(walk[7:17], 40 + np.arange(10)))
    write_trc(tmp_path / "a b.trc", sequence.scaled("m"), NAMES)
    data = TRCData()
    data.load(tmp_path / "a b.trc")
    assert data["Markers"] == NAMES
    assert (data["Units"], data["DataRate"], data["NumFrames"], data["NumMarkers"]) == ("m", 50, 10, 17)
    assert data["OrigDataStartFrame"] == 40
    assert data["Frame#"] == list(range(40, 50))
    np.testing.assert_allclose(data["Time"], np.arange(40, 50) / 50, atol=1e-6)
    found = np.stack([data[name] for name in NAMES], 1)
    np.testing.assert_allclose(1000 * found, walk[7:17], atol=MICROMETER)


def test_write_trc_leaves_cells_of_unknown_joints_empty(walk, pose_file, tmp_path):
    walk[8, -1] = np.nan
    (sequence,) = load_sequences(pose_file(walk))
    write_trc(tmp_path / "a.trc", sequence, NAMES)
    lines = (tmp_path / "a.trc").read_text().split("\n")
    # OpenSim loses the last cell of a line if it is empty, and counts the others.
    assert {len(line.split("\t")) for line in lines[4:-1]} == {2 + 3 * 17 + 1}
    cells = np.genfromtxt(tmp_path / "a.trc", delimiter="\t", skip_header=5)[:, 2:-1]
    np.testing.assert_allclose(cells.reshape(30, 17, 3), walk, atol=MICROMETER)


def test_write_pose_csv(walk, pose_file, tmp_path):
    (sequence,) = load_sequences(pose_file(walk[:6], np.array([3, 4, 5, 9, 10, 11])))
    write_pose_csv(tmp_path / "a.csv", sequence.scaled("cm"), list(H36M_17.names))
    with open(tmp_path / "a.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == [3, 4, 5, 9, 10, 11]
    assert float(rows[3]["rwri_y_cm"]) * 10 == np.round(walk[3, 16, 1], 3)
    assert rows[4]["lkne_x_cm"] == ""
