from __future__ import annotations

import numpy as np

from lib.core.data_check.group_sequence import BLOCK
from lib.core.data_check.hypotheses import best_explanations, signed_permutations, where_wrong


def test_signed_permutations_all_but_the_identity():
    found = dict(signed_permutations())
    assert len(found) == 48 - 1
    for matrix in found.values():
        np.testing.assert_array_equal(matrix @ matrix.T, np.eye(3))
    assert len({matrix.tobytes() for matrix in found.values()}) == 47


def test_signed_permutations_names_match_matrices():
    found = dict(signed_permutations())
    point = np.array([1.0, 2, 3])
    np.testing.assert_array_equal(found["x is mirrored"] @ point, [-1, 2, 3])
    np.testing.assert_array_equal(found["y and z are swapped"] @ point, [1, 3, 2])
    np.testing.assert_array_equal(found["y and z are swapped and y is mirrored"] @ point, [1, -3, 2])
    # stored (z, x, y): ours is (stored 1, stored 2, stored 0)
    np.testing.assert_array_equal(found["the axes are stored in the order z, x, y"] @ point, [2, 3, 1])


def test_signed_permutations_simple_ones_first():
    names = [name for name, _ in signed_permutations()]
    assert set(names[:3]) == {"x is mirrored", "y is mirrored", "z is mirrored"}


def test_best_explanations_one_two_or_none():
    assert best_explanations([("a", 3.0), ("b", 0.1)], 1, 0.02, "px") == "b (with that: 0.10 px)"
    assert best_explanations([("a", 0.1), ("b", 0.09)], 1, 0.02, "px") == "a, or b (with either: 0.10 px)"
    assert best_explanations([("a", 3.0)], 1, 0.02, "px") == ""


def test_where_wrong_counts_recordings(make_groups):
    groups = make_groups(frames=3 * (BLOCK + 10))
    wrong = np.array([False, False, True, True, False, True])
    assert where_wrong(groups, groups.block_starts(), wrong).startswith(" in 2 of 3 recordings (3 of 6 parts of them; ")
