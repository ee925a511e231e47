from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from cvf_tests.scenes import make_rig

from lib.multiviews.cameras import Cameras, project, world_to_camera
from lib.multiviews.geometry.epipolar import (
    FARTHEST_MM,
    NEAREST_MM,
    curve_depths,
    cut_curve,
    distance_to_curve,
    epipolar_curve,
)

DEPTHS = np.linspace(3500.0, 7000.0, 41)  # the middle of the room is 5 m away


@pytest.fixture
def cameras() -> Cameras:
    return make_rig(4, np.random.default_rng(3))


@pytest.fixture
def points_world() -> np.ndarray:
    return np.random.default_rng(4).uniform(-700, 700, (20, 3)) + [0, 0, 900]


def front_camera(center: tuple[float, float, float], turn_deg: float = 0.0, k: tuple = (0, 0, 0)) -> Cameras:
    """A camera with 1000 px focal length, axis in the plane y = 0, turned from +z towards +x."""
    rotation = cv2.Rodrigues(np.array([0.0, -np.deg2rad(turn_deg), 0]))[0]
    return Cameras(rotation, np.array(center, float), np.full(2, 1000.0), np.zeros(2), np.array(k, float), np.zeros(2))


def test_epipolar_curve_contains_point_at_its_depth(cameras, points_world):
    pixels, depths = project(points_world, cameras)
    for view in range(4):
        others = cameras[[other for other in range(4) if other != view]]
        curve, valid = epipolar_curve(pixels[view], cameras[view], others, depths[view][:, None])
        assert valid.all()
        np.testing.assert_allclose(curve[:, :, 0], project(points_world, others)[0], atol=1e-5)


def test_epipolar_curve_passes_between_vertices(cameras, points_world):
    pixels, _ = project(points_world, cameras)
    neighbors = [1, 3]  # at right angles to view 0: their lines are far from vertical
    curve, valid = epipolar_curve(pixels[0], cameras[0], cameras[neighbors], DEPTHS)
    gt = pixels[neighbors][..., None, :]  # (2, P, 1, 2)
    assert distance_to_curve(gt, curve, valid).max() < 0.1
    assert distance_to_curve(gt + [0, 30.0], curve, valid).min() > 20


def test_epipolar_curve_equals_opencv(cameras, points_world):
    def model(camera: Cameras) -> tuple[np.ndarray, np.ndarray]:
        matrix = np.array([[camera.f[0], 0, camera.c[0]], [0, camera.f[1], camera.c[1]], [0, 0, 1]])
        return matrix, np.array([*camera.k[:2], *camera.p, camera.k[2]])

    pixels = project(points_world, cameras)[0][2]
    plane = cv2.undistortPoints(pixels[:, None], *model(cameras[2]))[:, 0]
    rays = np.c_[plane, np.ones(20)]
    others = cameras[[0, 1, 3]]
    curve, valid = epipolar_curve(pixels, cameras[2], others, DEPTHS)
    assert curve.shape == (3, 20, 41, 2)
    assert valid.all()
    for n in range(3):
        rotation = others.R[n] @ cameras.R[2].T
        shift = others.R[n] @ (cameras.T[2] - others.T[n])
        points = (rays[:, None] * DEPTHS[:, None]).reshape(-1, 3)
        expected = cv2.projectPoints(points, cv2.Rodrigues(rotation)[0], shift, *model(others[n]))[0][:, 0]
        np.testing.assert_allclose(curve[n].reshape(-1, 2), expected, atol=1e-3)


def test_epipolar_curve_by_hand():
    # the second camera is 1 m to the right: a point at depth z is 1000 px * 1000 mm / z further left there
    curve, valid = epipolar_curve(
        np.array([[50.0, -20]]), front_camera((0, 0, 0)), front_camera((1000, 0, 0)), np.array([1000.0, 2000, 10000])
    )
    np.testing.assert_allclose(curve, [[[-950, -20], [-450, -20], [-50, -20]]], atol=1e-9)
    assert valid.all()


def test_epipolar_curve_all_ordered_pairs(points_world):
    rigs = [make_rig(3, np.random.default_rng(seed)) for seed in (5, 6)]
    both = Cameras(**{name: np.stack([getattr(rig, name) for rig in rigs]) for name in "RTfckp"})  # (F, V)
    pixels, depths = project(points_world[None, None], both)  # (F, V, P, 2)
    own = both[:, :, None]
    other = both[:, None]
    sampled = depths[:, :, None, :, None] + np.array([-300.0, 0, 300])  # (F, V, 1, P, D)
    curve, valid = epipolar_curve(pixels[:, :, None], own, other, sampled)
    assert curve.shape == (2, 3, 3, 20, 3, 2)
    assert valid.shape == (2, 3, 3, 20, 3)
    assert valid.all()
    one, _ = epipolar_curve(pixels[1, 2], rigs[1][2], rigs[1][0], sampled[1, 2, 0])
    np.testing.assert_allclose(curve[1, 2, 0], one, atol=1e-9)
    for view in range(3):  # in its own view a pixel is its own curve, and the middle depth is the point's in all
        np.testing.assert_allclose(curve[:, view, view], pixels[:, view, :, None].repeat(3, 2), atol=1e-5)
        np.testing.assert_allclose(curve[:, view, :, :, 1], pixels, atol=1e-5)


def test_epipolar_curve_torch_equals_numpy(cameras, points_world):
    pixels = project(points_world, cameras)[0][0]
    tensors = cameras.map(torch.as_tensor)
    curve, valid = epipolar_curve(torch.as_tensor(pixels), tensors[0], tensors[1:], torch.as_tensor(DEPTHS))
    expected, expected_valid = epipolar_curve(pixels, cameras[0], cameras[1:], DEPTHS)
    np.testing.assert_allclose(curve, expected, atol=1e-8)
    np.testing.assert_array_equal(valid, expected_valid)


def test_epipolar_curve_behind_camera_is_invalid():
    # the second camera looks back at the first from 4 m: depths beyond that, and negative ones, are behind one of them
    depths = np.array([-100.0, 100, 3900, 4000, 4100])
    _, valid = epipolar_curve(np.array([[5.0, 5]]), front_camera((0, 0, 0)), front_camera((0, 0, 4000), 180), depths)
    assert valid.tolist() == [[False, True, True, False, False]]


def test_epipolar_curve_beyond_lens_reach_is_invalid():
    # x (1 - x^2) rises up to x = 0.577; the second camera, 1 m to the side, sees depth z of the axis at x = -1000 / z
    bent = front_camera((1000, 0, 0), k=(-1, 0, 0))
    depths = np.array([1020.0, 1500, 1850, 9000])
    curve, valid = epipolar_curve(np.zeros((1, 2)), front_camera((0, 0, 0)), bent, depths)
    assert valid.tolist() == [[False, False, True, True]]
    assert abs(curve[0, 0, 0]) < 50  # without the check this would appear in the middle of the image


def test_epipolar_curve_pixel_without_ray():
    points = np.array([[0.0, 0], [600, 0], [np.nan, 0]])  # x (1 - x^2) is below 0.385, so no ray ends at 600 px
    _, valid = epipolar_curve(points, front_camera((0, 0, 0), k=(-1, 0, 0)), front_camera((1000, 0, 0)), DEPTHS)
    assert valid.all(-1).tolist() == [True, False, False]
    assert not valid[1:].any()


def test_curve_depths_dense_around_person():
    depths, near = curve_depths(np.array([5000.0, 800.0]), 2000.0)
    assert (np.diff(depths) > -1e-9).all()
    np.testing.assert_allclose(depths[:, [0, -1]], [[NEAREST_MM, FARTHEST_MM]] * 2)
    np.testing.assert_allclose(depths[0, near][[0, -1]], [3000, 7000])
    np.testing.assert_allclose(depths[1, near][[0, -1]], [NEAREST_MM, 2800])  # not behind the camera
    assert np.diff(depths[0, near]).max() < 60
    assert curve_depths(np.float64(5000), 2000.0)[0].shape == near.shape


def test_cut_curve_keeps_part_inside_map():
    x = np.arange(-40.0, 60)
    straight = np.stack([x, np.full(100, 3.0)], -1)
    curves = np.stack([straight, straight + [0, 50], straight])
    valid = np.ones((3, 100), bool)
    valid[2, 45:] = False  # x up to 4
    cut, kept = cut_curve(curves, valid, (16, 8), margin=2.0, num_points=9)
    assert cut.shape == (3, 9, 2)
    np.testing.assert_allclose(cut[0, [0, -1], 0], [-3, 18])  # one corner more than -2.5 to 17.5 on either side
    assert kept[0].all()
    assert not kept[1].any()
    assert cut[2][kept[2]][:, 0].max() <= 4
    assert cut[2][kept[2]][:, 0].min() == -3


def test_cut_curve_keeps_distances(cameras, points_world):
    pixels = project(points_world[:6], cameras)[0]
    depths, _ = curve_depths(world_to_camera(points_world.mean(0)[None], cameras[0])[0, 2], 2000.0)
    curve, valid = epipolar_curve(pixels[0], cameras[0], cameras[1:], depths)
    curve = (curve - pixels[1:].mean(1)[:, None, None] + 160) / 10  # maps of 32 px around the points
    grid = np.stack(np.meshgrid(np.arange(32.0), np.arange(32.0)), -1).reshape(-1, 2)
    whole = distance_to_curve(grid, curve, valid)
    parts = distance_to_curve(grid, *cut_curve(curve, valid, (32, 32), 2.0))
    close = whole < 2
    assert 0.05 < close.mean() < 0.3
    np.testing.assert_allclose(parts[close], whole[close], atol=0.1)
    assert (parts[~close] > 1.9).all()


def test_distance_to_curve_by_hand():
    corner = np.array([[0.0, 0], [10, 0], [10, 10], [99, 99]])
    valid = np.array([True, True, True, False])
    points = np.array([[5.0, 2], [-3, 4], [12, 5], [10, 10], [13, 14]])
    np.testing.assert_allclose(distance_to_curve(points, corner, valid), [2, 5, 2, 0, 5])
    assert distance_to_curve(points, corner, np.array([True, False, True, False])).tolist() == [np.inf] * 5
    twice = corner[[0, 0, 1, 1]]  # corners may coincide
    np.testing.assert_allclose(distance_to_curve(points[:2], twice, np.ones(4, bool)), [2, 5])
