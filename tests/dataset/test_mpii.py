from __future__ import annotations

import json

import numpy as np
import pytest

from lib.dataset.mpii import load_mpii
from lib.utils.checks import InputError
from lib.utils.joints import UNION_20


def record(**changes):
    joints = [[10.0 + i, 101.0 + 2 * i] for i in range(16)]
    box = {"center": [301.0, 201.0], "scale": 2.0}
    return {"image": "1.jpg", **box, "joints": joints, "joints_vis": [1] * 16} | changes


@pytest.fixture
def write(tmp_path):
    def to_root(records, folder="mpii", subset="train"):
        (tmp_path / folder / "annot").mkdir(parents=True, exist_ok=True)
        text = records if isinstance(records, str) else json.dumps(records)
        (tmp_path / folder / "annot" / f"{subset}.json").write_text(text)
        return tmp_path

    return to_root


def test_published_conventions_by_hand(write):
    hidden = [1] * 16
    hidden[10] = 0  # rwri
    annotations = load_mpii(write([record(joints_vis=hidden)]), "train")
    # the box goes down by 15 * 2 and grows by 1.25, then everything becomes 0-based
    assert annotations.center.tolist() == [[300.0, 230.0]]
    assert annotations.scale.tolist() == [[2.5, 2.5]]
    where = {name: index for index, name in enumerate(UNION_20.names)}
    assert annotations.joints_img[0, where["rank"]].tolist() == [9.0, 100.0]  # MPII joint 0
    assert annotations.joints_img[0, where["head top"]].tolist() == [18.0, 118.0]  # joint 9
    assert annotations.joints_img[0, where["lwri"]].tolist() == [24.0, 130.0]  # joint 15
    lacking = {UNION_20.names[i] for i in np.flatnonzero(~annotations.visible[0])}
    assert lacking == {"belly", "neck", "nose", "head", "rwri"}
    assert annotations.labels3d is None


def test_boxes_without_a_centre_are_left_alone(write):
    annotations = load_mpii(write([record(center=[-1.0, -1.0], scale=-1.0)]), "train")
    assert annotations.center.tolist() == [[-2.0, -2.0]]
    assert annotations.scale.tolist() == [[-1.0, -1.0]]


def test_the_test_set_has_no_joints(write):
    one = record()
    del one["joints"], one["joints_vis"]
    annotations = load_mpii(write([one], subset="test"), "test")
    assert not annotations.visible.any()
    assert not annotations.joints_img.any()


@pytest.mark.parametrize("folder", ["mpii", "MPII"])
def test_folder_in_either_case(write, folder):
    root = write([record()], folder)
    assert load_mpii(root, "train").images_dir == root / folder / "images"


def test_human36ms_word_for_the_subset(write):
    root = write([record()], subset="valid")
    assert len(load_mpii(root, "validation")) == len(load_mpii(root, "valid")) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"center": [1.0]}, "record 1: not in the published form"),
        ({"center": None}, "record 1: not in the published form"),
        ({"scale": "big"}, "record 1: not in the published form"),
        ({"scale": 0}, "record 1: not in the published form .*scale"),
        ({"joints": [1.0, 2.0]}, "record 1: not in the published form"),
        ({"joints": [[1.0, 2.0]] * 15}, "record 1: not in the published form"),
        ({"joints": [[float("nan"), 2.0]] * 16}, "record 1: not in the published form"),
        ({"joints_vis": [1] * 15}, "record 1: not in the published form"),
        ({"image": 5}, "record 1: not in the published form"),
    ],
)  # fmt: skip
def test_a_bad_record_is_named(write, changes, message):
    root = write([record(), record(**changes)])
    with pytest.raises(InputError, match=rf"train\.json: {message}"):
        load_mpii(root, "train")


@pytest.mark.parametrize("key", ["image", "center", "scale", "joints_vis"])
def test_a_missing_entry_is_named(write, key):
    one = record()
    del one[key]
    with pytest.raises(InputError, match=f"record 0 has no '{key}'"):
        load_mpii(write([one]), "train")


@pytest.mark.parametrize("content", ["{}", "[]", '{"a": 1}', '["x"]'])
def test_files_of_another_form(write, content):
    with pytest.raises(InputError, match=r"train\.json: (expected a list|record 0: not in the published form)"):
        load_mpii(write(content), "train")


def test_missing_files(tmp_path, write):
    with pytest.raises(InputError, match=r"mpii: no such folder; DATASET\.ROOT"):
        load_mpii(tmp_path, "train")
    with pytest.raises(InputError, match=r"trainval\.json: no such file"):
        load_mpii(write([record()]), "trainval")
