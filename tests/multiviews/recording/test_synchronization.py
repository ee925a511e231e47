from __future__ import annotations

import cv2
import numpy as np
import pytest
from cvf_tests.scenes import FLIP_PAIRS, make_rig
from cvf_tests.walk import film, swapped, walking

from lib.multiviews.cameras import project
from lib.multiviews.recording.synchronization import epipolar_distances, estimate_sync_offsets, swap_free_points
from lib.utils.errors import InputError


def delayed(shifts, num_frames=120, noise_px=1.0):
    """Views that show at frame t + shift what happens at t; one constant error per view and joint."""
    rng = np.random.default_rng(7)
    fine = walking(4 * (num_frames + 40), rng, speed=0.25)  # quarters of a frame
    views = []
    bias = rng.normal(0, 4, (len(shifts), 17, 2))
    for view, shift in enumerate(shifts):
        start = 80 - round(4 * shift)
        pose = fine[start : start + 4 * num_frames : 4]
        points, cameras = film(pose, len(shifts), np.random.default_rng(8), noise_px)
        views.append(points[:, view, :, :2] + bias[view])
    return np.stack(views, 1), cameras[0]


def test_estimate_sync_offsets_fractional_with_swaps_and_gaps():
    points, cameras = delayed([0, 3.5, -6, 1.25])
    points[30:50, 1] = swapped(points[30:50, 1])
    points[60:65, 2] = np.nan
    found = estimate_sync_offsets(points, cameras, np.full(4, 400.0), FLIP_PAIRS)
    np.testing.assert_allclose(found.frames, [0, 3.5, -6, 1.25], atol=0.3)
    assert np.abs(found.whole() - [0, 3.5, -6, 1.25]).max() < 1
    assert (found.spread < 0.5).all()


def drifting(shifts, drifts, num_frames, noise_px=1.0):
    """Views that show at frame t + shift + drift * t what happens at t."""
    rng = np.random.default_rng(3)
    fine = walking(2 * (num_frames + 80), rng, speed=0.5)  # halves of a frame
    views = []
    for view, (shift, drift) in enumerate(zip(shifts, drifts, strict=True)):
        seen_at = (np.arange(num_frames) - shift) / (1 + drift)
        pose = fine[np.round(2 * (seen_at + 40)).astype(int)]
        points, cameras = film(pose, len(shifts), np.random.default_rng(8), noise_px)
        views.append(points[:, view, :, :2])
    return np.stack(views, 1), cameras[0]


def test_estimate_sync_offsets_drift_of_clocks():
    num_frames, drifts = 6000, [0, 0.001, 0, -0.0025]  # 200 s of 30 frames per second
    points, cameras = drifting([0, 3, -2, 5], drifts, num_frames)
    points[1000:1400, 1] = np.nan
    found = estimate_sync_offsets(points, cameras, np.full(4, 400.0), FLIP_PAIRS)
    np.testing.assert_allclose(found.drift, drifts, rtol=0.1, atol=0)
    np.testing.assert_allclose(found.frames, [0, 3, -2, 5], atol=0.5)
    np.testing.assert_allclose(found.largest(num_frames), [0, 9, -2, -10], atol=0.6)


def test_estimate_sync_offsets_person_at_rest_gives_no_estimate():
    points, cameras = delayed([0, 2])
    points = np.repeat(points[:1], 60, 0) + np.random.default_rng(0).normal(0, 1, (60, *points.shape[1:]))
    found = estimate_sync_offsets(points, cameras, np.full(2, 400.0), FLIP_PAIRS)
    assert found.frames[0] == 0
    assert np.isnan(found.frames[1])
    assert found.whole().tolist() == [0, 0]


def test_estimate_sync_offsets_unrelated_view_is_left_out():
    points, cameras = delayed([0, 2, 5, -3])
    points[:, 0] = np.random.default_rng(0).uniform(300, 700, points[:, 0].shape)  # shows something else
    found = estimate_sync_offsets(points, cameras, np.full(4, 400.0), FLIP_PAIRS)
    np.testing.assert_allclose(found.frames, [np.nan, 0, 3, -5], atol=0.3)
    assert np.isnan(found.spread).tolist() == [True, False, False, False]


def test_epipolar_distances_equal_opencv():
    rng = np.random.default_rng(9)
    rig = make_rig(2, rng).map(lambda array: array)
    straight = type(rig)(rig.R, rig.T, np.full((2, 2), 1100.0), rig.c, rig.k * 0, rig.p * 0)
    pixels, _ = project(walking(1, rng), straight)
    one = pixels[0]
    other = pixels[1] + rng.normal(0, 3, (17, 2))
    matrix = np.array([[1100.0, 0, 0], [0, 1100.0, 0], [0, 0, 1]])
    inverse = []
    for view in range(2):
        camera = matrix.copy()
        camera[:2, 2] = rig.c[view]
        inverse.append(np.linalg.inv(camera))
    rotation = rig.R[1] @ rig.R[0].T
    shift = rig.R[1] @ (rig.T[0] - rig.T[1])
    cross = np.array([[0, -shift[2], shift[1]], [shift[2], 0, -shift[0]], [-shift[1], shift[0], 0]])
    fundamental = inverse[1].T @ cross @ rotation @ inverse[0]
    lines = cv2.computeCorrespondEpilines(one.astype(np.float32), 1, fundamental)[:, 0]
    expected = np.abs((lines[:, :2] * other).sum(1) + lines[:, 2])
    found = epipolar_distances(one, other, straight[0], straight[1])
    np.testing.assert_allclose(np.abs(found), expected, rtol=0.1, atol=0.05)


def test_swap_free_points_do_not_change_with_swaps():
    points = np.random.default_rng(0).normal(size=(2, 17, 2))
    np.testing.assert_allclose(swap_free_points(swapped(points), FLIP_PAIRS), swap_free_points(points, FLIP_PAIRS))


def test_estimate_sync_offsets_too_few_frames():
    with pytest.raises(InputError, match="3 frames"):
        estimate_sync_offsets(np.zeros((2, 2, 17, 2)), make_rig(2, np.random.default_rng(0)), np.ones(2))
