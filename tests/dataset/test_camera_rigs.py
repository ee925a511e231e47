from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cvf_tests.annotations import load_h36m
from cvf_tests.scenes import make_rig
from scipy.spatial.transform import Rotation

from lib.dataset.camera_rigs import is_same_rig, load_rigs, rigs_of, save_rigs
from lib.dataset.groups import group_views
from lib.utils.errors import InputError


@pytest.fixture
def rig():
    return make_rig(4, np.random.default_rng(3))


def moved(cameras, rotation, shift):
    """Move the whole rig: x_new = rotation x + shift."""
    return replace(cameras, R=cameras.R @ rotation.T, T=cameras.T @ rotation.T + shift)


def test_is_same_rig_moved_as_a_whole_or_with_another_lens_is_the_same(rig):
    rotation = Rotation.from_euler("xyz", [0.3, -0.7, 2.0]).as_matrix()
    assert is_same_rig(moved(rig, rotation, np.array([500.0, -900.0, 30.0])), rig)
    assert is_same_rig(replace(rig, f=rig.f / 2, k=rig.k * 0), rig)


def test_is_same_rig_other_order_number_or_camera_differs(rig):
    assert not is_same_rig(rig[[1, 0, 2, 3]], rig)
    assert not is_same_rig(rig[[0, 1, 2]], rig)
    one_moved = rig.T.copy()
    one_moved[2] += [800.0, 0, 0]
    assert not is_same_rig(replace(rig, T=one_moved), rig)
    one_turned = rig.R.copy()
    one_turned[3] = Rotation.from_euler("z", 6, degrees=True).as_matrix() @ one_turned[3]
    assert not is_same_rig(replace(rig, R=one_turned), rig)
    assert is_same_rig(replace(rig, T=rig.T + np.array([[0, 0, 0], [20.0, 0, 0], [0, 0, 0], [0, 0, 0]])), rig)


def test_rigs_of_lists_equal_calibrations_once_in_the_order_of_the_views(tiny_root, tmp_path):
    annotations = load_h36m(tiny_root(subjects=((1, 5), (9,)), mpii=0, formats=()), "train")
    labels = annotations.labels3d
    assert len(labels.cameras) == 8  # two subjects
    (rig,) = rigs_of(annotations, group_views(annotations, camera_ids=[2, 0, 1, 3]))
    np.testing.assert_array_equal(rig.T, labels.cameras[:4].T[[2, 0, 1, 3]])
    save_rigs(tmp_path / "a.json", [rig])
    (stored,) = load_rigs(tmp_path / "a.json")
    np.testing.assert_array_equal(stored.R, rig.R)
    assert is_same_rig(stored, rig)


@pytest.mark.parametrize("text", ["{}", '{"rigs": [{"R": 1}]}', '{"rigs": 3}', "[]"])
def test_load_rigs_other_files_are_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json: not a file of camera rigs"):
        load_rigs(tmp_path / "a.json")
