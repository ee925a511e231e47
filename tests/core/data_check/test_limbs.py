from __future__ import annotations

import re

import numpy as np
import pytest
from cvf_tests.record_edits import of_camera, set_camera, set_entry

from lib.core.data_check.limbs import check_limbs
from lib.utils.joints import H36M_17


def check(groups, tolerance=150.0):
    return check_limbs(groups, tolerance)


def scaled(factor):
    return set_entry("joints_3d_camera", lambda joints: joints * factor)


def both(factor):
    def change(record):
        scaled(factor)(record)
        set_camera(T=lambda T: T * factor)(record)

    return change


def test_check_limbs_usual_size(make_groups):
    groups = make_groups()
    section = check(groups)
    assert section.findings == []
    lengths = groups.body.limb_lengths(groups.pose_cam[:, 2])
    line = next(line for line in section.body.splitlines() if line.startswith("| rhip-rkne"))
    limb = groups.body.limb_names.index("rhip-rkne")
    expected = [lengths[:, limb].mean(), lengths[:, limb].std(), lengths[:, limb].min(), lengths[:, limb].max(), 100]
    np.testing.assert_allclose([float(cell) for cell in line.split("|")[2:-1]], expected, atol=0.06)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (scaled(0.001), "the 3D joints are in m, not in mm: set DATASET.POSE_UNIT m"),
        (both(0.001), "the 3D joints are in m, not in mm: set DATASET.POSE_UNIT m and DATASET.CAMERA_UNIT m"),
        (both(0.1), "the 3D joints are in cm, not in mm: set DATASET.POSE_UNIT cm and DATASET.CAMERA_UNIT cm"),
        (scaled(3), "mm long, people's is 250 to 650 mm"),
    ],
)
def test_check_limbs_other_units(make_groups, change, message):
    errors = [
        finding.text for finding in check(make_groups(of_camera(None, change))).findings if finding.level == "error"
    ]
    assert errors[0].endswith(message)


def test_check_limbs_sides_that_differ(make_groups):
    order = list(range(17))
    order[H36M_17.index("rkne")], order[H36M_17.index("rank")] = H36M_17.index("rank"), H36M_17.index("rkne")
    findings = check(make_groups(of_camera(None, set_entry("joints_3d_camera", lambda j: j[order])))).findings
    assert any("rhip-rkne and lhip-lkne differ by" in finding.text for finding in findings)


def test_check_limbs_outliers_are_named(make_groups):
    def edit(records):
        for record in records:
            if record["image_id"] == 17:
                record["joints_3d_camera"] = record["joints_3d_camera"].copy()
                record["joints_3d_camera"][16] += [800, 0, 0]  # rwri

    (finding,) = check(make_groups(edit)).findings
    assert finding.level == "error"  # 1 of 30
    assert finding.text.startswith("1 of 30 poses have a limb that is more than 150 mm and 25 % off")
    assert "S1 Eating 1, frame 17, relb-rwri" in finding.text
    (finding,) = check(make_groups(edit, frames=120)).findings
    assert finding.level == "warning"


def test_check_limbs_face_on_the_back(make_groups):
    order = H36M_17.mirrored_order()
    swapped = make_groups(of_camera(None, set_entry("joints_3d_camera", lambda joints: joints[order])))
    assert not any("nose" in finding.text for finding in check(make_groups()).findings)
    (finding,) = [finding for finding in check(swapped).findings if "nose" in finding.text]
    assert re.match(r"in (9\d|100) % of the poses the nose is on the back", finding.text)
    assert finding.level == "error"
