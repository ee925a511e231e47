from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.wrong_rig import bumped, filmed_walk

from lib.multiviews.rig.rig_adjustment import Frames, RigAdjustment, free_columns
from lib.multiviews.rig.rig_parameters import CENTER, DRIFT, OFFSET, ROTATION, RigState, aligned


@pytest.fixture(scope="module")
def walk():
    return filmed_walk(num_frames=60, swap_share=0.0)


def adjustment(walk, cameras, columns=(ROTATION, CENTER)) -> RigAdjustment:
    points = walk.points[..., :2]
    frames = Frames(np.arange(60), points, np.zeros((60, 3), int), 60)
    given = RigState.in_sync(cameras)
    return RigAdjustment(frames, given, given, free_columns(3, columns), walk.pose_world.copy())


def test_step_brings_a_bumped_camera_back(walk):
    found = adjustment(walk, bumped(walk.state.cameras, 2, 0.5))
    for _ in range(6):
        found.step()
    moved = aligned(found.state, walk.state)[0].minus(walk.state)
    assert np.degrees(np.linalg.norm(moved[:, ROTATION], axis=1)).max() < 0.15
    assert np.linalg.norm(moved[:, CENTER], axis=1).max() < 10
    np.testing.assert_allclose(found.noise_px, 1.0, atol=0.1)


def test_solve_joints_keeps_the_rig(walk):
    found = adjustment(walk, walk.state.cameras)
    found.points += 20.0
    found.solve_joints()
    assert found.state.minus(walk.state) == pytest.approx(0)
    assert np.median(np.linalg.norm(found.points - walk.pose_world, axis=-1)) < 10


def test_free_columns_hold_the_clock_of_the_reference():
    free = free_columns(3, [OFFSET, DRIFT], reference=1)
    assert free.sum() == 4
    assert not free[1].any()


def test_runs_end_where_frames_are_missing():
    frames = Frames(np.array([0, 1, 2, 7, 8]), np.zeros((5, 2, 1, 2)), np.zeros((5, 2), int), 10)
    assert frames.runs() == [slice(0, 3), slice(3, 5)]
