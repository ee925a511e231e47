"""The inverse kinematics keep bone lengths and reach what can be reached."""

from __future__ import annotations

import numpy as np

from lib.dataset.synthetic.motion.kinematics import MIN_HINGE_DEG, two_bone


def _reach(distance: float) -> tuple[np.ndarray, np.ndarray]:
    return two_bone(np.zeros(3), np.array([distance, 0, 0]), np.array([0.2, 0, 1.0]), 300.0, 400.0)


def test_two_bone_right_angle_computed_by_hand():
    middle, end = _reach(500.0)  # 3-4-5 triangle: the hinge lies 180 along and 240 up
    np.testing.assert_allclose(middle, [180, 0, 240], atol=0.1)
    np.testing.assert_allclose(end, [500, 0, 0], atol=0.1)


def test_two_bone_keeps_lengths_out_of_reach():
    for distance in (1.0, 150.0, 699.0, 705.0, 2000.0):
        middle, end = _reach(distance)
        np.testing.assert_allclose(np.linalg.norm(middle), 300, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(end - middle), 400, atol=1e-6)
        assert middle[2] >= 0  # the hinge points to the pole


def test_two_bone_folded_limb_keeps_the_smallest_angle():
    middle, end = _reach(1.0)
    cosine = -middle @ (end - middle) / (300 * 400)
    assert np.degrees(np.arccos(cosine)) >= MIN_HINGE_DEG - 0.1
