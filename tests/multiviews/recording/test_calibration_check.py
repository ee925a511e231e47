from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cvf_tests.scenes import FLIP_PAIRS
from cvf_tests.walk import film, swapped, walking

from lib.multiviews.recording.calibration_check import check_calibration


def check(num_views, moved=None, noise_px=1.5, edit=None):
    rng = np.random.default_rng(12)
    points, cameras = film(walking(20, rng), num_views, rng, noise_px)
    points[3:9, 0] = swapped(points[3:9, 0])  # must have no effect
    if edit is not None:
        edit(points[..., :2])
    if moved is not None:
        shift = np.zeros(cameras.T.shape)
        shift[:, moved] = [150, -200, 250]
        cameras = replace(cameras, T=cameras.T + shift)
    return check_calibration(points[..., :2], cameras, np.full(points.shape[:2], 400.0), FLIP_PAIRS)


@pytest.mark.parametrize("num_views", [2, 3, 4, 6])
def test_check_calibration_correct_cameras_all_fit(num_views):
    found = check(num_views)
    assert found.off == ()
    assert (found.error < 0.01).all()
    assert np.isnan(found.from_others).all() == (num_views == 2)


@pytest.mark.parametrize(("num_views", "moved"), [(4, 0), (4, 2), (5, 4), (8, 3)])
def test_check_calibration_moved_camera_is_named(num_views, moved):
    found = check(num_views, moved)
    assert found.off == (moved,)
    assert found.from_others.argmax() == moved


def test_check_calibration_two_views_are_undecided():
    found = check(2, 1)
    assert found.off is None
    assert found.pairs[0, 1] > 0.025


def test_check_calibration_views_without_common_frames_are_skipped():
    """Camera 0 is 120 px off. Without camera 1 nothing can be compared, which does not make camera 1 wrong."""

    def edit(points):
        points[:, 0] += 120
        points[::2, 0] = np.nan
        points[1::2, 2] = np.nan

    assert check(3, edit=edit).off == (0,)


@pytest.mark.parametrize("view", [0, 3])
def test_check_calibration_view_without_common_frame_does_not_fit(view):
    def edit(points):
        points[:, view] += 500
        points[:10, view] = np.nan
        points[10:, np.arange(4) != view] = np.nan

    assert check(4, edit=edit).off == (view,)


def test_check_calibration_two_views_without_common_frame_are_undecided():
    def edit(points):
        points[::2, 0] = np.nan
        points[1::2, 1] = np.nan

    assert check(2, edit=edit).off is None
