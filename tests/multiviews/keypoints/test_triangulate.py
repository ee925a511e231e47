"""Triangulation against noise-free points and OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from cvf_tests.scenes import make_scene

from lib.multiviews.cameras import Cameras, project
from lib.multiviews.keypoints.triangulate import triangulate
from lib.utils.errors import InputError


def views_of(num_views, seed=0):
    scene = make_scene(3, num_views, seed=seed)
    points_img, _ = project(scene.pose_world[:, None], scene.cameras)
    return scene, points_img


@pytest.mark.parametrize("num_views", [2, 3, 4, 7])
def test_triangulate_without_noise(num_views):
    scene, points_img = views_of(num_views)
    np.testing.assert_allclose(triangulate(points_img, scene.cameras), scene.pose_world, atol=1e-5)


def test_triangulate_far_origin_and_other_units():
    scene, points_img = views_of(4)
    far = np.array([4.0e6, -7.0e6, 1.0e5])
    cameras = Cameras(
        scene.cameras.R, scene.cameras.T + far, *(getattr(scene.cameras, name) for name in ("f", "c", "k", "p"))
    )
    np.testing.assert_allclose(triangulate(points_img, cameras), scene.pose_world + far, atol=1e-3)
    meters = Cameras(
        scene.cameras.R, scene.cameras.T / 1000, *(getattr(scene.cameras, name) for name in ("f", "c", "k", "p"))
    )
    np.testing.assert_allclose(triangulate(points_img, meters), scene.pose_world / 1000, atol=1e-8)


def test_triangulate_two_views_equal_opencv():
    scene, points_img = views_of(2)
    noisy = points_img + np.random.default_rng(0).normal(0, 0.5, points_img.shape)
    ours = triangulate(noisy, scene.cameras)
    for frame in range(3):
        normalized, matrices = [], []
        for view in range(2):
            camera = scene.cameras[frame, view]
            intrinsics = np.array([[camera.f[0], 0, camera.c[0]], [0, camera.f[1], camera.c[1]], [0, 0, 1]])
            coefficients = np.array([camera.k[0], camera.k[1], *camera.p, camera.k[2]])
            normalized.append(cv2.undistortPoints(noisy[frame, view][:, None], intrinsics, coefficients)[:, 0].T)
            # in meters: OpenCV does not scale the homogeneous solution
            matrices.append(np.hstack([camera.R, -camera.R @ camera.T[:, None] / 1000]))
        theirs = cv2.triangulatePoints(*matrices, *normalized)
        np.testing.assert_allclose(ours[frame], (theirs[:3] / theirs[3]).T * 1000, atol=1.0)
        assert np.linalg.norm(ours[frame] - scene.pose_world[frame], axis=-1).mean() < 10


def test_triangulate_missing_views():
    scene, points_img = views_of(4)
    points_img[0, 1, 5] = np.nan
    points_img[1, 2, 3] += 300.0  # wrong, but without weight
    points_img[0, 3, 2] = 1e30  # no ray passes the lens there
    points_img[2, :3, 7] = np.nan  # one view left
    weights = np.ones(points_img.shape[:3])
    weights[1, 2, 3] = 0
    weights[0, :, 9] = [0.5, np.nan, -0.2, 0.1]
    weights[2, :, 11] = 0
    pose = triangulate(points_img, scene.cameras, weights)
    lost = np.zeros((3, 17), bool)
    lost[2, [7, 11]] = True
    assert np.isnan(pose[lost]).all()
    np.testing.assert_allclose(pose[~lost], scene.pose_world[~lost], atol=1e-5)


def test_triangulate_weights():
    scene, points_img = views_of(4)
    points_img[:, 0] += [15.0, -10.0]
    weights = np.ones(points_img.shape[:3])
    error = []
    for weight in (1.0, 0.1, 0.01):
        weights[:, 0] = weight
        error.append(np.linalg.norm(triangulate(points_img, scene.cameras, weights) - scene.pose_world, axis=-1).mean())
    assert error[0] > 5 * error[1] > 25 * error[2]
    # only the ratio of the weights matters
    np.testing.assert_allclose(
        triangulate(points_img, scene.cameras, weights * 1e-200), triangulate(points_img, scene.cameras, weights)
    )


def test_triangulate_identical_cameras():
    scene, points_img = views_of(2)
    twice = scene.cameras.map(lambda array: np.repeat(array[:, :1], 2, 1))
    assert np.isnan(triangulate(np.repeat(points_img[:, :1], 2, 1), twice)).all()


def test_triangulate_wrong_shapes():
    scene, points_img = views_of(2)
    with pytest.raises(InputError, match="2 views"):
        triangulate(points_img[:, :1], scene.cameras[:, :1])
    with pytest.raises(InputError, match="weights"):
        triangulate(points_img, scene.cameras, np.ones((3, 2, 16)))
