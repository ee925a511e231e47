from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.walk import film, walking

from lib.multiviews.keypoints.view_consensus import consistent_points, reprojection_error
from lib.utils.errors import InputError


def setup(num_frames=3, num_views=4, noise_px=0.0):
    rng = np.random.default_rng(1)
    pose = walking(num_frames, rng)
    points, cameras = film(pose, num_views, rng, noise_px)
    return pose, points[..., :2], cameras, np.full((num_frames, num_views), 400.0)


def test_consistent_points_outlier_view():
    pose, points, cameras, side = setup()
    points[1, 2, 5] += [60, -40]
    points[2, 0, 7] = np.nan
    found = consistent_points(points, cameras, side, 0.03, 3)
    np.testing.assert_allclose(found.points_world, pose, atol=0.01)
    expected = np.ones(points.shape[:3], bool)
    expected[1, 2, 5] = expected[2, 0, 7] = False
    np.testing.assert_array_equal(found.agrees, expected)
    assert found.error[1, 2, 5] * 400 == pytest.approx(np.hypot(60, 40), rel=0.01)
    assert np.isnan(found.error[2, 0, 7])


def test_consistent_points_too_few_views():
    _, points, cameras, side = setup()
    points[0, 2, 5] += [60, -40]
    points[0, 3, 5] += [-50, 60]
    found = consistent_points(points, cameras, side, 0.03, 3)
    assert np.isnan(found.points_world[0, 5]).all()
    assert not found.agrees[0, :, 5].any()
    assert consistent_points(points, cameras, side, 0.03, 2).agrees[0, :2, 5].all()


def test_consistent_points_larger_set_wins():
    """Three views with some px of noise against two that fit exactly."""
    pose, points, cameras, side = setup(1, 5)
    rng = np.random.default_rng(2)
    points[:, :3] += rng.normal(0, 1.5, points[:, :3].shape)
    points[:, 3:] += np.array([90.0, 0.0])  # fits nothing
    found = consistent_points(points, cameras, side, 0.03, 2)
    assert (found.agrees.sum(1) >= 3).mean() > 0.9
    assert found.agrees[:, :3].mean() > 0.9
    assert np.median(np.linalg.norm(found.points_world - pose, axis=-1)) < 25


def test_consistent_points_many_cameras():
    pose, points, cameras, side = setup(2, 8)
    points[:, [1, 6]] += 70
    found = consistent_points(points, cameras, side)
    np.testing.assert_allclose(found.points_world, pose, atol=0.01)
    assert found.agrees.any((0, 2)).tolist() == [True, False, True, True, True, True, False, True]


def test_reprojection_error_behind_camera():
    _, points, cameras, side = setup(1)
    behind = np.repeat(cameras.T[:, :1] - cameras.R[:, 0, 2] * 500, 17, 1)
    assert np.isinf(reprojection_error(behind, points, cameras, side)[:, 0]).all()


@pytest.mark.filterwarnings("error")
def test_consistent_points_invisible_point():
    _, points, cameras, side = setup(1)
    points[:] = np.random.default_rng(0).uniform(0, 1000, points.shape)  # points behind cameras and beyond lenses
    assert not consistent_points(points, cameras, side, 1e-4, 2).agrees.any()
    points[0, 2:] = setup(1)[1][0, 2:]
    assert consistent_points(points, cameras, side, 0.03, 2).agrees[0, 2:].all()


@pytest.mark.parametrize("min_views", [1, 5])
def test_consistent_points_impossible_min_views(min_views):
    _, points, cameras, side = setup(1)
    with pytest.raises(InputError, match=f"received {min_views}"):
        consistent_points(points, cameras, side, 0.03, min_views)
