"""Pickles under names that all versions of the packages know."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import scipy.sparse

from lib.utils.files.atomic import write_pickle
from lib.utils.files.pickled_list import write_pickled_list
from lib.utils.files.safe_pickle import load_pickle

# What NumPy 1.13 and SciPy 0.19, of the released code's time, have already.
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
    """Loads with plain pickle and notes the names that it looks up."""

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
    record["joints"][0] = 1  # arrays can be changed


@pytest.mark.filterwarnings("error")
def test_arrays_and_scalars(tmp_path):
    write_pickle(tmp_path / "a.pkl", [RECORD, RECORD, dict(RECORD)])
    recorder = Recorder((tmp_path / "a.pkl").read_bytes())
    for loaded in (recorder.load(), load_pickle(tmp_path / "a.pkl")):
        assert loaded[0] is loaded[1]
        check_record(loaded[2])
    assert recorder.names == OLD_NAMES - {("scipy.sparse", "csr_matrix")}


@pytest.mark.filterwarnings("error")
def test_lists_of_pieces(tmp_path):
    write_pickled_list(tmp_path / "a.pkl", [[RECORD], [], [RECORD] * 3])
    recorder = Recorder((tmp_path / "a.pkl").read_bytes())
    for loaded in (recorder.load(), load_pickle(tmp_path / "a.pkl")):
        assert len(loaded) == 4
        check_record(loaded[0])
        check_record(loaded[3])
    assert recorder.names == OLD_NAMES - {("scipy.sparse", "csr_matrix")}


def test_sparse_matrices(tmp_path):
    matrix = scipy.sparse.csr_matrix(np.eye(4, dtype=bool))
    write_pickle(tmp_path / "a.pkl", {(0, 1): matrix, (1, 2): matrix.copy()}, [scipy.sparse.csr_matrix])
    recorder = Recorder((tmp_path / "a.pkl").read_bytes())
    for loaded in (recorder.load(), load_pickle(tmp_path / "a.pkl")):
        np.testing.assert_array_equal(loaded[1, 2].toarray(), np.eye(4))
    assert recorder.names == OLD_NAMES
