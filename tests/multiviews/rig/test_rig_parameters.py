from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cvf_tests.scenes import make_rig
from cvf_tests.wrong_rig import bumped
from scipy.spatial.transform import Rotation

from lib.multiviews.cameras import project
from lib.multiviews.rig.rig_parameters import (
    CENTER,
    NUM_COLUMNS,
    ROTATION,
    RigState,
    aligned,
    clock,
    move_sizes,
    pixel_derivatives,
    without_similarity,
)

STEPS = np.array([1e-5] * 3 + [1e-2] * 3 + [1e-5] + [1e-3] * 2 + [1e-4] * 2 + [1e-5])


@pytest.fixture
def rng():
    return np.random.default_rng(2)


@pytest.fixture
def state(rng):
    cameras = make_rig(3, rng)
    return RigState.in_sync(replace(cameras, k=0 * cameras.k, p=0 * cameras.p))


@pytest.mark.parametrize("column", range(NUM_COLUMNS))
def test_pixel_derivatives_equal_differences(state, rng, column):
    points = rng.normal(0, 400, (4, 1, 5, 3)) + [0, 0, 900]
    points = np.repeat(points, 3, 1)
    velocity = rng.normal(0, 20, points.shape)
    time = clock(np.arange(4), 4)
    _, slope, by_rig, in_front = pixel_derivatives(points, velocity, time, state.cameras)
    step = np.zeros((3, NUM_COLUMNS))
    step[:, column] = STEPS[column]
    moved = state.moved(step)
    late = moved.lag(time)[:, :, None, None]
    after, _ = project(points - velocity * late, moved.cameras)
    before, _ = project(points, state.cameras)
    assert in_front.all()
    expected = (after - before) / STEPS[column]
    np.testing.assert_allclose(by_rig[..., column], expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(slope, -by_rig[..., CENTER])


def test_state_minus_inverts_moved(state, rng):
    step = rng.normal(0, 1, (3, NUM_COLUMNS)) * 10 * STEPS
    np.testing.assert_allclose(state.moved(step).minus(state), step, atol=1e-9)


def test_aligned_finds_the_camera_that_moved(state):
    turn = Rotation.from_rotvec([0.02, -0.01, 0.03]).as_matrix()
    cameras = bumped(state.cameras, 1)
    other = RigState.in_sync(replace(cameras, R=cameras.R @ turn.T, T=1.02 * cameras.T @ turn.T + [30, 20, 10]))
    found, weight = aligned(other, state)
    moved = move_sizes(found.minus(state))
    assert moved[1] == pytest.approx(2.0, abs=0.05)  # a degree
    assert moved[[0, 2]].max() < 0.05
    assert weight.argmin() == 1


def test_without_similarity_keeps_the_move_of_one_camera(state):
    step = np.zeros((3, NUM_COLUMNS))
    step[2, ROTATION] = 0.001, 0.0, -0.001
    projection = without_similarity(state.cameras, np.array([1.0, 1.0, 1e-6]))
    np.testing.assert_allclose(projection @ step.ravel(), step.ravel(), atol=1e-5)
