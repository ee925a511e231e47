"""The paper's Tables 1, 3 and 4, letter by letter."""

from __future__ import annotations

import numpy as np
import pytest

from lib.core.report.paper_results import TABLE_1, TABLE_3, TABLE_3_COLUMNS, TABLE_4, TOTAL_CAPTURE
from lib.dataset.protocol import ACTION_NAMES

PRINTED = """
| method | Dir | Disc | Eat | Greet | Phone | Photo | Pose | Purch | Sit | SitD | Smoke | Wait | WalkD | Walk | WalkT | Avg |
| Single, H36M, triangulation | 71.76 | 65.89 | 56.63 | 136.52 | 59.32 | 96.30 | 46.67 | 110.51 | 150.10 | 57.01 | 73.15 | 292.78 | 49.00 | 48.67 | 62.62 | 94.54 |
| Single, H36M, RPSM | 33.38 | 36.36 | 27.13 | 31.14 | 31.06 | 30.28 | 28.59 | 41.03 | 245.52 | 33.74 | 37.10 | 35.97 | 29.92 | 35.23 | 30.55 | 47.82 |
| Single, +MPII, triangulation | 33.99 | 32.87 | 25.80 | 29.02 | 34.63 | 26.64 | 28.42 | 42.63 | 88.69 | 36.38 | 35.48 | 31.98 | 27.43 | 32.42 | 27.53 | 36.28 |
| Single, +MPII, RPSM | 26.89 | 28.05 | 23.13 | 25.75 | 26.07 | 23.45 | 24.41 | 34.02 | 39.63 | 29.26 | 29.49 | 27.25 | 25.07 | 27.82 | 24.85 | 27.99 |
| Fusion, H36M, triangulation | 34.84 | 35.78 | 32.70 | 33.49 | 34.44 | 38.19 | 29.66 | 60.72 | 53.10 | 35.18 | 40.97 | 41.57 | 31.86 | 31.38 | 34.58 | 38.29 |
| Fusion, H36M, RPSM | 28.89 | 32.46 | 26.58 | 28.14 | 28.31 | 29.34 | 28.00 | 36.77 | 41.98 | 30.54 | 35.59 | 30.03 | 28.33 | 30.01 | 30.46 | 31.17 |
| Fusion, +MPII, triangulation | 25.15 | 27.85 | 24.25 | 25.45 | 26.16 | 23.70 | 25.68 | 29.66 | 40.47 | 28.60 | 32.77 | 26.83 | 26.00 | 28.56 | 25.01 | 27.90 |
| Fusion, +MPII, RPSM | 23.98 | 26.71 | 23.19 | 24.30 | 24.77 | 22.82 | 24.12 | 28.62 | 32.12 | 26.87 | 30.98 | 25.56 | 25.02 | 28.07 | 24.37 | 26.21 |
"""  # noqa: E501


PRINTED_1 = """
| Single, H36M | 88.50 | 88.94 | 85.72 | 90.37 | 94.04 | 90.11 |
| Sum along the epipolar line, H36M | 91.36 | 91.23 | 89.63 | 96.19 | 94.14 | 90.38 |
| Max along the epipolar line, H36M | 92.67 | 92.45 | 91.57 | 97.69 | 95.01 | 91.88 |
| Fusion, H36M | 95.58 | 95.83 | 95.01 | 99.36 | 97.96 | 94.75 |
| Single, H36M+MPII | 97.38 | 93.54 | 89.33 | 99.01 | 95.10 | 91.96 |
| Fusion, H36M+MPII | 98.97 | 98.10 | 97.20 | 99.85 | 98.87 | 95.11 |
"""


def test_table_1():
    printed = [[cell.strip() for cell in line.strip("|").split("|")] for line in PRINTED_1.strip().splitlines()]
    assert [", ".join(key) for key in TABLE_1] == [line[0] for line in printed]
    assert [list(values) for values in TABLE_1.values()] == [[float(cell) for cell in line[1:]] for line in printed]


def test_table_3():
    header, *printed = [[cell.strip() for cell in line.strip("|").split("|")] for line in PRINTED.strip().splitlines()]
    assert list(TABLE_3_COLUMNS.values()) == header[1:-1]
    assert [row.method.replace("H36M+MPII", "+MPII") for row in TABLE_3] == [line[0] for line in printed]
    for row, line in zip(TABLE_3, printed, strict=True):
        assert [*row.per_action.values(), row.average] == [float(cell) for cell in line[1:]]


def test_the_average_lies_above_the_mean_of_the_actions():
    for row in TABLE_3:
        assert row.average > np.mean(row.by_column)


def test_table_4():
    assert [row.average for row in TABLE_4] == [77.28, 57.22, 30.76, 26.26]
    assert [row.method[-1] for row in TABLE_4] == list("0135")
    assert TABLE_4[0].per_action == {}


def test_total_capture():
    assert {row.method.split(",")[0]: row.average for row in TOTAL_CAPTURE} == {"Single": 41.0, "Fusion": 29.0}
    assert {row.sequences for row in TOTAL_CAPTURE} == {("W2", "FS3", "A3")}
    assert {row.sequences for row in (*TABLE_3, *TABLE_4)} == {()}


@pytest.mark.parametrize(("name", "column"), [("TakingPhoto", "Photo"), ("Posing", "Pose"), ("WalkingDog", "WalkD")])
def test_columns_have_the_names_of_the_data_set(name, column):
    assert TABLE_3_COLUMNS[name] == column
    assert set(TABLE_3_COLUMNS) == set(ACTION_NAMES.values())
