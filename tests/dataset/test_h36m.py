from __future__ import annotations

import pytest
from cvf_tests.annotations import load_h36m

from lib.utils.errors import InputError


def test_h36m_file_uncropped(tiny_root):
    root = tiny_root(mpii=0)
    annotations = load_h36m(root, "validation", crop=False)
    assert annotations.center.tolist() == [[100.0, 100.0]] * 12
    assert annotations.scale.tolist() == [[1.0, 1.0]] * 12


def test_h36m_file_subset_valid(tiny_root):
    root = tiny_root(mpii=0)
    assert load_h36m(root, "valid").image.tolist() == load_h36m(root, "validation").image.tolist()


def test_h36m_file_missing(tmp_path, tiny_root):
    with pytest.raises(InputError, match=r"none.h36m: no such folder; DATASET\.ROOT"):
        load_h36m(tmp_path / "none", "train")
    with pytest.raises(InputError, match=r"h36m_test\.pkl: no such file"):
        load_h36m(tiny_root(mpii=0), "test")
