from __future__ import annotations

import re

import numpy as np
import pytest
from cvf_tests.record_edits import of_camera, set_camera, set_entry, shifted
from cvf_tests.tiny_data import SIDE

from lib.core.data_check.reprojection import check_reprojection
from lib.multiviews.cameras import Cameras, project_camera
from lib.utils.joints import H36M_17

SIZES = [(SIDE, SIDE)] * 4
MIRRORED = H36M_17.mirrored_order()


def mirror_x(joints):
    return np.stack([SIDE - 1 - joints[:, 0], joints[:, 1]], 1)


CASES = {
    "flipped image": (of_camera(2, set_entry("joints_2d", mirror_x)), "camera 2 .*x of the 2D joints is mirrored"),
    "flipped, counted from 1": (
        of_camera(2, set_entry("joints_2d", lambda j: mirror_x(j) + [1, 0])),
        "x of the 2D joints is mirrored",
    ),
    "principal point": (
        of_camera(1, set_camera(cx=lambda cx: SIDE - 1 - cx)),
        "camera 1 .*the principal point is mirrored in x",
    ),
    "sign of fy": (of_camera(0, set_camera(fy=lambda fy: -fy)), "camera 0 .*the sign of fy is wrong"),
    "row and column": (
        of_camera(None, set_entry("joints_2d", lambda j: j[:, ::-1])),
        "camera 0 .*camera 1 .*camera 2 .*camera 3 .*x and y of the 2D joints are swapped",
    ),
    "left and right": (
        of_camera(3, set_entry("joints_2d", lambda j: j[MIRRORED])),
        "camera 3 .*left and right of the 2D joints",
    ),
    "y up, z back": (
        of_camera(None, set_entry("joints_3d_camera", lambda j: j * [1, -1, -1])),
        "of the 3D joints in the camera frame, y and z are mirrored",
    ),
    "image at half size": (
        of_camera(None, set_entry("joints_2d", lambda j: j / 2)),
        "parameters belong to images 2 times as large",
    ),
    "focal lengths": (
        of_camera(0, set_camera(fx=lambda fx: fx * 1.2, fy=lambda fy: fy)),
        r"camera 0 .*the focal lengths are another camera's or wrong: 1\.2 \(fx\) and 1 \(fy\) times what fits",
    ),
    "no lens": (of_camera(None, set_camera(k=lambda k: k * 30, p=lambda p: p * 30)), "the 2D joints are without lens"),
    "order": (
        of_camera(None, set_entry("joints_2d", lambda j: j[[3, 2, 1, 0, *range(4, 17)]])),
        r"the 2D joints are in another order \(rank, rkne, rhip, root, lhip,",
    ),
    "crop": (
        of_camera(1, set_entry("joints_2d", lambda j: j - [30, 20])),
        r"camera 1 .*are shifted by \(-30\.0, -20\.0\)",
    ),
    "time": (shifted(("joints_2d",), 1, 2), "camera 1 .*the 2D joints are from 6 frames later"),
    "time back": (shifted(("joints_2d",), 1, -3), "camera 1 .*the 2D joints are from 9 frames earlier"),
}


def straighten(records):
    """Take the lens off, so that it can be put on."""
    for record in records:
        record["camera"] = record["camera"] | {"k": np.zeros((3, 1)), "p": np.zeros((2, 1))}
        u = record["joints_3d_camera"][:, :2] / record["joints_3d_camera"][:, 2:]
        focal, center = ([record["camera"][key][0] for key in keys] for keys in (("fx", "fy"), ("cx", "cy")))
        record["joints_2d"] = u * focal + center


def test_check_reprojection_correct_data(make_groups):
    section = check_reprojection(make_groups(), SIZES)
    assert section.findings == []
    assert section.body.count("| camera ") == 4
    assert f"| camera 3 |    {30 * 17} |        0.00 |" in section.body


@pytest.mark.parametrize("case", CASES)
def test_check_reprojection_names_the_wrong_convention(make_groups, case):
    edit, message = CASES[case]

    def both(records):
        if case == "no lens":
            straighten(records)
            for record in records:
                record["camera"] |= {"k": np.array([[-0.2], [0.2], [0]]), "p": np.array([[1e-3], [1e-3]])}
        edit(records)

    (finding,) = check_reprojection(make_groups(both), SIZES).findings
    assert finding.level == "error"
    assert re.search(message, finding.text), finding.text


def test_check_reprojection_swapped_cameras(make_groups):
    def swap(records):
        cameras = {record["camera_id"]: record["camera"] for record in records}
        cameras[1] = cameras[1] | {"fx": cameras[1]["fx"] * 1.1, "cy": cameras[1]["cy"] + 5}
        for record in records:
            if record["camera_id"] == 1:
                camera = Cameras.from_records([cameras[1]])[0]
                record["joints_2d"] = project_camera(record["joints_3d_camera"], camera)[0]
            record["camera"] = cameras[{0: 1, 1: 0}.get(record["camera_id"], record["camera_id"])]

    texts = [finding.text for finding in check_reprojection(make_groups(swap), SIZES).findings]
    assert len(texts) == 2
    assert re.match(r"camera 0 .*the parameters given for camera 1 fit: they were swapped", texts[0])
    assert re.match(r"camera 1 .*the parameters given for camera 0 fit: they were swapped", texts[1])


def test_check_reprojection_one_wrong_recording_is_named(make_groups):
    def edit(records):
        for record in records:
            if record["action"] == 3 and record["camera_id"] == 2:
                record["joints_2d"] = mirror_x(record["joints_2d"])

    (finding,) = check_reprojection(make_groups(edit), SIZES).findings
    assert "camera 2 in 1 of 3 recordings (1 of 3 parts of them; the first: S1 Discussion 1, frame 1)" in finding.text
    assert "x of the 2D joints is mirrored" in finding.text


def test_check_reprojection_invisible_joints_are_ignored(make_groups):
    def edit(records):
        for record in records:
            record["joints_vis"][16] = 0
            record["joints_2d"] = record["joints_2d"].copy()
            record["joints_2d"][16] = -1

    assert check_reprojection(make_groups(edit), SIZES).findings == []


def test_check_reprojection_single_wrong_joint_is_found(make_groups):
    def edit(records):
        for record in records:
            record["joints_2d"] = record["joints_2d"].copy()
            record["joints_2d"][9] += 5  # nose

    (finding,) = check_reprojection(make_groups(edit), SIZES).findings
    assert "no known convention explains it" in finding.text
