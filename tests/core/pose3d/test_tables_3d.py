"""Tables of 3D results."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from lib.core.pose3d.metrics_3d import summarize
from lib.core.pose3d.tables_3d import (
    TIDY_HEADER,
    action_table,
    all_tables,
    distribution_table,
    joint_table,
    part_table,
    save_tidy_csv,
)
from lib.dataset.totalcapture import PROTOCOL


@pytest.fixture
def results():
    gt = np.zeros((3, 2, 3))
    pose = np.zeros((3, 2, 3))
    pose[:, 1, 0] = [2, 4, 12]  # Walking: 1 and 2 mm on average, Directions: 6
    return summarize(pose, gt, np.array([14, 14, 2]), ["root", "knee"])


@pytest.fixture
def split_results():
    """Total Capture: Walking 2 of S1 (two frames, 1 mm) and S4 (6 mm), Freestyle 3 of S2 (10 mm), no Acting 3."""
    gt = np.zeros((4, 2, 3))
    pose = np.zeros((4, 2, 3))
    pose[:, 1, 0] = [2, 2, 12, 20]
    parts = PROTOCOL.parts(np.array([1, 1, 4, 2]), np.array([2, 2, 2, 5]), np.array([2, 2, 2, 3]))
    return summarize(pose, gt, np.array(["W", "W", "W", "F"]), ["root", "knee"], parts=parts)


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_action_and_joint_table_are_markdown(results):
    lines = [cells(line) for line in action_table(results).splitlines()]
    assert lines[0] == ["action", "frames", "MPJPE", "root-relative", "PA", "PCK@150 (%)", "AUC (%)"]
    assert lines[2][:4] == ["Directions", "1", "6.0", "6.0"]  # ordered by id
    assert lines[3][:4] == ["Walking", "2", "1.5", "1.5"]
    assert lines[-2][:4] == ["**mean over frames**", "3", "3.0", "3.0"]
    assert lines[-1][:4] == ["**mean over actions**", "3", "3.8", "3.8"]
    assert {len(line) for line in lines} == {7}
    knee = cells(joint_table(results).splitlines()[3])
    assert knee[:3] == ["knee", "6.0", "6.0"]
    assert knee[-2:] == ["100.0", f"{100 * 88 / 93:.1f}"]  # 30, 30 and 28 of 31 thresholds
    root = cells(joint_table(results).splitlines()[2])
    assert root[-2:] == ["-", "-"]  # its root-relative error is always 0


def test_distribution_table_has_mean_and_percentiles(results):
    lines = [cells(line) for line in distribution_table(results).splitlines()]
    assert lines[0][:4] == ["error of a joint", "mean", "50 %", "90 %"]
    assert lines[2][:3] == ["absolute", "3.0", "1.0"]
    assert lines[3][:3] == ["root-relative", "3.0", "4.0"]
    assert lines[3][6] == "12.0"


def test_all_tables_coverage_is_noted(results):
    assert "regions" not in all_tables(results)
    uncertain = {**results, "coverage": {"50": 0.5, "90": 0.912}, "median_sd_mm": 17.04}
    note = "The 50/90 % regions cover 50.0/91.2 % of the joints; median standard deviation 17.0 mm per axis."
    assert note in all_tables(uncertain)


def test_all_tables_missing_joints_are_noted(results):
    assert "no position" not in all_tables(results)
    assert "7 joints have no position" in all_tables({**results, "num_missing": 7})


def test_part_table_total_capture(split_results, results):
    lines = [cells(line) for line in part_table(split_results, "absolute").splitlines()]
    assert lines[0] == ["MPJPE per sequence", "seen subjects", "unseen subjects", "all subjects"]
    assert lines[2:5] == [["W2", "1.0", "6.0", "2.7"], ["FS3", "10.0", "-", "10.0"], ["A3", "-", "-", "-"]]
    assert lines[5:] == [
        ["**mean over frames**", "4.0", "6.0", "4.5"],  # 1 1 10, 6, 1 1 6 10
        ["**mean over sequences**", "5.5", "6.0", "6.3"],
    ]  # 1 10, 6, 8 / 3 and 10
    page = all_tables(split_results)
    for heading in ("| MPJPE per sequence ", "| root-relative per sequence ", "| PA per sequence "):
        assert page.count(heading) == 1
    assert "per sequence" not in all_tables(results)


def test_save_tidy_csv_has_parts(split_results, tmp_path):
    save_tidy_csv(tmp_path / "results.csv", {"rpsm": split_results})
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["group"] == "part"]
    values = {(row["name"], row["alignment"], row["statistic"]): row["value"] for row in rows}
    assert len(values) == len(rows) == 4 * 3 * 3 * 3  # rows, columns, alignments, statistics
    assert float(values["W2, unseen subjects", "absolute", "mean"]) == 6.0
    assert float(values["all, all subjects", "root_relative", "pck150"]) == 1.0
    assert values["A3, seen subjects", "pa", "mean"] == ""


def test_save_tidy_csv_has_every_number_once(results, tmp_path):
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
