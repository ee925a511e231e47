from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cvf_tests.walk import film, walking
from scipy.spatial.transform import Rotation

from lib.multiviews.recording.robust_poses import sizes_over_time
from lib.multiviews.recording.view_noise import measure_view_noise


def noise_of(points, cameras):
    return measure_view_noise(points[..., :2], cameras, sizes_over_time(points[..., :2]))


def scene(num_views, noise_px=2.0):
    rng = np.random.default_rng(5)
    return film(walking(100, rng), num_views, rng, noise_px)


@pytest.mark.parametrize("num_views", [2, 3, 5])
def test_measure_view_noise_with_a_quarter_of_outliers(num_views):
    points, cameras = scene(num_views)
    clean = noise_of(points, cameras)
    np.testing.assert_allclose(clean.px, 2.0, rtol=0.2)
    points[::4, 0, :, 0] += 90
    found = noise_of(points, cameras)
    np.testing.assert_allclose(found.px, 2.0, rtol=0.6)
    assert found.off == clean.off == ()


@pytest.mark.parametrize(("num_views", "off"), [(2, ()), (3, (1,)), (5, (1,))])
def test_measure_view_noise_view_that_does_not_fit(num_views, off):
    points, cameras = scene(num_views)
    points[:, 1, :, :2] += [12, 12]
    found = noise_of(points, cameras)
    assert found.off == off
    if off:
        np.testing.assert_allclose(found.px[[0, 2]], 2.0, rtol=0.2)


@pytest.mark.parametrize("view", [0, 1, 2])
def test_measure_view_noise_view_turned_along_the_epipolar_lines_of_another(view):
    points, cameras = scene(3)
    baseline = cameras.R[0, view] @ (cameras.T[0, view - 1] - cameras.T[0, view])
    axis = np.cross([0.0, 0.0, 1.0], baseline)
    R = cameras.R.copy()
    R[:, view] = Rotation.from_rotvec(np.radians(2) * axis / np.linalg.norm(axis)).as_matrix() @ R[:, view]
    assert noise_of(points, replace(cameras, R=R)).off == (view,)


def test_measure_view_noise_view_without_detections():
    points, cameras = scene(3)
    points[:, 2] = np.nan
    found = noise_of(points, cameras)
    assert found.off == ()
    np.testing.assert_allclose(found.px, 2.0, rtol=0.2)
