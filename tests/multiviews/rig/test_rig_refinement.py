from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import FLIP_PAIRS
from cvf_tests.walk import BODY
from cvf_tests.wrong_rig import bumped, filmed_walk

from lib.multiviews.rig.rig_parameters import CENTER, OFFSET, ROTATION, RigState, aligned
from lib.multiviews.rig.rig_refinement import in_step, refine_rig, spread_frames


def test_refine_rig_finds_camera_and_clock():
    walk = filmed_walk(num_frames=150, offsets=(0.0, 3.4, -1.7))
    found = refine_rig(walk.points, bumped(walk.state.cameras, 1), BODY, FLIP_PAIRS)
    error = aligned(found.state, walk.state)[0].minus(walk.state)
    assert np.degrees(np.linalg.norm(error[:, ROTATION], axis=1)).max() < 0.15
    assert np.linalg.norm(error[:, CENTER], axis=1).max() < 15
    assert np.abs(error[:, OFFSET]).max() < 0.2
    deviations = (error / np.where(found.free, found.sd, np.inf))[found.free]
    assert 0.3 < np.sqrt((deviations**2).mean()) < 2.5
    assert found.error_before.max() > 3 * found.error_after.max()
    assert found.change > 10 * found.change_freedom


def test_spread_frames_cover_the_recording():
    numbers = spread_frames(1000, 200, 50)
    assert len(numbers) == 200
    assert numbers[0] == 0
    assert numbers[-1] == 999
    np.testing.assert_array_equal(spread_frames(30, 200), np.arange(30))


def test_in_step_moves_late_views():
    points = np.random.default_rng(2).normal(size=(10, 2, 4, 2))
    state = RigState.in_sync(filmed_walk(2, 20).state.cameras)
    state = RigState(state.cameras, np.array([0.0, 2.3]), np.zeros(2))
    frames = in_step(points, state, np.arange(10))
    np.testing.assert_array_equal(frames.points_img[:, 0], points[:, 0])
    np.testing.assert_array_equal(frames.points_img[:-2, 1], points[2:, 1])
    assert np.isnan(frames.points_img[-2:, 1]).all()
    assert frames.shift[0].tolist() == [0, pytest.approx(2)]
