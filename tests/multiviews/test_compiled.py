"""Compiled functions: their cache follows the sources, and they work without one."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest

pytest.importorskip("numba")

from lib.multiviews import compiled as module
from lib.multiviews.compiled import cache_folder, compiled, inner


@inner()
def double(x):
    return 2 * x


def total_of_doubles(values):
    total = 0.0
    for value in values:
        total += double(value)
    return total


def test_compiled_keeps_result_in_chosen_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "new" / "folder"))
    cache_folder.cache_clear()
    try:
        assert compiled()(total_of_doubles)(np.arange(4.0)) == 12
    finally:
        cache_folder.cache_clear()
    assert list((tmp_path / "new" / "folder").rglob("*.nbi"))


def test_compiled_without_writable_cache(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "cache"))
    cache_folder.cache_clear()
    caplog.set_level(logging.INFO)
    try:
        assert cache_folder() is None
        assert compiled()(total_of_doubles)(np.arange(4.0)) == 12
    finally:
        cache_folder.cache_clear()
    assert "set NUMBA_CACHE_DIR" in caplog.text


def test_cache_folder_changes_with_any_source(tmp_path, monkeypatch):
    package = tmp_path / "multiviews"
    shutil.copytree(module._PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "_PACKAGE", package)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    first = cache_folder.__wrapped__()
    assert first.parent == package / "__pycache__"
    assert cache_folder.__wrapped__() == first
    with (package / "geometry" / "epipolar.py").open("a") as file:
        file.write("# changed\n")
    assert cache_folder.__wrapped__() != first
