"""The paper's tables: checksums against typing errors, and relations that hold in the paper."""

from __future__ import annotations

import numpy as np
import pytest

from lib.core.report.paper_results import TABLE_1, TABLE_3, TABLE_3_COLUMNS, TABLE_4, TOTAL_CAPTURE
from lib.dataset.protocol import ACTION_NAMES


def test_tables_have_their_checksums():
    assert np.sum(list(TABLE_1.values())) == pytest.approx(3384.79)
    assert sum(row.average for row in TABLE_3) == pytest.approx(330.20)
    column_sums = np.sum([row.by_column for row in TABLE_3], 0)
    assert column_sums[::4].tolist() == pytest.approx([278.88, 264.76, 691.61, 242.63])
    assert column_sums.sum() == pytest.approx(4874.51)
    assert sum(row.average for row in TABLE_4) == pytest.approx(191.52)


def test_table_3_average_is_slightly_above_mean_of_actions():
    for row in TABLE_3:
        assert 1.003 < row.average / np.mean(row.by_column) < 1.031


def test_table_3_fusion_more_data_and_rpsm_are_better():
    average = {row.method: row.average for row in TABLE_3}
    for method, value in average.items():
        assert average[method.replace("Single", "Fusion")] <= value
        assert average[method.replace("triangulation", "RPSM")] <= value
        assert average[method.replace("H36M,", "H36M+MPII,")] <= value


def test_table_4_error_falls_with_depth():
    averages = [row.average for row in TABLE_4]
    assert averages == sorted(averages, reverse=True)
    assert averages[-1] > TABLE_3[-1].average  # depth 10
    assert TABLE_4[0].per_action == {}


def test_rows_name_their_data_set():
    assert {row.sequences for row in TOTAL_CAPTURE} == {("W2", "FS3", "A3")}
    assert {row.sequences for row in (*TABLE_3, *TABLE_4)} == {()}


@pytest.mark.parametrize(("name", "column"), [("TakingPhoto", "Photo"), ("Posing", "Pose"), ("WalkingDog", "WalkD")])
def test_table_3_columns_are_actions_of_data_set(name, column):
    assert TABLE_3_COLUMNS[name] == column
    assert set(TABLE_3_COLUMNS) == set(ACTION_NAMES.values())
