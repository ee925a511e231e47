from __future__ import annotations

import numpy as np

from lib.core.data_check.group_sequence import BLOCK, block_medians, frames_apart
from lib.core.data_check.hypotheses import best_explanations, where_wrong


def test_block_medians_are_the_lower_medians_without_nan():
    values = np.array([[5.0, 1], [1, np.nan], [3, 7], [2, np.nan], [9, np.nan]])
    assert np.array_equal(block_medians(values, np.array([0, 3, 5])), [[3, 1], [2, np.nan]], equal_nan=True)
    values = np.random.default_rng(0).normal(size=(2 * BLOCK, 4, 4))
    second = block_medians(values, np.array([0, BLOCK, 2 * BLOCK]))[1]
    assert np.allclose(second, np.sort(values[BLOCK:], 0)[BLOCK // 2 - 1])


def test_blocks_are_of_one_recording(make_groups):
    views = make_groups(frames=3 * (BLOCK + 10))
    assert np.diff(views.block_starts()).tolist() == [BLOCK, 10] * 3
    assert views.frame_gap == 3
    wrong = np.array([False, False, True, True, False, True])
    assert where_wrong(views, views.block_starts(), wrong).startswith(" in 2 of 3 recordings (3 of 6 parts of them; ")


def test_distance_in_frames():
    assert frames_apart(2, 5) == "10 frames later"
    assert frames_apart(-10, 2) == "20 or more frames earlier"


def test_explanations():
    assert best_explanations([("a", 3.0), ("b", 0.1)], 1, 0.02, "px") == "b (with that: 0.10 px)"
    assert best_explanations([("a", 0.1), ("b", 0.09)], 1, 0.02, "px") == "a, or b (with either: 0.10 px)"
    assert best_explanations([("a", 3.0)], 1, 0.02, "px") == ""
