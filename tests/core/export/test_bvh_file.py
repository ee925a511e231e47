"""BVH files are read back with bvhio, which also computes the positions of the joints."""

from __future__ import annotations

import re

import bvhio
import numpy as np
import pytest
from cvf_tests.walk import rigid_walk

from lib.core.export.bvh_file import write_bvh
from lib.core.export.marker_names import BIPED, marker_names
from lib.core.export.pose_sequence import load_sequences
from lib.multiviews.body import H36M_BODY
from lib.utils.joints import H36M_17

NAMES = marker_names(H36M_17.names, BIPED)


def read_positions(path, names):
    """Return the positions (F, J, 3) of the joints, by bvhio."""
    root = bvhio.readAsHierarchy(str(path))
    joints = [root.filter(name, isEqual=True)[0] for name in names]
    count = int(re.search(r"Frames: (\d+)", path.read_text())[1])
    positions = []
    for frame in range(count):
        root.loadPose(frame)
        positions.append([list(joint.PositionWorld) for joint in joints])
    return np.array(positions)


@pytest.mark.parametrize("up", ["y", "z"])
def test_write_bvh_forward_kinematics_of_another_library(walk, pose_file, tmp_path, up):
    (sequence,) = load_sequences(pose_file(walk))
    sequence = sequence.turned(up).scaled("cm")
    found = write_bvh(tmp_path / "a.bvh", sequence, BIPED, up)
    read = 10 * read_positions(tmp_path / "a.bvh", NAMES)
    given = 10 * sequence.positions
    distance = np.linalg.norm(read - given, axis=-1)
    assert np.nanmax(distance) == pytest.approx(found["max_mm"], abs=0.01)
    assert np.nanmedian(distance) == pytest.approx(found["median_mm"], abs=0.01)
    lengths = H36M_BODY.limb_lengths(read)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[:1], lengths.shape), atol=0.01)
    medians = np.nanmedian(H36M_BODY.limb_lengths(given), 0)
    np.testing.assert_allclose(lengths[0], medians, atol=0.01)
    # left is left: in rest pose, and in the hierarchy
    text = (tmp_path / "a.bvh").read_text()
    offset = [float(value) for value in re.search(r"JOINT LeftForeArm\s+\{\s+OFFSET (.*)", text)[1].split()]
    assert offset[{"y": 0, "z": 1}[up]] > 0


def test_write_bvh_of_a_rigid_person_is_exact(pose_file, tmp_path):
    pose = rigid_walk()[..., [2, 0, 1]]  # forward, left, up
    (sequence,) = load_sequences(pose_file(pose))
    assert write_bvh(tmp_path / "a.bvh", sequence, BIPED, "z")["max_mm"] < 0.01
    assert np.abs(read_positions(tmp_path / "a.bvh", NAMES) - pose).max() < 0.01


def test_write_bvh_angles_do_not_jump(pose_file, tmp_path):
    (sequence,) = load_sequences(pose_file(rigid_walk()))  # y up
    write_bvh(tmp_path / "a.bvh", sequence, BIPED, "y")
    rows = (tmp_path / "a.bvh").read_text().split("Frame Time: 0.020000000\n")[1]
    angles = np.array([row.split() for row in rows.splitlines()], float)[:, 3:]
    assert np.abs(np.diff(angles, axis=0)).max() < 15
