from __future__ import annotations

import collections
import functools
import os
import pickle
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import scipy.sparse

from lib.utils.errors import InputError
from lib.utils.files.safe_pickle import load_pickle

RECORDS = [
    {
        "image": "s_01/é.jpg",
        "image_id": 7,
        "joints_2d": np.arange(34, dtype=np.float64).reshape(17, 2) / 3,
        "joints_vis": np.ones((17, 3), np.float32, order="F"),
        "scale": (1.5, np.float64(2.25)),
        "flag": True,
        "camera": {"R": np.eye(3), "fx": np.array([1145.5]), "none": None},
        "id": np.int64(3),
    }
]


class Python2Pickler(pickle._Pickler):
    """Pickler of protocol 2 like Python 2: text and array data as byte strings, no codec calls."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value):
        data = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_bytes


def renamed(data: bytes, names: dict[str, str]) -> bytes:
    """Change module names in protocols 0 to 3, which write them as text lines."""
    for old, new in names.items():
        assert f"c{old}\n".encode() in data
        data = data.replace(f"c{old}\n".encode(), f"c{new}\n".encode())
    return data


def check_equal(loaded, expected):
    if isinstance(expected, dict):
        assert loaded.keys() == expected.keys()
        for key in expected:
            check_equal(loaded[key], expected[key])
    elif isinstance(expected, np.ndarray):
        assert loaded.dtype == expected.dtype
        assert np.array_equal(loaded, expected)
    else:
        assert loaded == expected


@pytest.fixture
def load(tmp_path):
    def from_bytes(data: bytes):
        (tmp_path / "a.pkl").write_bytes(data)
        return load_pickle(tmp_path / "a.pkl")

    return from_bytes


@pytest.mark.parametrize("protocol", range(6))
def test_load_pickle_every_protocol(load, protocol):
    check_equal(load(pickle.dumps(RECORDS, protocol))[0], RECORDS[0])


@pytest.mark.parametrize("protocol", [0, 2, 3])
def test_load_pickle_names_of_numpy_1_and_2(load, protocol):
    data = pickle.dumps(RECORDS, protocol)
    here, other = ("numpy._core", "numpy.core") if b"numpy._core" in data else ("numpy.core", "numpy._core")
    check_equal(load(renamed(data, {f"{here}.multiarray": f"{other}.multiarray"}))[0], RECORDS[0])


def test_load_pickle_of_python_2(load, tmp_path):
    with open(tmp_path / "two.pkl", "wb") as file:
        Python2Pickler(file, protocol=2).dump(RECORDS)
    data = (tmp_path / "two.pkl").read_bytes()
    assert b"_codecs" not in data
    check_equal(load(data.replace(b"numpy._core", b"numpy.core"))[0], RECORDS[0])


@pytest.mark.parametrize("module", ["scipy.sparse.csr", "scipy.sparse._csr", "scipy.sparse"])
@pytest.mark.parametrize("protocol", [0, 2])
def test_load_pickle_csr_matrix_under_every_module_name(load, module, protocol):
    dense = np.random.default_rng(0).random((40, 30)) < 0.1
    data = pickle.dumps({"pairwise_constrain": {(0, 1): scipy.sparse.csr_matrix(dense)}}, protocol)
    loaded = load(renamed(data, {"scipy.sparse._csr": module}))["pairwise_constrain"][0, 1]
    assert scipy.sparse.isspmatrix_csr(loaded)
    assert loaded.dtype == bool
    assert np.array_equal(loaded.toarray(), dense)


def test_load_pickle_csr_array(load):
    dense = np.eye(3, 4)
    loaded = load(pickle.dumps(scipy.sparse.csr_array(dense)))
    assert isinstance(loaded, scipy.sparse.csr_array)
    assert np.array_equal(loaded.toarray(), dense)


def test_load_pickle_ordered_dict(load):
    value = collections.OrderedDict(b=1, a=2)
    assert list(load(pickle.dumps(value))) == ["b", "a"]


def test_load_pickle_arrays_of_text_and_objects(load):
    for value in (
        np.array(["ab", "é"]),
        np.array([b"ab", b"c"]),
        np.array([None, [1]], object),
        np.str_("é"),
        np.arange(6, dtype=">i2").reshape(2, 3).T,
        np.array(1 + 2j),
        np.float32(0.5),
    ):
        for protocol in (0, 2, 5):
            data = pickle.dumps(value, protocol)
            loaded = load(data)
            expected = pickle.loads(data)
            assert loaded.dtype == expected.dtype
            assert loaded.shape == expected.shape
            assert loaded.tolist() == expected.tolist() == value.tolist()


def test_load_pickle_arrays_are_pickled_as_plain_arrays(load):
    data = pickle.dumps(load(pickle.dumps(RECORDS, 4)), 4)
    assert b"lib.utils" not in data
    check_equal(pickle.loads(data)[0], RECORDS[0])


class Foreign:
    """Object whose pickle calls a function and sets a state of the result."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_load_pickle_foreign_call_is_not_executed(load, tmp_path, protocol):
    marker = tmp_path / "made_by_pickle"
    data = pickle.dumps([{"image": Foreign(os.mkdir, str(marker))}], protocol)
    with pytest.raises(InputError, match=r"a\.pkl: refused or damaged pickle: '\w+\.mkdir' is not an allowed"):
        load(data)
    assert not marker.exists()


@pytest.mark.parametrize(
    "value",
    [
        Path("x"),
        functools.partial(print),
        np.ma.masked_array([1.0]),
        Foreign(getattr, "x", "upper"),
        Foreign(eval, "1"),
        np.random.default_rng(0),
    ],
)
def test_load_pickle_other_types_are_refused(load, value):
    with pytest.raises(InputError, match="not an allowed numpy or scipy type"):
        load(pickle.dumps(value))


RECONSTRUCT = np.zeros(1).__reduce__()[0]
FROM_BUFFER = np.zeros(1).__reduce_ex__(5)[0]
PLAIN = (3, "<", None, None, None, -1, -1, 0)  # state of an ordinary dtype


def dtype(name, state=PLAIN):
    return Foreign(np.dtype, name, False, True, state=state)


def array(kind, data, shape=(1,)):
    return Foreign(RECONSTRUCT, np.ndarray, (0,), b"b", state=(1, shape, kind, False, data))


ADDRESS = b"A" * 8
VICTIM = array(dtype("f8"), ADDRESS)
FORGED = {
    "hidden pointers": array(dtype("V8", (3, "|", None, ("a",), {"a": (dtype("O8"), 0)}, 8, 1, 0)), ADDRESS),
    "pointers for numbers": array(dtype("f8", (3, "|", None, ("a",), {"a": (dtype("O8"), 0)}, 8, 1, 0)), ADDRESS),
    "subdtype": array(dtype("f8", (3, "<", (dtype("O8"), (1,)), None, None, 8, 1, 0)), ADDRESS),
    "fields": array(dtype("O,f8"), ADDRESS * 2),
    "bytes for objects": array(dtype("O8"), ADDRESS),
    "more objects than there are": array(dtype("O8"), [None], (10_000,)),
    "negative shape": array(dtype("f8"), ADDRESS, (-1, -1)),
    "fewer bytes": array(dtype("f8"), ADDRESS, (2,)),
    "no shape": array(dtype("f8"), ADDRESS, 1),
    "real dtype lookalike": array("O8", ADDRESS),
    "scalar": Foreign(np.float64(0).__reduce__()[0], dtype("O8"), ADDRESS),
    "scalar of an array": Foreign(np.float64(0).__reduce__()[0], dtype("f8"), np.zeros(1)),
    "another array's memory": [VICTIM, Foreign(FROM_BUFFER, VICTIM, dtype("f8"), (1,), "C")],
    "constructor": Foreign(np.ndarray, (1,), "f8", np.zeros(1)),
    "other class": Foreign(RECONSTRUCT, object, (0,), b"b"),
    "columns beyond a sparse matrix": Foreign(
        scipy.sparse.csr_matrix,
        state={"_shape": (1, 1), "data": np.ones(1), "indices": np.array([9**6]), "indptr": np.array([0, 1])},
    ),
    "the same by its constructor": Foreign(
        scipy.sparse.csr_matrix, (np.ones(1), np.array([9**6]), np.array([0, 1])), (1, 1)
    ),
}


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("protocol", [2, 4])
def test_load_pickle_forged_state_is_refused(load, name, protocol):
    with pytest.raises(InputError, match="refused or damaged pickle"):
        load(pickle.dumps(FORGED[name], protocol))


def test_load_pickle_array_is_not_filled_twice(load):
    data = pickle.dumps(VICTIM, 2)
    state = data[data.index(b"(K\x01K\x01\x85") :]  # ends in BUILD and STOP
    with pytest.raises(InputError, match="has a form that numpy does not write"):
        load(data[:-1] + state)


def test_load_pickle_other_codecs_are_refused(load):
    data = pickle.dumps(b"\xff\xfe" * 5, 2)
    assert load(data) == b"\xff\xfe" * 5
    with pytest.raises(InputError, match="codec"):
        load(data.replace(b"latin1", b"base64"))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7, 0.99])
def test_load_pickle_truncated_file_is_refused(load, share):
    data = pickle.dumps(RECORDS * 5, 2)
    with pytest.raises(InputError, match=r"a\.pkl: (the pickle is truncated|refused or damaged)"):
        load(data[: int(len(data) * share)])


def test_load_pickle_other_content_is_refused(load, tmp_path):
    with pytest.raises(InputError, match="refused or damaged pickle"):
        load(b"<html>404</html>")
    with pytest.raises(InputError, match=r"none\.pkl: no such file"):
        load_pickle(tmp_path / "none.pkl")
    with pytest.raises(InputError, match="cannot be read"):
        load_pickle(tmp_path)
