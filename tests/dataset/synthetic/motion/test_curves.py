"""Timelines and rotations against hand-worked values and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lib.dataset.synthetic.motion.curves import Timeline, rotation, smoothstep


def test_smoothstep_values_computed_by_hand():
    np.testing.assert_allclose(smoothstep(np.array([-1, 0, 0.25, 0.5, 1, 2])), [0, 0, 0.103515625, 0.5, 1, 1])


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_rotation_equals_scipy(axis):
    angles = np.array([0.3, -1.2])
    expected = [Rotation.from_euler(axis, angle).as_matrix() for angle in angles]
    np.testing.assert_allclose(rotation(axis, angles), expected, atol=1e-12)


def test_rotation_positive_pitch_is_forward_and_positive_yaw_is_left():
    up, forward = np.array([0, 0, 1.0]), np.array([1.0, 0, 0])
    assert (rotation("y", 0.5) @ up)[0] > 0.4
    assert (rotation("z", 0.5) @ forward)[1] > 0.4


def test_timeline_holds_states_and_changes_between_them():
    timeline = Timeline(starts=np.array([1.0, 4.0]), durations=np.array([2.0, 1.0]))
    values = timeline.blend(np.array([10.0, 20.0, 50.0]), np.array([0.0, 1.0, 2.0, 3.0, 3.9, 4.5, 9.0]))
    np.testing.assert_allclose(values, [10, 10, 15, 20, 20, 35, 50])


def test_timeline_random_changes_do_not_overlap():
    timeline = Timeline.random(np.random.default_rng(3), 100.0, (0.5, 2.0), (0.3, 0.9))
    ends = timeline.starts + timeline.durations
    assert (timeline.starts[1:] >= ends[:-1] + 0.5 - 1e-9).all()
    assert ends[-1] >= 100.0 - 2.0
    np.testing.assert_allclose(timeline.weights(np.linspace(-5, 120, 300)).sum(1), 1.0)
