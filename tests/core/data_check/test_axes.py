from __future__ import annotations

import numpy as np

from lib.core.data_check.axes import signed_permutations


def test_every_way_once_but_the_identity():
    found = dict(signed_permutations())
    assert len(found) == 48 - 1
    for matrix in found.values():
        np.testing.assert_array_equal(matrix @ matrix.T, np.eye(3))
    assert len({matrix.tobytes() for matrix in found.values()}) == 47


def test_names_say_what_the_matrices_do():
    found = dict(signed_permutations())
    point = np.array([1.0, 2, 3])
    np.testing.assert_array_equal(found["x is mirrored"] @ point, [-1, 2, 3])
    np.testing.assert_array_equal(found["y and z are exchanged"] @ point, [1, 3, 2])
    np.testing.assert_array_equal(found["y and z are exchanged and y is mirrored"] @ point, [1, -3, 2])
    # stored (z, x, y): ours is (stored 1, stored 2, stored 0)
    np.testing.assert_array_equal(found["the axes are stored in the order z, x, y"] @ point, [2, 3, 1])


def test_simple_ones_come_first():
    names = [name for name, _ in signed_permutations()]
    assert set(names[:3]) == {"x is mirrored", "y is mirrored", "z is mirrored"}
