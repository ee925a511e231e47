from __future__ import annotations

import re

import numpy as np
import pytest
from cvf_tests.record_edits import LABELS, of_camera, set_camera, set_entry, shifted

from lib.core.data_check.world_consistency import check_agreement
from lib.utils.joints import H36M_17

WORLD_X = np.array([-1.0, 1, 1])


def translation(record):
    record["camera"]["T"] = -record["camera"]["R"] @ record["camera"]["T"]


def meters(record):
    record["camera"]["T"] = record["camera"]["T"] / 1000


def chain(*changes):
    def change(record):
        for one in changes:
            one(record)

    return change


POSE_M = set_entry("joints_3d_camera", lambda j: j / 1000)
POSE_CM = set_entry("joints_3d_camera", lambda j: j / 10)
GLOBAL = {
    "joints in m": (POSE_M, "the 3D joints are in m, not in mm: set DATASET.POSE_UNIT m "),
    "joints in cm": (POSE_CM, "the 3D joints are in cm, not in mm: set DATASET.POSE_UNIT cm "),
    "T in m": (meters, "the camera T is in m, not in mm: set DATASET.CAMERA_UNIT m "),
    "translation": (translation, "not the camera center: set DATASET.CAMERA_T translation "),
    "translation in m": (chain(translation, meters), "set DATASET.CAMERA_UNIT m, DATASET.CAMERA_T translation "),
    "translation in m, joints in cm": (
        chain(translation, meters, POSE_CM),
        "set DATASET.POSE_UNIT cm, DATASET.CAMERA_UNIT m, DATASET.CAMERA_T translation ",
    ),
    "R transposed": (set_camera(R=np.transpose), r"R is transposed \(camera to world\)"),
}


def test_check_agreement_correct_data(make_groups):
    section = check_agreement(make_groups())
    assert section.findings == []
    for line in section.body.splitlines()[2:]:
        assert re.fullmatch(r"\| camera \d \| +0\.0 \| +0\.0 \| +0\.0 \|", line), line


@pytest.mark.parametrize("case", GLOBAL)
def test_check_agreement_conventions_of_all_cameras(make_groups, case):
    change, message = GLOBAL[case]
    (finding,) = check_agreement(make_groups(of_camera(None, change))).findings
    assert finding.level == "error"
    assert "do not meet in the world" in finding.text
    assert re.search(message, finding.text), finding.text


ONE = {
    "row of R": (set_camera(R=lambda R: R * WORLD_X[:, None]), "in its camera frame, x is mirrored", True),
    "column of R": (set_camera(R=lambda R: R * WORLD_X), "in the world frame of its R, x is mirrored", True),
    "R and T": (
        set_camera(R=lambda R: R * WORLD_X, T=lambda T: T * WORLD_X[:, None]),
        "in the world frame of its R and T, x is mirrored",
        True,
    ),
    "T": (set_camera(T=lambda T: T * WORLD_X[:, None]), "of its T, x is mirrored", False),
    "joints": (
        set_entry("joints_3d_camera", lambda j: j[:, [1, 0, 2]]),
        "in its camera frame, x and y are swapped",
        False,
    ),
    "sides": (
        set_entry("joints_3d_camera", lambda j: j[H36M_17.mirrored_order()]),
        "left and right of its joints are swapped",
        False,
    ),
    "translation": (translation, "not the camera center: set DATASET.CAMERA_T translation", False),
    "unknown": (set_camera(T=lambda T: T + [[300], [40], [5]]), "no known convention explains it", False),
}


@pytest.mark.parametrize("case", ONE)
def test_check_agreement_one_wrong_camera(make_groups, case):
    change, message, mirrors = ONE[case]
    findings = check_agreement(make_groups(of_camera(1, change))).findings
    assert [finding.level for finding in findings] == ["error"] * (1 + mirrors)
    if mirrors:
        assert "camera 1: R mirrors the world (determinant -1)" in findings[0].text
    assert "camera 1: its poses lie" in findings[-1].text
    assert message in findings[-1].text


@pytest.mark.parametrize("lag", [2, -2, 1, 7])
def test_check_agreement_view_shifted_in_time(make_groups, lag):
    (finding,) = check_agreement(make_groups(shifted(LABELS, 2, lag))).findings
    side = "later" if lag > 0 else "earlier"
    assert "camera 2: its poses lie" in finding.text
    assert f"it shows the pose of {3 * abs(lag)} frames {side}: the view is shifted in time" in finding.text


def test_check_agreement_fault_in_one_recording(make_groups):
    def edit(records):
        own = [record for record in records if record["action"] == 4]
        shifted(LABELS, 0, 2)(own)

    (finding,) = check_agreement(make_groups(edit)).findings
    assert "camera 0 in 1 of 3 recordings (1 of 3 parts of them; the first: S1 Eating 1, frame 2)" in finding.text
    assert "of 6 frames later" in finding.text


@pytest.mark.parametrize("num_views", [2, 3, 5])
def test_check_agreement_other_numbers_of_views(make_groups, num_views):
    assert check_agreement(make_groups(num_views=num_views)).findings == []
    findings = check_agreement(make_groups(of_camera(None, meters), num_views=num_views)).findings
    assert ["DATASET.CAMERA_UNIT m" in finding.text for finding in findings] == [True]


def test_check_agreement_invalid_rotation(make_groups):
    findings = check_agreement(make_groups(of_camera(3, set_camera(R=lambda R: 1.1 * R)))).findings
    assert "camera 3: R is not a rotation" in findings[0].text


def test_check_agreement_different_cameras_in_different_recordings(make_groups):
    def edit(records):
        for action, camera in ((3, 1), (4, 2)):
            of_camera(camera, translation)([record for record in records if record["action"] == action])

    texts = [finding.text for finding in check_agreement(make_groups(edit)).findings]
    assert len(texts) == 2
    assert texts[0].startswith("camera 1 in 1 of 3 recordings (1 of 3 parts of them; the first: S1 Discussion 1")
    assert texts[1].startswith("camera 2 in 1 of 3 recordings (1 of 3 parts of them; the first: S1 Eating 1")


def test_check_agreement_fault_late_in_a_long_recording(make_groups):
    def edit(records):
        late = [record for record in records if record["image_id"] > 400]
        of_camera(2, set_camera(R=np.transpose))(late)

    (finding,) = check_agreement(make_groups(edit, frames=600)).findings
    assert "camera 2 in 3 of 3 recordings" in finding.text
    assert "R is transposed" in finding.text


def test_check_agreement_two_cameras_give_both_explanations(make_groups):
    (finding,) = check_agreement(make_groups(of_camera(1, translation), num_views=2)).findings
    assert "two cameras do not show which one is wrong; if camera 0 is: " in finding.text
    assert re.search("if camera 1 is: [^;]*set DATASET.CAMERA_T translation", finding.text)


def test_check_agreement_joints_in_the_world_frame(make_groups):
    def edit(records):
        for record in records:
            record["joints_3d_camera"] = record["joints_3d_camera"] @ record["camera"]["R"] + record["camera"]["T"].T

    (finding,) = check_agreement(make_groups(edit)).findings
    assert "are in the world frame, not in the camera's" in finding.text
