"""Tables of 3D results."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from lib.core.evaluate3d import summarise
from lib.core.tables3d import TIDY_HEADER, action_table, all_tables, distribution_table, joint_table, save_tidy_csv


@pytest.fixture
def results():
    truth = np.zeros((3, 2, 3))
    pose = np.zeros((3, 2, 3))
    pose[:, 1, 0] = [2, 4, 12]  # Walking: 1 and 2 mm on average, Directions: 6
    return summarise(pose, truth, np.array([14, 14, 2]), ["root", "knee"])


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_tables_are_markdown(results):
    lines = [cells(line) for line in action_table(results).splitlines()]
    assert lines[0] == ["action", "frames", "MPJPE", "root-relative", "PA", "PCK@150 (%)", "AUC (%)"]
    assert lines[2][:4] == ["Directions", "1", "6.0", "6.0"]  # in the order of the ids
    assert lines[3][:4] == ["Walking", "2", "1.5", "1.5"]
    assert lines[-2][:4] == ["**mean over frames**", "3", "3.0", "3.0"]
    assert lines[-1][:4] == ["**mean over actions**", "3", "3.8", "3.8"]
    assert {len(line) for line in lines} == {7}
    knee = cells(joint_table(results).splitlines()[3])
    assert knee[:3] == ["knee", "6.0", "6.0"]
    assert knee[-2:] == ["100.0", f"{100 * 88 / 93:.1f}"]  # 30, 30 and 28 of 31 thresholds
    assert cells(joint_table(results).splitlines()[2])[-2:] == ["-", "-"]  # the root relative to itself


def test_distribution(results):
    lines = [cells(line) for line in distribution_table(results).splitlines()]
    assert lines[0][:4] == ["error of a joint", "mean", "50 %", "90 %"]
    assert lines[2][:3] == ["absolute", "3.0", "1.0"]
    assert lines[3][:3] == ["root-relative", "3.0", "4.0"]
    assert lines[3][6] == "12.0"


def test_missing_joints_are_mentioned(results):
    assert "no position" not in all_tables(results)
    assert "7 joints have no position" in all_tables({**results, "num_missing": 7})


def test_csv_holds_every_number_once(results, tmp_path):
    save_tidy_csv(tmp_path / "results.csv", {"rpsm": results, "psm, t = 0": results})
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == TIDY_HEADER
    keys = [tuple(row[name] for name in TIDY_HEADER[:5]) for row in rows]
    assert len(set(keys)) == len(keys)
    values = {key[1:]: row for key, row in zip(keys, rows, strict=True) if key[0] == "psm, t = 0"}
    assert float(values["all", "all", "absolute", "mean_over_actions"]["value"]) == 3.75
    assert values["joint", "root", "root_relative", "pck150"]["value"] == ""
    assert values["joint", "knee", "pa", "auc"]["unit"] == "share"
    assert float(values["action", "Walking", "absolute", "mean"]["value"]) == 1.5
    assert len(values) == 3 * 9 + 2 * 2 * 3 * 3  # per alignment; 2 actions and 2 joints with 3 statistics of each
