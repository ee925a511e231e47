from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lib.multiviews.rig_check import check_rig
from tests.multiviews.walk import FLIP_PAIRS, film, swapped, walking


def check(num_views, moved=None, noise_px=1.5):
    rng = np.random.default_rng(12)
    points, cameras = film(walking(20, rng), num_views, rng, noise_px)
    points[3:9, 0] = swapped(points[3:9, 0])  # no concern of the cameras
    if moved is not None:
        shift = np.zeros(cameras.T.shape)
        shift[:, moved] = [150, -200, 250]
        cameras = replace(cameras, T=cameras.T + shift)
    return check_rig(points[..., :2], cameras, np.full(points.shape[:2], 400.0), FLIP_PAIRS)


@pytest.mark.parametrize("num_views", [2, 3, 4, 6])
def test_a_right_rig_is_left_in_peace(num_views):
    found = check(num_views)
    assert found.off == ()
    assert (found.error < 0.01).all()
    assert np.isnan(found.from_others).all() == (num_views == 2)


@pytest.mark.parametrize(("num_views", "moved"), [(4, 0), (4, 2), (5, 4), (8, 3)])
def test_the_moved_camera_is_named(num_views, moved):
    found = check(num_views, moved)
    assert found.off == (moved,)
    assert found.from_others.argmax() == moved


def test_of_two_nobody_can_say_which():
    found = check(2, 1)
    assert found.off is None
    assert found.pairs[0, 1] > 0.025
