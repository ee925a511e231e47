from __future__ import annotations

import numpy as np

from lib.core.data_check.group_sequence import BLOCK, block_medians, frames_apart


def test_block_medians_ignore_nan():
    values = np.array([[5.0, 1], [1, np.nan], [3, 7], [2, np.nan], [9, np.nan]])
    assert np.array_equal(block_medians(values, np.array([0, 3, 5])), [[3, 1], [2, np.nan]], equal_nan=True)
    values = np.random.default_rng(0).normal(size=(2 * BLOCK, 4, 4))
    second = block_medians(values, np.array([0, BLOCK, 2 * BLOCK]))[1]
    assert np.allclose(second, np.sort(values[BLOCK:], 0)[BLOCK // 2 - 1])


def test_block_starts_split_recordings(make_groups):
    groups = make_groups(frames=3 * (BLOCK + 10))
    assert np.diff(groups.block_starts()).tolist() == [BLOCK, 10] * 3
    assert groups.frame_gap == 3


def test_frames_apart_texts():
    assert frames_apart(2, 5) == "10 frames later"
    assert frames_apart(-10, 2) == "20 or more frames earlier"
