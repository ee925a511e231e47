from __future__ import annotations

import numpy as np
import pytest

from lib.multiviews.recording.smoothing import smooth_trajectories
from lib.utils.errors import InputError

TIME = np.arange(400.0)


@pytest.mark.parametrize(("frequency", "gain"), [(0.01, 1.0), (0.05, 0.5), (0.2, 0.0)])
def test_smooth_trajectories_gain_at_cutoff_is_half(frequency, gain):
    wave = np.sin(2 * np.pi * frequency * TIME)
    smooth = smooth_trajectories(wave[:, None], 0.05)[:, 0]
    inner = slice(100, 300)
    assert (smooth[inner] @ wave[inner]) / (wave[inner] @ wave[inner]) == pytest.approx(gain, abs=0.02)


def test_smooth_trajectories_lines_are_kept_and_gaps_bridged():
    line = np.stack([3 * TIME - 5000, 7 - TIME], 1)
    gappy = line.copy()
    gappy[[0, 1, 200, 201, 202, 399]] = np.nan
    for cutoff in (None, 0.05):
        np.testing.assert_allclose(smooth_trajectories(gappy, cutoff), line, atol=0.05)


def test_smooth_trajectories_without_cutoff_known_points_are_kept():
    points = np.random.default_rng(0).normal(0, 100, (30, 2, 3))
    points[10, 1] = np.nan
    bridged = smooth_trajectories(points, None)
    known = np.isfinite(points)
    np.testing.assert_array_equal(bridged[known], points[known])
    assert np.isfinite(bridged).all()
    assert np.abs(bridged[10, 1]).max() < 400


@pytest.mark.parametrize("num", [2, 3, 4, 30])
def test_smooth_trajectories_equals_dense_least_squares(num):
    """Points and second differences are rows of one dense system."""
    rng = np.random.default_rng(num)
    cutoff = 0.1
    points = rng.normal(0, 100, (num, 2))
    if num > 3:
        points[1, 0] = np.nan
    rough = (2 * np.sin(np.pi * cutoff)) ** -2.0 * np.diff(np.eye(num), 2, axis=0)
    for column, smooth in zip(points.T, smooth_trajectories(points, cutoff).T, strict=True):
        known = np.isfinite(column)
        rows = np.concatenate([np.eye(num)[known], rough])
        expected = np.linalg.lstsq(rows, np.concatenate([column[known], np.zeros(len(rough))]), rcond=None)[0]
        np.testing.assert_allclose(smooth, expected, atol=1e-5)


@pytest.mark.parametrize("cutoff", [None, 0.1])
def test_smooth_trajectories_single_point_is_kept(cutoff):
    points = np.full((5, 2), np.nan)
    points[2, 0] = 1.0
    np.testing.assert_array_equal(smooth_trajectories(points, cutoff), points)


def test_smooth_trajectories_cutoff_out_of_range():
    with pytest.raises(InputError, match=r"0 and 0.5"):
        smooth_trajectories(np.zeros((5, 1)), 0.6)
