from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import scipy.sparse

from lib.utils.files.portable_pickle import write_pickle, write_pickled_list
from lib.utils.files.safe_pickle import load_pickle

# Names in NumPy 1.13 and SciPy 0.19, of the original code's time.
OLD_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("scipy.sparse", "csr_matrix"),
}
RECORD = {
    "joints": np.arange(6.0).reshape(2, 3),
    "turned": np.ones((2, 3), order="F"),
    "scale": np.float32(1.5),
    "name": "é",
    "ids": np.array([b"a", b"bc"]),
    "none": np.zeros((0, 2), np.int16),
    "flag": True,
}


class Recorder(pickle.Unpickler):
    """Plain unpickler that records the names it looks up."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.names: set[tuple[str, str]] = set()

    def find_class(self, module, name):
        self.names.add((module, name))
        return super().find_class(module, name)


def check_record(record):
    assert record.keys() == RECORD.keys()
    for key, value in RECORD.items():
        np.testing.assert_array_equal(record[key], value)
        assert isinstance(record[key], type(value))  # arrays of a subclass are arrays
    assert record["turned"].flags.f_contiguous
    record["joints"][0] = 1  # arrays are writable


@pytest.mark.filterwarnings("error")
def test_write_pickle_arrays_and_scalars_have_portable_names(tmp_path):
    write_pickle(tmp_path / "a.pkl", [RECORD, RECORD, dict(RECORD)])
    recorder = Recorder((tmp_path / "a.pkl").read_bytes())
    for loaded in (recorder.load(), load_pickle(tmp_path / "a.pkl")):
        assert loaded[0] is loaded[1]
        check_record(loaded[2])
    assert recorder.names == OLD_NAMES - {("scipy.sparse", "csr_matrix")}


@pytest.mark.filterwarnings("error")
def test_write_pickled_list_pieces_have_portable_names(tmp_path):
    write_pickled_list(tmp_path / "a.pkl", [[RECORD], [], [RECORD] * 3])
    recorder = Recorder((tmp_path / "a.pkl").read_bytes())
    for loaded in (recorder.load(), load_pickle(tmp_path / "a.pkl")):
        assert len(loaded) == 4
        check_record(loaded[0])
        check_record(loaded[3])
    assert recorder.names == OLD_NAMES - {("scipy.sparse", "csr_matrix")}


def test_write_pickle_sparse_matrices_have_portable_names(tmp_path):
    matrix = scipy.sparse.csr_matrix(np.eye(4, dtype=bool))
    write_pickle(tmp_path / "a.pkl", {(0, 1): matrix, (1, 2): matrix.copy()})
    recorder = Recorder((tmp_path / "a.pkl").read_bytes())
    for loaded in (recorder.load(), load_pickle(tmp_path / "a.pkl")):
        np.testing.assert_array_equal(loaded[1, 2].toarray(), np.eye(4))
    assert recorder.names == OLD_NAMES - {("numpy.core.multiarray", "scalar")}


@pytest.mark.parametrize("sizes", [[], [0], [1], [3], [2, 0, 1, 2500, 1001]])
def test_write_pickled_list_pieces_become_one_list(tmp_path, sizes):
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
    for size in sizes:  # cameras are shared within a piece only
        assert len({id(entry["camera"]) for entry in found[start : start + size]}) == min(size, 1)
        start += size


def test_write_pickled_list_failing_piece_keeps_old_file(tmp_path):
    write_pickled_list(tmp_path / "a.pkl", [[1]])

    def pieces():
        yield [2]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_pickled_list(tmp_path / "a.pkl", pieces())
    assert load_pickle(tmp_path / "a.pkl") == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["a.pkl"]
