from __future__ import annotations

import numpy as np
import pytest

from lib.core.data_check.boxes import check_crops


def judge(joints, center, side, crop=True, image_wh=(100, 100), visible=None):
    joints = np.asarray(joints, np.float64)
    visible = np.ones(joints.shape[:2], bool) if visible is None else visible
    count = len(joints)
    return check_crops(
        ["camera 0"],
        joints[:, None],
        visible[:, None],
        np.tile(center, (count, 1, 1)),
        np.full((count, 1, 2), side / 200),
        [image_wh],
        crop,
    )


def cells(section):
    return [cell.strip() for cell in section.body.splitlines()[2].split("|")[1:-1]]


def test_check_crops_figures_computed_by_hand():
    joints = [[[40, 30], [60, 70]], [[45, 45], [55, 55]]]
    section = judge(joints, (50, 50), 80)
    assert section.findings == []
    # side 80; all inside; extents 40 and 10 of 80, median 0.3125; box within the image
    assert cells(section) == ["camera 0", "80.00", "80.00", "80.00", "100.00", "0.31", "0.00"]
    section = judge(joints, (30, 50), 80)  # from -10 to 70: 70 of 80 columns, 80 of 80 rows are in the image
    assert cells(section)[4:] == ["100.00", "0.31", "12.50"]


def test_check_crops_invisible_joints_are_ignored():
    joints = [[[40, 30], [60, 70], [-1, -1]]] * 2
    visible = np.array([[True, True, False]] * 2)
    assert judge(joints, (50, 50), 80, visible=visible).findings == []
    assert cells(judge(joints, (50, 50), 80, image_wh=None, visible=visible))[-1] == "-"


def test_check_crops_nothing_visible_is_not_judged():
    section = judge([[[40, 30], [60, 70]]] * 2, (50, 50), 80, visible=np.zeros((2, 2), bool))
    assert section.unjudged == ["camera 0: no joint is visible"]
    assert cells(section)[4:6] == ["-", "-"]


@pytest.mark.parametrize(("outside", "level"), [(2, "warning"), (40, "error")])
def test_check_crops_joints_outside_the_boxes(outside, level):
    joints = np.full((200, 1, 2), 50.0) + np.linspace(-10, 10, 200)[:, None, None]
    joints = np.concatenate([joints, np.full((200, 1, 2), 75.0)], 1)
    joints[: 4 * outside, 0] = 95  # of 400 joints
    findings = judge(joints, (50, 50), 60).findings
    assert findings[0].level == level
    assert f"{100 - outside:.1f} % of the visible joints lie inside" in findings[0].text


def test_check_crops_wrong_scale():
    joints = np.array([[[48, 48], [52, 52]]] * 3)
    (finding,) = judge(joints, (50, 50), 60).findings
    assert (finding.level, "the person takes 7 % of the box's side" in finding.text) == ("error", True)
    (finding,) = judge(joints * 2 - 50, (50, 50), 60).findings
    assert (finding.level, "the person takes 13 %" in finding.text) == ("warning", True)
    assert judge(joints, (50, 50), 60, crop=False).findings == []  # whole images


def test_check_crops_boxes_outside_the_images():
    findings = judge([[[140, 140], [160, 160]]] * 3, (150, 150), 60).findings
    assert ["100 % of the boxes lie outside the images" in finding.text for finding in findings] == [True]
    assert findings[0].level == "error"
