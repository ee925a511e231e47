"""The backend on the CPU with and without numba."""

from __future__ import annotations

import sys

import pytest

from lib.multiviews.pictorial.backend_numpy import NumpyBackend
from lib.multiviews.pictorial.cpu_backend import make_cpu_backend


def test_make_cpu_backend_with_numba():
    pytest.importorskip("numba")
    backend = make_cpu_backend(3)
    assert (type(backend).__name__, backend.num_threads) == ("NumbaBackend", 3)
    assert backend.xp.__name__ == "numpy"  # as in the names of results and files


def test_make_cpu_backend_without_numba(monkeypatch, caplog):
    for name in [name for name in sys.modules if name.endswith("_numba") or name == "lib.multiviews.compiled"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numba", None)
    backend = make_cpu_backend(3)
    assert (type(backend), backend.num_threads) == (NumpyBackend, 3)
    assert "pip install numba" in caplog.text
