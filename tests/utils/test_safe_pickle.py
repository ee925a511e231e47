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

from lib.utils.checks import InputError
from lib.utils.safe_pickle import load_pickle

RECORDS = [
    {
        "image": "s_01/é.jpg", "image_id": 7, "joints_2d": np.arange(34, dtype=np.float64).reshape(17, 2) / 3,
        "joints_vis": np.ones((17, 3), np.float32, order="F"), "scale": (1.5, np.float64(2.25)), "flag": True,
        "camera": {"R": np.eye(3), "fx": np.array([1145.5]), "none": None}, "id": np.int64(3),
    }
]  # fmt: skip


class Python2Pickler(pickle._Pickler):
    """Writes protocol 2 as Python 2 does: text and array data as byte strings, no codec calls."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value):
        data = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(data)) + data)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_bytes


def renamed(data: bytes, names: dict[str, str]) -> bytes:
    """Change module names in protocols 0 to 3, where they stand as text lines."""
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
def test_every_protocol(load, protocol):
    check_equal(load(pickle.dumps(RECORDS, protocol))[0], RECORDS[0])


@pytest.mark.parametrize("protocol", [0, 2, 3])
def test_names_of_numpy_1_and_2(load, protocol):
    data = pickle.dumps(RECORDS, protocol)
    here, other = ("numpy._core", "numpy.core") if b"numpy._core" in data else ("numpy.core", "numpy._core")
    check_equal(load(renamed(data, {f"{here}.multiarray": f"{other}.multiarray"}))[0], RECORDS[0])


def test_python_2(load, tmp_path):
    with open(tmp_path / "two.pkl", "wb") as file:
        Python2Pickler(file, protocol=2).dump(RECORDS)
    data = (tmp_path / "two.pkl").read_bytes()
    assert b"_codecs" not in data
    check_equal(load(data.replace(b"numpy._core", b"numpy.core"))[0], RECORDS[0])


@pytest.mark.parametrize("module", ["scipy.sparse.csr", "scipy.sparse._csr", "scipy.sparse"])
@pytest.mark.parametrize("protocol", [0, 2])
def test_csr_matrices_under_every_module_name(load, module, protocol):
    dense = np.random.default_rng(0).random((40, 30)) < 0.1
    data = pickle.dumps({"pairwise_constrain": {(0, 1): scipy.sparse.csr_matrix(dense)}}, protocol)
    loaded = load(renamed(data, {"scipy.sparse._csr": module}))["pairwise_constrain"][0, 1]
    assert scipy.sparse.isspmatrix_csr(loaded)
    assert loaded.dtype == bool
    assert np.array_equal(loaded.toarray(), dense)


def test_ordered_dictionaries(load):
    value = collections.OrderedDict(b=1, a=2)
    assert list(load(pickle.dumps(value))) == ["b", "a"]


class Foreign:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_foreign_call_is_refused_and_not_made(load, tmp_path, protocol):
    marker = tmp_path / "made_by_pickle"
    data = pickle.dumps([{"image": Foreign(os.mkdir, str(marker))}], protocol)
    with pytest.raises(InputError, match=r"a\.pkl: refused or damaged pickle: it holds '\w+\.mkdir'"):
        load(data)
    assert not marker.exists()


@pytest.mark.parametrize(
    "value",
    [Path("x"), functools.partial(print), np.ma.masked_array([1.0]), Foreign(getattr, "x", "upper"),
     Foreign(eval, "1"), np.random.default_rng(0)],
)  # fmt: skip
def test_types_outside_the_list_are_refused(load, value):
    with pytest.raises(InputError, match="no allowed numpy or scipy type"):
        load(pickle.dumps(value))


def test_other_codecs_stay_closed(load):
    data = pickle.dumps(b"\xff\xfe" * 5, 2)
    assert load(data) == b"\xff\xfe" * 5
    with pytest.raises(InputError, match="codec"):
        load(data.replace(b"latin1", b"base64"))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7, 0.99])
def test_truncated_files(load, share):
    data = pickle.dumps(RECORDS * 5, 2)
    with pytest.raises(InputError, match=r"a\.pkl: (the pickle is cut off|refused or damaged)"):
        load(data[: int(len(data) * share)])


def test_files_that_are_no_pickle(load, tmp_path):
    with pytest.raises(InputError, match="refused or damaged pickle"):
        load(b"<html>404</html>")
    with pytest.raises(InputError, match=r"none\.pkl: no such file"):
        load_pickle(tmp_path / "none.pkl")
    with pytest.raises(InputError, match="cannot be read"):
        load_pickle(tmp_path)
