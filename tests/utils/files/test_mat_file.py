from __future__ import annotations

import h5py
import numpy as np
import pytest
import scipy.io

from lib.utils.errors import InputError
from lib.utils.files.mat_file import load_mat, write_mat


def test_load_mat_returns_the_requested_variables(tmp_path):
    path = tmp_path / "a.mat"
    write_mat(path, {"a": np.eye(3), "names": np.array(["x", "yz"], object)[None], "b": 1})
    found = load_mat(path, "names", "a")
    assert found.keys() == {"a", "names"}
    np.testing.assert_array_equal(found["a"], np.eye(3))
    assert [name.item() for name in found["names"].ravel()] == ["x", "yz"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mat"]


def test_load_mat_any_suffix(tmp_path):
    write_mat(tmp_path / "a.bin", {"a": np.arange(3)})
    np.testing.assert_array_equal(load_mat(tmp_path / "a.bin", "a")["a"], [[0, 1, 2]])
    with pytest.raises(InputError, match="/a: no such file"):  # scipy would try a.mat
        load_mat(tmp_path / "a", "a")


def test_load_mat_missing_variable_is_named(tmp_path):
    write_mat(tmp_path / "a.mat", {"a": 1})
    with pytest.raises(InputError, match=r"a\.mat: has no variable 'RELEASE'"):
        load_mat(tmp_path / "a.mat", "a", "RELEASE")


@pytest.mark.parametrize("compressed", [False, True])
def test_load_mat_truncated_file_is_refused(tmp_path, compressed):
    whole = tmp_path / "whole.mat"
    inner = np.array([(np.arange(3.0), "text")], [("x", object), ("name", object)])
    scipy.io.savemat(whole, {"a": inner}, do_compression=compressed)
    data = whole.read_bytes()
    for size in range(0, len(data) - 1, 3):
        (tmp_path / "cut.mat").write_bytes(data[:size])
        with pytest.raises(InputError, match=r"cut\.mat: "):
            load_mat(tmp_path / "cut.mat", "a")


@pytest.mark.parametrize("content", [b"", b"<html>", b"MATLAB 5.0 MAT-file", bytes(500)])
def test_load_mat_other_content_is_refused(tmp_path, content):
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mat: "):
        load_mat(tmp_path / "a.mat", "a")


def test_load_mat_version_73_is_named(tmp_path):
    path = tmp_path / "a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["a"] = 1
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    with pytest.raises(InputError, match=r"received 7\.3; save it with -v7"):
        load_mat(path, "a")


def test_load_mat_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="Is a directory"):
        load_mat(tmp_path, "a")
