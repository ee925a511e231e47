from __future__ import annotations

import pickle

import numpy as np
import pytest

from lib.utils.files.pickled_list import write_pickled_list
from lib.utils.files.safe_pickle import load_pickle


@pytest.mark.parametrize("sizes", [[], [0], [1], [3], [2, 0, 1, 2500, 1001]])
def test_one_list_of_all_pieces(tmp_path, sizes):
    numbers = iter(range(10**6))
    pieces = []
    for size in sizes:
        shared = {"R": np.arange(3.0)}
        pieces.append([{"n": next(numbers), "x": np.arange(4.0), "camera": shared, "name": "a"} for _ in range(size)])
    write_pickled_list(tmp_path / "a.pkl", iter(pieces))
    expected = [entry for piece in pieces for entry in piece]
    for found in (load_pickle(tmp_path / "a.pkl"), pickle.loads((tmp_path / "a.pkl").read_bytes())):
        assert type(found) is list
        assert [entry["n"] for entry in found] == [entry["n"] for entry in expected]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one["x"], other["x"])
            np.testing.assert_array_equal(one["camera"]["R"], other["camera"]["R"])
    start = 0
    for size in sizes:  # shared within a piece, and not between pieces
        assert len({id(entry["camera"]) for entry in found[start : start + size]}) == min(size, 1)
        start += size


def test_a_failure_leaves_the_old_file(tmp_path):
    write_pickled_list(tmp_path / "a.pkl", [[1]])

    def pieces():
        yield [2]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_pickled_list(tmp_path / "a.pkl", pieces())
    assert load_pickle(tmp_path / "a.pkl") == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["a.pkl"]
