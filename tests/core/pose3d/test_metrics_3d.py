"""3D metrics against hand-computed values and known similarities."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lib.core.pose3d.metrics_3d import all_errors, auc, mpjpe, pck, percentiles, procrustes_align, summarize
from lib.utils.errors import InputError


def random_poses(num_frames=4, num_joints=17):
    return np.random.default_rng(0).normal(0, 300, (num_frames, num_joints, 3))


def test_mpjpe_equals_hand_computed():
    gt = np.zeros((2, 2, 3))
    pose = np.array([[[3, 4, 0], [0, 0, 0]], [[0, 0, 1], [2, 3, 6]]], np.float64)  # distances 5 0 1 7
    assert mpjpe(pose, gt) == 13 / 4
    errors = all_errors(pose, gt)
    np.testing.assert_array_equal(errors["absolute"], [[5, 0], [1, 7]])
    # relative to joint 0 the second joints are at (-3, -4, 0) and (2, 3, 5)
    np.testing.assert_allclose(errors["root_relative"], [[0, 5], [0, np.sqrt(38)]])


def test_all_errors_root_relative_ignores_translation():
    gt = random_poses()
    assert all_errors(gt + [10.0, 20, 20], gt)["root_relative"].max() < 1e-9
    pose = gt.copy()
    pose[:, 3] += [0, 0, 7.0]
    errors = all_errors(pose, gt, root=3)["root_relative"]
    np.testing.assert_allclose(errors, np.where(np.arange(17) == 3, 0, 7)[None].repeat(4, 0))


def test_procrustes_align_undoes_similarity():
    gt = random_poses()
    rotation = np.stack([cv2.Rodrigues(np.array([0.3 * i, -1.1, 2.0]))[0] for i in range(4)])
    pose = 0.7 * gt @ rotation + np.array([500.0, -300, 90])
    np.testing.assert_allclose(procrustes_align(pose, gt), gt, atol=1e-9)
    assert all_errors(pose, gt)["absolute"].mean() > 100


def test_procrustes_align_does_not_reflect():
    gt = random_poses()
    mirrored = gt * [-1.0, 1, 1]
    aligned = procrustes_align(mirrored, gt)
    assert np.linalg.norm(aligned - gt, axis=-1).mean() > 50


def test_procrustes_align_is_optimal():
    """No small similarity applied to the aligned pose reduces the squared error."""
    rng = np.random.default_rng(1)
    gt = random_poses(1)
    turned = gt @ cv2.Rodrigues(np.array([0.5, 1, 2.0]))[0]
    aligned = procrustes_align(turned + rng.normal(0, 60, gt.shape), gt)
    best = ((aligned - gt) ** 2).sum()
    for _ in range(50):
        rotation = cv2.Rodrigues(rng.normal(0, 0.01, 3))[0]
        changed = (1 + rng.normal(0, 0.01)) * aligned @ rotation + rng.normal(0, 2, 3)
        assert ((changed - gt) ** 2).sum() > best


def test_procrustes_align_pose_without_extent_is_translated():
    gt = random_poses(1)
    aligned = procrustes_align(np.full((1, 17, 3), 5.0), gt)
    np.testing.assert_allclose(aligned, gt.mean(1, keepdims=True).repeat(17, 1))


@pytest.fixture
def results():
    gt = np.zeros((3, 2, 3))
    pose = np.zeros((3, 2, 3))
    pose[:, 1, 0] = [2, 4, 12]  # Walking: 1 and 2 mm on average, Directions: 6
    return summarize(pose, gt, np.array([14, 14, 2]), ["root", "knee"])


def test_summarize_means_over_frames_and_actions(results):
    assert results["num_frames"] == 3
    assert results["mpjpe"]["absolute"] == {"frames": 3.0, "actions": (1.5 + 6) / 2}
    assert results["per_action"]["Walking"]["num_frames"] == 2
    assert results["per_action"]["Walking"]["absolute"] == 1.5
    assert results["per_joint"]["knee"]["absolute"] == 6.0
    assert results["per_joint"]["root"]["root_relative"] == 0.0


def test_pck_and_auc_equal_hand_computed():
    errors = np.array([0.0, 5.0, 149.9, 150.0, 1000.0])
    assert pck(errors) == 3 / 5  # 150 itself is not below
    assert pck(errors, 5.0) == 1 / 5
    # thresholds 0, 5, ..., 150: those above 0 are 30, above 5 are 29, above 149.9 only 150 itself
    assert auc(errors) == pytest.approx((30 + 29 + 1 + 0 + 0) / 5 / 31)
    assert (pck(np.array([7.0, np.nan])), auc(np.array([np.nan, np.inf]))) == (0.5, 0.0)
    assert np.isnan([pck(np.array([])), auc(np.array([]))]).all()


def test_auc_is_mean_over_thresholds():
    errors = np.random.default_rng(0).choice(np.arange(0, 200, 2.5), (40, 17))
    shares = [(errors < threshold).mean() for threshold in range(0, 151, 5)]
    assert auc(errors) == pytest.approx(np.mean(shares))


def test_percentiles_equal_hand_computed():
    errors = np.arange(101.0)[::-1].reshape(1, 101)  # 0 ... 100
    assert percentiles(errors) == {"p50": 50, "p90": 90, "p95": 95, "p99": 99, "max": 100}
    assert percentiles(np.array([4.0, np.nan, 2.0]))["p50"] == 3.0
    assert np.isnan(list(percentiles(np.array([np.nan])).values())).all()


def test_summarize_distribution_excludes_root_relative_root(results):
    # knee distances: absolute 2 4 12, with the root 0 0 0 2 4 12; root-relative 2 4 12
    assert results["distribution"]["absolute"]["p50"] == 1.0
    assert results["distribution"]["root_relative"]["p50"] == 4.0
    assert results["distribution"]["root_relative"]["max"] == 12.0
    # above 2 and 4 lie the 30 thresholds from 5 on, above 12 the 28 from 15 on
    assert results["distribution"]["root_relative"]["auc"] == pytest.approx((30 + 30 + 28) / 3 / 31)
    assert results["per_joint"]["knee"]["auc"]["absolute"] == pytest.approx((30 + 30 + 28) / 3 / 31)
    assert results["per_action"]["Directions"]["auc"]["root_relative"] == pytest.approx(28 / 31)
    assert results["per_action"]["Walking"]["pck150"]["root_relative"] == 1.0
    assert np.isnan(results["per_joint"]["root"]["pck150"]["root_relative"])


def test_summarize_named_actions():
    gt = random_poses(3)
    results = summarize(gt, gt, np.array(["Walking 2", "Acting 3", "Walking 2"]), [f"j{i}" for i in range(17)])
    assert {name: entry["num_frames"] for name, entry in results["per_action"].items()} == {
        "Acting 3": 1,
        "Walking 2": 2,
    }
    assert "per_part" not in results


def test_summarize_parts_equal_hand_computed():
    gt = np.zeros((4, 2, 3))
    pose = np.zeros((4, 2, 3))
    pose[:, 1, 0] = [2, 4, 12, 20]  # means of the frames: 1, 2, 6, 10
    masks = {"seen": np.array([True, False, True, False]), "everyone": np.ones(4, bool), "none": np.zeros(4, bool)}
    results = summarize(pose, gt, np.array([2, 2, 3, 3]), ["root", "knee"], parts={"day": masks})
    assert list(results["per_part"]) == ["day"]
    parts = results["per_part"]["day"]
    assert {name: entry["num_frames"] for name, entry in parts.items()} == {"seen": 2, "everyone": 4, "none": 0}
    assert (parts["seen"]["absolute"], parts["everyone"]["absolute"]) == (3.5, 4.75)
    assert parts["seen"]["root_relative"] == 3.5
    # knee distances 2 and 12: thresholds above them 30 and 28 of 31
    assert parts["seen"]["auc"]["root_relative"] == pytest.approx((30 + 28) / 2 / 31)
    assert np.isnan([parts["none"]["absolute"], parts["none"]["pck150"]["absolute"]]).all()
    assert results["per_action"]["Directions"]["absolute"] == 1.5  # results outside the parts are unchanged


def test_summarize_missing_joints_are_left_out_and_counted():
    gt = random_poses(2)
    pose = gt + [3.0, 4.0, 0.0]
    pose[0, 5] = np.nan
    results = summarize(pose, gt, np.array([2, 3]), [f"j{joint}" for joint in range(17)])
    assert results["num_missing"] == 1
    assert results["mpjpe"]["absolute"]["frames"] == pytest.approx(5.0)
    assert results["mpjpe"]["pa"]["frames"] < 1e-9  # the other joints align
    assert results["distribution"]["absolute"]["pck150"] == pytest.approx(33 / 34)
    assert results["distribution"]["root_relative"]["pck150"] == pytest.approx(31 / 32)
    assert results["per_joint"]["j5"]["pck150"]["pa"] == 0.5
    assert results["per_joint"]["j5"]["absolute"] == pytest.approx(5.0)
    pose[1, 0] = np.nan  # a pose without root has no root-relative errors
    results = summarize(pose, gt, np.array([2, 3]), [f"j{joint}" for joint in range(17)])
    assert np.isnan(results["per_action"]["Discussion"]["root_relative"])
    assert results["per_action"]["Discussion"]["pck150"]["root_relative"] == 0.0


def test_procrustes_align_two_joints_are_too_few():
    gt = random_poses(1)
    pose = np.full_like(gt, np.nan)
    pose[0, :2] = gt[0, :2] * 3
    assert np.isnan(procrustes_align(pose, gt)).all()


def test_all_errors_other_shape_is_refused():
    with pytest.raises(InputError, match="gt"):
        all_errors(np.zeros((2, 17, 3)), np.zeros((3, 17, 3)))
