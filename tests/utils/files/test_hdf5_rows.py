from __future__ import annotations

import os

import h5py
import numpy as np
import pytest

from lib.utils.files import hdf5_rows
from lib.utils.files.hdf5_rows import read_rows

VALUES = np.random.default_rng(0).random((11, 3, 4, 5), np.float32)
PLAIN = {"contiguous": {}, "chunks": {"chunks": (4, 3, 4, 5)}, "single rows": {"chunks": (1, 3, 4, 5)}}
OTHER = {
    "cut rows": {"chunks": (4, 3, 2, 5)},
    "compressed": {"chunks": (4, 3, 4, 5), "compression": "gzip"},
    "checked": {"chunks": (4, 3, 4, 5), "fletcher32": True},
}


def make(path, **options):
    with h5py.File(path, "w") as file:
        file["before"] = np.arange(7)
        file.create_dataset("rows", data=VALUES, **options)
    return h5py.File(path)


@pytest.mark.parametrize("kind", [*PLAIN, *OTHER])
@pytest.mark.parametrize(("start", "stop"), [(0, 11), (3, 9), (4, 8), (5, 6), (8, 40), (6, 6)])
def test_read_rows_equals_h5py(tmp_path, kind, start, stop):
    with make(tmp_path / "a.h5", **{**PLAIN, **OTHER}[kind]) as file:
        rows = read_rows(file["rows"], start, stop)
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, VALUES[start:stop])


@pytest.mark.parametrize("kind", PLAIN)
def test_read_rows_plain_rows_bypass_hdf5(tmp_path, kind, monkeypatch):
    sizes = []
    preadv = os.preadv
    monkeypatch.setattr(hdf5_rows.os, "preadv", lambda *args: sizes.append(preadv(*args)) or sizes[-1])
    with make(tmp_path / "a.h5", **PLAIN[kind]) as file:
        read_rows(file["rows"], 2, 9)
    assert sum(sizes) == VALUES[2:9].nbytes


def test_read_rows_other_byte_order_and_types(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["big"] = VALUES.astype(">f4")
        file["text"] = np.array(["a", "bc"], h5py.string_dtype())
        file["nothing"] = np.empty((3, 0))
        file.create_dataset("unwritten", (4, 2), np.float32, chunks=(2, 2), fillvalue=7)
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(read_rows(file["big"], 1, 3), VALUES[1:3])
        assert list(read_rows(file["text"], 0, 2)) == [b"a", b"bc"]
        assert read_rows(file["nothing"], 0, 2).shape == (2, 0)
        np.testing.assert_array_equal(read_rows(file["unwritten"], 1, 3), np.full((2, 2), 7))


def test_read_rows_replaced_file_stays_open(tmp_path):
    with make(tmp_path / "a.h5") as file:
        (tmp_path / "b.h5").write_bytes(b"\0" * 100)
        os.replace(tmp_path / "b.h5", tmp_path / "a.h5")
        np.testing.assert_array_equal(read_rows(file["rows"], 0, 11), VALUES)


@pytest.mark.parametrize("kind", PLAIN)
def test_read_rows_truncated_file_is_an_error(tmp_path, kind):
    with make(tmp_path / "a.h5", **PLAIN[kind]) as file:
        os.truncate(tmp_path / "a.h5", 1500 + 240 * 6)
        with pytest.raises((OSError, RuntimeError), match=r"the file ends within row|B-tree"):
            read_rows(file["rows"], 0, 11)
