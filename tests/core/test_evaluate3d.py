"""3D metrics against numbers worked by hand and a similarity made by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lib.core.evaluate3d import (
    action_table,
    all_errors,
    joint_table,
    mpjpe,
    procrustes_align,
    summarise,
)
from lib.dataset.actions import ACTION_NAMES, action_name
from lib.utils.checks import InputError


def random_poses(num_frames=4, num_joints=17):
    return np.random.default_rng(0).normal(0, 300, (num_frames, num_joints, 3))


def test_mpjpe_by_hand():
    truth = np.zeros((2, 2, 3))
    pose = np.array([[[3, 4, 0], [0, 0, 0]], [[0, 0, 1], [2, 3, 6]]], np.float64)  # distances 5 0 1 7
    assert mpjpe(pose, truth) == 13 / 4
    errors = all_errors(pose, truth)
    np.testing.assert_array_equal(errors["absolute"], [[5, 0], [1, 7]])
    # relative to joint 0 the second joints are at (-3, -4, 0) and (2, 3, 5)
    np.testing.assert_allclose(errors["root_relative"], [[0, 5], [0, np.sqrt(38)]])


def test_root_relative_ignores_a_translation_and_uses_the_given_root():
    truth = random_poses()
    assert all_errors(truth + [10.0, 20, 20], truth)["root_relative"].max() < 1e-9
    pose = truth.copy()
    pose[:, 3] += [0, 0, 7.0]
    errors = all_errors(pose, truth, root=3)["root_relative"]
    np.testing.assert_allclose(errors, np.where(np.arange(17) == 3, 0, 7)[None].repeat(4, 0))


def test_pa_undoes_a_similarity():
    truth = random_poses()
    rotation = np.stack([cv2.Rodrigues(np.array([0.3 * i, -1.1, 2.0]))[0] for i in range(4)])
    pose = 0.7 * truth @ rotation + np.array([500.0, -300, 90])
    np.testing.assert_allclose(procrustes_align(pose, truth), truth, atol=1e-9)
    assert all_errors(pose, truth)["absolute"].mean() > 100


def test_pa_does_not_mirror():
    truth = random_poses()
    mirrored = truth * [-1.0, 1, 1]
    aligned = procrustes_align(mirrored, truth)
    assert np.linalg.norm(aligned - truth, axis=-1).mean() > 50


def test_pa_is_the_best_similarity():
    """No small change of the aligned pose by a similarity makes the squared error smaller."""
    rng = np.random.default_rng(1)
    truth = random_poses(1)
    turned = truth @ cv2.Rodrigues(np.array([0.5, 1, 2.0]))[0]
    aligned = procrustes_align(turned + rng.normal(0, 60, truth.shape), truth)
    best = ((aligned - truth) ** 2).sum()
    for _ in range(50):
        rotation = cv2.Rodrigues(rng.normal(0, 0.01, 3))[0]
        changed = (1 + rng.normal(0, 0.01)) * aligned @ rotation + rng.normal(0, 2, 3)
        assert ((changed - truth) ** 2).sum() > best


def test_pose_without_extent_is_moved_only():
    truth = random_poses(1)
    aligned = procrustes_align(np.full((1, 17, 3), 5.0), truth)
    np.testing.assert_allclose(aligned, truth.mean(1, keepdims=True).repeat(17, 1))


@pytest.fixture
def results():
    truth = np.zeros((3, 2, 3))
    pose = np.zeros((3, 2, 3))
    pose[:, 1, 0] = [2, 4, 12]  # Walking: 1 and 2 mm on average, Directions: 6
    return summarise(pose, truth, np.array([14, 14, 2]), ["root", "knee"])


def test_means_over_frames_and_over_actions(results):
    assert results["num_frames"] == 3
    assert results["mpjpe"]["absolute"] == {"frames": 3.0, "actions": (1.5 + 6) / 2}
    assert results["per_action"]["Walking"]["num_frames"] == 2
    assert results["per_action"]["Walking"]["absolute"] == 1.5
    assert results["per_joint"]["knee"]["absolute"] == 6.0
    assert results["per_joint"]["root"]["root_relative"] == 0.0


def test_tables_are_markdown(results):
    lines = action_table(results).splitlines()
    assert lines[0] == "| action | frames | MPJPE | root-relative | PA |"
    assert lines[2].startswith("| Directions | 1 | 6.0 | ")  # in the order of the ids
    assert lines[3].startswith("| Walking | 2 | 1.5 | 1.5 | ")
    assert lines[-2].startswith("| **mean over frames** | 3 | 3.0 | 3.0 | ")
    assert lines[-1].startswith("| **mean over actions** | 3 | 3.8 | 3.8 | ")
    assert len({line.count("|") for line in lines}) == 1
    assert joint_table(results).splitlines()[3].startswith("| knee | 6.0 | 6.0 | ")


def test_action_names_are_those_of_the_data_set():
    assert len(ACTION_NAMES) == 15
    assert (ACTION_NAMES[7], ACTION_NAMES[12], ACTION_NAMES[14]) == ("Posing", "TakingPhoto", "Walking")
    assert action_name(np.int32(2)) == "Directions"
    assert action_name(1) == "action 1"


def test_shapes_are_checked():
    with pytest.raises(InputError, match="truth"):
        all_errors(np.zeros((2, 17, 3)), np.zeros((3, 17, 3)))
