from __future__ import annotations

import os

import h5py
import numpy as np
import pytest

from lib.utils.files import hdf5_reading
from lib.utils.files.hdf5_reading import read_rows, read_texts

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
    monkeypatch.setattr(hdf5_reading.os, "preadv", lambda *args: sizes.append(preadv(*args)) or sizes[-1])
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


def write_names(path, libver=None, kind=None, attribute="é b"):
    with h5py.File(path, "w", libver=libver) as file:
        file["names"] = np.array(["a", "bc", "d"], kind or h5py.string_dtype())
        file["codes"] = np.array([[97, 98], [99, 0]])
        file.attrs["made"] = attribute
        file.attrs["number"] = 3
    return path


@pytest.mark.parametrize("libver", [None, "v110"])
@pytest.mark.parametrize("kind", [None, "S2"])
def test_read_texts_columns_and_attributes(tmp_path, libver, kind):
    found = read_texts(write_names(tmp_path / "a b.h5", libver, kind), ("names", "codes", "none"))
    assert found.columns == {"names": ["a", "bc", "d"], "codes": [[97, 98], [99, 0]]}
    assert found.attributes == {"made": "é b"}


def test_read_texts_fixed_length_with_checksums_needs_no_child(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5_reading, "_texts_of_child", lambda *_: pytest.fail("a child process"))
    path = write_names(tmp_path / "a.h5", "v110", "S2", np.bytes_("é b".encode()))
    assert read_texts(path, ("names",)).columns == {"names": ["a", "bc", "d"]}


@pytest.mark.parametrize("libver", [None, "v110"])
def test_read_texts_damaged_text_list_ends(tmp_path, libver):
    """The HDF5 library reads such a list forever."""
    path = write_names(tmp_path / "a.h5", libver, attribute=7)
    data = bytearray(path.read_bytes())
    size = data.index(b"GCOL") + 24  # of the first text
    data[size : size + 8] = b"\xff" * 8
    path.write_bytes(data)
    with pytest.raises(OSError, match="its names cannot be read within 1 s"):
        read_texts(path, ("names",), cpu_seconds=1)


def test_read_texts_error_of_the_child_is_told(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"no HDF5")
    with pytest.raises(OSError, match="file signature not found"):
        read_texts(tmp_path / "a.h5", ("names",))
    path = write_names(tmp_path / "b.h5", kind="S2")
    with h5py.File(path, "r+") as file:
        file["group/names"] = 3
    with pytest.raises(OSError, match="Accessing a group"):
        read_texts(path, ("group",))
