"""Registry of data sets; tests/core/test_build_data.py builds every entry."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lib.dataset.data_sets import DATA_SETS, annotation_file, has_views
from lib.utils.errors import InputError


def test_has_views_of_registered_names():
    assert [name for name in DATA_SETS if has_views(name)] == [
        "h36m",
        "multiview_h36m",
        "multiview_totalcapture",
        "mixed",
    ]
    assert not has_views("unknown")


def test_annotation_file_without_views(tiny_config, tiny_root):
    root = tiny_root(frames=1, mpii=1)
    with pytest.raises(InputError, match="'mpii' has no calibrated views; expected one of h36m"):
        annotation_file("mpii", tiny_config(root).DATASET, root, "train", True)


def test_registry_imports_neither_torch_nor_scipy():
    code = "import sys, lib.dataset.data_sets; sys.exit(bool({'torch', 'scipy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
