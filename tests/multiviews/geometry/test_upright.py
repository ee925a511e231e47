from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.walk import walking

from lib.multiviews.geometry.upright import upright
from lib.utils.joints import H36M_17, TOTALCAPTURE_16


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [1, -1])
def test_upright_z_is_up_for_any_vertical_axis(axis, sign):
    turn = np.roll(np.eye(3), axis + 1, 0) * np.array([1, 1, sign])
    if np.linalg.det(turn) < 0:
        turn = turn * np.array([-1, 1, 1])
    walk = walking(20, np.random.default_rng(11))
    pose = walk @ turn.T
    rotation = upright(pose)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_allclose((pose @ rotation.T)[..., 2], walk[..., 2], atol=1e-6)


def test_upright_of_other_joints_is_the_same():
    tilted = walking(20, np.random.default_rng(11)) @ np.array([[0.8, 0, -0.6], [0, 1, 0], [0.6, 0, 0.8]])
    fewer = tilted[:, H36M_17.indices(TOTALCAPTURE_16.names)]
    np.testing.assert_array_equal(upright(fewer, TOTALCAPTURE_16.names), upright(tilted))
