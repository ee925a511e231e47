"""Robust triangulation compiled by numba: the same points as on numpy."""

from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import make_backend, make_scene

from lib.multiviews.cameras import project
from lib.multiviews.keypoints.triangulate_robust import triangulate_robust


def random_peaks(num_views: int, num_peaks: int, seed: int):
    """Return cameras, peaks and heights: right, wrong, missing and non-positive ones."""
    scene = make_scene(6, num_views, seed=seed)
    rng = np.random.default_rng(seed)
    right = project(scene.pose_world[:, None], scene.cameras)[0][..., None, :]
    peaks = right + rng.normal(0, 5, (*right.shape[:3], num_peaks, 2))
    peaks[..., 1:, :] += rng.normal(0, 100, peaks[..., 1:, :].shape)
    peaks[rng.random(peaks.shape[:4]) < 0.2] += 300
    peaks[rng.random(peaks.shape[:4]) < 0.1] = np.nan
    peaks[0, 0, 0] = 1e7  # no ray leads there
    values = rng.uniform(-0.1, 1, peaks.shape[:4])
    values[1] = 0
    values[2, 1:] = 0
    return scene.cameras, peaks, values


@pytest.mark.parametrize("num_views", [2, 3, 4, 5])
@pytest.mark.parametrize("num_peaks", [1, 3])
def test_triangulate_robust_compiled_equals_numpy(num_views, num_peaks):
    cameras, peaks, values = random_peaks(num_views, num_peaks, seed=num_views)
    tolerance = np.random.default_rng(0).uniform(10, 30, peaks.shape[:2])
    expected = triangulate_robust(peaks, values, cameras, tolerance)
    found = triangulate_robust(peaks, values, cameras, tolerance, make_backend("numba"))
    assert 0.2 < np.isnan(expected).mean() < 0.9
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_triangulate_robust_compiled_keeps_arguments():
    cameras, peaks, values = random_peaks(3, 2, 0)
    copies = peaks.copy(), values.copy()
    triangulate_robust(peaks, values, cameras, np.full(peaks.shape[:2], 20.0), make_backend("numba"))
    np.testing.assert_array_equal(peaks, copies[0])
    np.testing.assert_array_equal(values, copies[1])
