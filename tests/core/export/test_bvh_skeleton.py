from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.walk import rigid_walk
from scipy.spatial.transform import Rotation

from lib.core.export.bvh_skeleton import continuous_angles, fit_skeleton
from lib.multiviews.body import H36M_BODY
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17

RATE = 50.0


def test_fit_skeleton_of_a_rigid_person_is_exact():
    pose = rigid_walk()
    found = fit_skeleton(pose, H36M_17.names, RATE)
    assert np.abs(found.positions - pose).max() < 0.005
    np.testing.assert_allclose(np.linalg.det(found.rotations), 1, atol=1e-9)


def test_fit_skeleton_errors_do_not_add_up_along_a_limb():
    pose = rigid_walk()
    pose[:, 13] += np.random.default_rng(1).normal(0, 10, (len(pose), 3))  # left wrist
    pose[:, 2] += [0, 15, 0]  # a knee that is off does not move the ankle by more
    error = np.linalg.norm(fit_skeleton(pose, H36M_17.names, RATE).positions - pose, axis=-1)
    lengths = H36M_BODY.limb_lengths(pose)
    deviation = np.abs(lengths - np.median(lengths, 0))
    assert error[:, 13].max() <= deviation[:, H36M_BODY.limb_names.index("lelb-lwri")].max() + 1e-3
    assert error[:, 3].max() < 10


def test_fit_skeleton_interpolates_gaps_and_leaves_out_joints_that_are_never_known():
    pose = rigid_walk()
    given = pose.copy()
    given[10:13, 5] = np.nan  # left knee
    given[:, 7] = np.nan  # belly: the neck is attached to the root
    given[:2] = np.nan
    found = fit_skeleton(given, H36M_17.names, RATE)
    assert "belly" not in found.body.joint_names
    parent = found.body.parents[found.body.joint_names.index("neck")]
    assert found.body.joint_names[parent] == "root"
    assert np.isfinite(found.positions).all()
    knee = found.body.joint_names.index("lkne")
    assert np.linalg.norm(found.positions[10:13, knee] - pose[10:13, 5], axis=-1).max() < 30


@pytest.mark.parametrize(
    ("unknown", "message"),
    [([(slice(None), 0)], "root: expected a known position"), ([(slice(0, 20), 5), (slice(20, 40), 6)], "lkne-lank")],
)
def test_fit_skeleton_refuses(unknown, message):
    pose = rigid_walk()
    for index in unknown:
        pose[index] = np.nan
    with pytest.raises(InputError, match=message):
        fit_skeleton(pose, H36M_17.names, RATE)


def test_fit_skeleton_limb_through_the_opposite_of_its_rest_pose_does_not_jump():
    pose = np.repeat(rigid_walk(1), 80, 0)
    angle = np.linspace(0.7, 1.3, 80) * np.pi
    upper = pose[:, 12] - pose[:, 11]  # of the left arm: the forearm passes the direction back to the shoulder
    axis = np.cross(upper[0], [0, 1.0, 0.2])
    turn = Rotation.from_rotvec(angle[:, None] * axis / np.linalg.norm(axis))
    aside = 0.01 * np.linalg.norm(upper[0]) * axis / np.linalg.norm(axis)
    pose[:, 13] = pose[:, 12] + turn.apply(upper[0]) + aside
    elbow = Rotation.from_matrix(fit_skeleton(pose, H36M_17.names, RATE).rotations[:, 12])
    steps = np.degrees((elbow[:-1].inv() * elbow[1:]).magnitude())
    assert steps.max() < np.degrees(angle[1] - angle[0]) + 180 / RATE + 0.1


def test_continuous_angles_equal_the_rotations_and_do_not_wrap():
    time = np.linspace(0, 1, 200)
    turns = Rotation.from_euler("YZX", np.stack([800 * time, 70 * np.sin(9 * time), 300 * time], 1), degrees=True)
    angles = continuous_angles(turns.as_matrix(), "ZXY")
    back = Rotation.from_euler("ZXY", angles, degrees=True)
    assert (back.inv() * turns).magnitude().max() < 1e-9
    simple = continuous_angles(turns.as_matrix(), "YZX")
    assert np.abs(np.diff(simple, axis=0)).max() < 5
