from __future__ import annotations

import json

import numpy as np
import pytest
from cvf_tests.annotations import load_h36m

from lib.core.data_check.counts import check_counts, check_visible
from lib.core.data_check.findings import Section
from lib.dataset.groups import group_views
from lib.utils.errors import InputError


@pytest.fixture
def count(tiny_root):
    """count(edit, summary, frames=9): the section of subjects 1 and 5, three recordings each, frames 3 apart."""

    def make(edit=None, summary=None, frames=9):
        root = tiny_root(frames=frames, mpii=0, subjects=((1, 5), (9,)), edit=edit)
        if summary is not None:
            (root / "h36m/annot/prepare_h36m.json").write_text(json.dumps(summary))
        annotations = load_h36m(root, "train")
        return check_counts(annotations, group_views(annotations))

    return make


def texts(section, *levels):
    return [finding.text for finding in section.findings if finding.level in levels]


def test_check_counts_complete_set(count):
    section = count()
    assert texts(section, "error", "warning") == []
    assert "| S5      |       3 |          3 |      9 |        9 |        9 |        9 |        9 |" in section.body
    assert "| 3 Discussion |   3 |   3 |" in section.body
    assert "the frames of a recording are 3 apart" in texts(section, "note")
    assert any(
        "of the 150 recordings of Human3.6M's subjects 1, 5, 6, 7, 8, 144 are not here" in text
        for text in texts(section, "note")
    )


def test_check_counts_images_without_other_views(count):
    (text,) = texts(count(lambda records: records[1:]), "error")
    assert text.startswith("3 of 71 images (4.23 %) are in no complete group")
    assert "s_01_act_03_subact_01_ca_02_000001.jpg" in text


def test_check_counts_few_lost_images_are_a_warning(count):
    assert len(texts(count(lambda records: records[1:], frames=60), "warning")) == 1


def test_check_counts_missing_frames(count):
    def drop(records):
        return [record for record in records if not (record["subject"] == 5 and record["image_id"] == 4)]

    (text,) = texts(count(drop), "error")
    assert text.startswith("1 of 11 distances between successive frames are not 3 (the first: S5 Discussion 1, 6)")


def test_check_counts_against_the_preparation_summary(count):
    stems = [
        f"s_{subject:02}_act_{action:02}_subact_01_ca_{camera:02}"
        for subject in (1, 5)
        for action in (2, 3, 4)
        for camera in (1, 2, 3, 4)
    ]
    right = dict.fromkeys(stems, 3)
    section = count(summary={"num_images": right})
    assert texts(section, "error") == []
    assert "every clip has as many images as prepare_h36m.json says" in texts(section, "note")
    wrong = right | {stems[0]: 4, "s_05_act_09_subact_02_ca_01": 7}
    (text,) = texts(count(summary={"num_images": wrong}), "error")
    assert text.startswith("2 clips have other counts than prepare_h36m.json says (")
    assert f"{stems[0]}: 3 instead of 4" in text
    assert "s_05_act_09_subact_02_ca_01: 0 instead of 7" in text
    section = count(summary={"num_images": right})
    assert any("of the 150 recordings" in text for text in texts(section, "warning"))  # evidently Human3.6M
    others = right | {"s_07_act_09_subact_02_ca_01": 7}  # a subject of the other subset
    assert texts(count(summary={"num_images": others}), "error") == []


def test_check_counts_recordings_left_out_by_the_preparation(count):
    section = count(summary={"num_images": {}, "left_out": {"1-2-1": "damaged"}})
    assert "the preparation left 1 recordings out: 1-2-1 (subject-action-subaction)" in texts(section, "warning")


@pytest.mark.parametrize("summary", [[], {}, {"num_images": 3}, {"num_images": {"s_01_act_02_subact_01_ca_01": "9"}}])
def test_check_counts_invalid_summary(count, summary):
    with pytest.raises(InputError, match=r"prepare_h36m\.json: expected 'num_images'"):
        count(summary=summary)


def test_check_visible_cameras_and_joints_without_labels():
    visible = np.ones((5, 2, 3), bool)
    visible[1:, :, 0] = visible[:, 1] = visible[:, :, 2] = False  # the second camera; the last joint in all of them
    section = Section("Counts")
    check_visible(section, ["camera 0", "camera 4"], ["root", "nose", "head"], visible)
    first, second = texts(section, "error")
    assert first.startswith("camera 4: no joint is visible in any of its images")
    assert second.startswith("no image has a visible head (")
    section = Section("Counts")
    check_visible(section, ["camera 0"], ["root", "nose", ""], visible[:, :1])  # TEST.JOINTS does not have the last
    assert section.findings == []


def test_check_visible_nothing_visible_is_reported_once_per_camera():
    section = Section("Counts")
    check_visible(section, ["camera 0", "camera 1"], ["root"], np.zeros((5, 2, 1), bool))
    assert [text[:8] for text in texts(section, "error")] == ["camera 0", "camera 1"]
