from __future__ import annotations

import numpy as np
from cvf_tests.scenes import make_poses
from scipy.spatial.transform import Rotation

from lib.multiviews.body import H36M_BODY
from lib.multiviews.recording.rigid_pairs import measure_rigid_pairs


def measured(noise_mm, knee_mm=0.0, share=1.0):
    """Return the pairs of a turning rigid body with noise, whose right ankle moves in a share of the frames."""
    rng = np.random.default_rng(0)
    pose = make_poses(1, rng)[0]
    rotation = Rotation.from_rotvec(np.linspace(0, 2, 300)[:, None] * [0.0, 0.0, 1.0]).as_matrix()
    points = np.einsum("fab,jb->jfa", rotation, pose)
    points[H36M_BODY.joint_names.index("rank"), :, 2] += (
        knee_mm * np.sin(np.arange(300) / 20) * (np.arange(300) < 300 * share)
    )
    points += rng.normal(0, noise_mm, points.shape)
    covariance = np.broadcast_to(noise_mm**2 * np.eye(3), (*points.shape, 3))
    pairs = measure_rigid_pairs(points, covariance, np.ones(points.shape[:2], bool), H36M_BODY, np.full(17, 4.0))
    true = np.linalg.norm(pose[pairs.other] - pose[pairs.one], axis=1)
    return pairs, true


def test_measure_rigid_pairs_noise_is_not_variation():
    pairs, true = measured(noise_mm=8.0)
    assert len(pairs.one) > 30
    np.testing.assert_allclose(pairs.length, true, atol=4)
    assert np.median(pairs.std / pairs.length[:, None]) < 2 * 0.02


def test_measure_rigid_pairs_pair_that_varies_is_left_out():
    names = H36M_BODY.joint_names
    shank = (names.index("rkne"), names.index("rank"))
    rigid, _ = measured(2.0)
    assert shank in list(zip(rigid.one.tolist(), rigid.other.tolist(), strict=True))
    pairs, _ = measured(2.0, knee_mm=100.0)
    assert shank not in list(zip(pairs.one.tolist(), pairs.other.tolist(), strict=True))


def test_measure_rigid_pairs_person_who_rests_most_of_the_time():
    """A quarter of the frames with motion decides; a few frames lose their weight."""
    names = H36M_BODY.joint_names
    shank = (names.index("rkne"), names.index("rank"))
    pairs, _ = measured(2.0, 100.0, share=0.25)
    assert shank not in list(zip(pairs.one.tolist(), pairs.other.tolist(), strict=True))
    pairs, _ = measured(2.0, 100.0, share=0.05)
    number = list(zip(pairs.one.tolist(), pairs.other.tolist(), strict=True)).index(shank)
    assert pairs.std[number, 10:15].min() > 20 * pairs.std[number, 20:].max()


def test_measure_rigid_pairs_few_frames_have_no_pairs():
    points = np.random.default_rng(1).normal(size=(17, 5, 3))
    pairs = measure_rigid_pairs(points, np.zeros((17, 5, 3, 3)), np.ones((17, 5), bool), H36M_BODY, np.ones(17))
    assert len(pairs.one) == 0
