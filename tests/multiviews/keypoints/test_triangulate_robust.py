"""Robust triangulation: exact points, OpenCV, outliers made by hand, and all that cannot be decided."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from cvf_tests.scenes import make_scene

from lib.multiviews.cameras import Cameras, project
from lib.multiviews.keypoints.triangulate import triangulate
from lib.multiviews.keypoints.triangulate_robust import triangulate_robust
from lib.utils.errors import InputError

TOLERANCE = 15.0  # image px


def one_peak_each(num_views=4, num_frames=3, noise=0.0, seed=0):
    """Scene, peaks (F, V, 17, 1, 2) at the joints, values 1."""
    scene = make_scene(num_frames, num_views, seed=seed)
    peaks, _ = project(scene.pose_world[:, None], scene.cameras)
    peaks = peaks + np.random.default_rng(seed).normal(0, noise, peaks.shape) if noise else peaks
    return scene, peaks[:, :, :, None], np.ones((*peaks.shape[:3], 1))


def solve(scene, peaks, values, tolerance=TOLERANCE):
    return triangulate_robust(peaks, values, scene.cameras, np.full(peaks.shape[:2], tolerance))


def with_second_peaks(peaks, values, offset, value):
    """Add a peak of the given value at an offset (2) px to every map."""
    return np.concatenate([peaks, peaks + offset], 3), np.concatenate([values, np.full_like(values, value)], 3)


@pytest.mark.parametrize("num_views", [2, 3, 4, 8])
def test_triangulate_robust_without_noise(num_views):
    scene, peaks, values = one_peak_each(num_views)
    np.testing.assert_allclose(solve(scene, peaks, values), scene.pose_world, atol=1e-6)


def test_triangulate_robust_equals_opencv_and_scipy():
    scene, peaks, values = one_peak_each(2, noise=1.0)
    normalized, matrices = [], []
    for view in range(2):
        camera = scene.cameras[0, view]
        intrinsics = np.array([[camera.f[0], 0, camera.c[0]], [0, camera.f[1], camera.c[1]], [0, 0, 1]])
        coefficients = np.array([camera.k[0], camera.k[1], *camera.p, camera.k[2]])
        normalized.append(cv2.undistortPoints(peaks[0, view], intrinsics, coefficients)[:, 0].T)
        matrices.append(np.hstack([camera.R, -camera.R @ camera.T[:, None] / 1000]))
    theirs = cv2.triangulatePoints(*matrices, *normalized)
    np.testing.assert_allclose(solve(scene, peaks, values)[0], (theirs[:3] / theirs[3]).T * 1000, atol=1.0)

    optimize = pytest.importorskip("scipy.optimize")
    scene, peaks, values = one_peak_each(5, noise=1.0)
    values[...] = np.random.default_rng(1).uniform(0.3, 1, values.shape)
    ours = solve(scene, peaks, values)

    def residuals(point, joint):  # on the undistorted planes, in px
        found = []
        for view in range(5):
            camera = scene.cameras[0, view]
            intrinsics = np.array([[camera.f[0], 0, camera.c[0]], [0, camera.f[1], camera.c[1]], [0, 0, 1]])
            coefficients = np.array([camera.k[0], camera.k[1], *camera.p, camera.k[2]])
            seen = cv2.undistortPoints(peaks[0, view, joint], intrinsics, coefficients)[0, 0]
            x, y, z = camera.R @ (point - camera.T)
            found.append((np.array([x / z, y / z]) - seen) * camera.f * np.sqrt(values[0, view, joint, 0]))
        return np.concatenate(found)

    for joint in (0, 7, 16):
        best = optimize.least_squares(residuals, scene.pose_world[0, joint], args=(joint,), xtol=1e-14).x
        np.testing.assert_allclose(ours[0, joint], best, atol=1e-3)


def test_triangulate_robust_one_outlier_of_four():
    scene, peaks, values = one_peak_each(4)
    wrong, high = peaks.copy(), values.copy()
    wrong[:, 2] += [80.0, -45.0]
    high[:, 2] = 3.0  # and surer than the others
    np.testing.assert_allclose(solve(scene, wrong, high), scene.pose_world, atol=1e-6)
    plain = triangulate(wrong[:, :, :, 0], scene.cameras, high[..., 0])
    assert np.linalg.norm(plain - scene.pose_world, axis=-1).min() > 50


def test_triangulate_robust_outlier_has_no_influence():
    scene, peaks, values = one_peak_each(4, noise=2.0)
    without = peaks.copy()
    without[:, 1] = np.nan
    peaks[:, 1] += [70.0, 60.0]
    np.testing.assert_allclose(solve(scene, peaks, values), solve(scene, without, values), atol=1e-6)


def test_triangulate_robust_two_outliers_of_five():
    scene, peaks, values = one_peak_each(5)
    peaks[:, 0] += [60.0, 50.0]
    peaks[:, 3] += [-70.0, 10.0]
    np.testing.assert_allclose(solve(scene, peaks, values), scene.pose_world, atol=1e-6)


def test_triangulate_robust_second_peaks():
    """The right peak is the lower one of two in three views; the higher ones lead nowhere."""
    scene, peaks, values = one_peak_each(4)
    offsets = np.array([[90.0, 30.0], [0.0, 0.0], [-50.0, 80.0], [20.0, -95.0]])[:, None, None]
    wrong = peaks + offsets
    both = np.concatenate([wrong, peaks], 3)
    heights = np.concatenate([values, 0.8 * values], 3)
    np.testing.assert_allclose(solve(scene, both, heights), scene.pose_world, atol=1e-6)
    first_only = solve(scene, wrong, values)
    assert not np.isclose(first_only, scene.pose_world, atol=1.0).all(-1).any()


def test_triangulate_robust_higher_of_two_consistent_points():
    scene, peaks, values = one_peak_each(3)
    other = scene.pose_world + [250.0, -150.0, 100.0]
    peaks = np.concatenate([peaks, project(other[:, None], scene.cameras)[0][:, :, :, None]], 3)
    for heights, expected in (((1.0, 0.8), scene.pose_world), ((0.8, 1.0), other)):
        np.testing.assert_allclose(solve(scene, peaks, values * heights), expected, atol=1e-6)


def test_triangulate_robust_scale_of_values():
    scene, peaks, values = one_peak_each(4, noise=2.0)
    values[:, 0] = 0.3
    np.testing.assert_allclose(solve(scene, peaks, values * 1e-30), solve(scene, peaks, values), atol=1e-6)


def test_triangulate_robust_missing_views():
    scene, peaks, values = one_peak_each(4)
    peaks[0, 1, 5] = np.nan
    peaks[0, 3, 2] = 1e30  # no ray passes the lens there
    values[1, 2, 3] = 0
    peaks[2, :3, 7] = np.nan  # one view left
    values[2, :, 11] = -1
    pose = solve(scene, peaks, values)
    lost = np.zeros((3, 17), bool)
    lost[2, [7, 11]] = True
    assert np.isnan(pose[lost]).all()
    np.testing.assert_allclose(pose[~lost], scene.pose_world[~lost], atol=1e-6)


def test_triangulate_robust_without_agreement():
    scene, peaks, values = one_peak_each(3)
    peaks[:, 0] += [0.0, 150.0]
    peaks[:, 1] += [0.0, -150.0]
    peaks[:, 2] += [10.0, 0.0]  # heights that no two cameras at one height can share
    assert np.isnan(solve(scene, peaks, values)).all()
    assert np.isfinite(solve(scene, peaks, values, 400.0)).all()


def test_triangulate_robust_tolerance():
    scene, peaks, values = one_peak_each(5)
    shifted = peaks.copy()
    shifted[:, 0, :, 0, 1] += 10.0
    exact = solve(scene, shifted, values, 5.0)
    np.testing.assert_allclose(exact, scene.pose_world, atol=1e-6)
    drawn = np.linalg.norm(solve(scene, shifted, values, 30.0) - scene.pose_world, axis=-1)
    assert drawn.min() > 1
    mixed = np.full(peaks.shape[:2], 5.0)
    mixed[1] = 30.0  # per frame and view
    both = triangulate_robust(shifted, values, scene.cameras, mixed)
    np.testing.assert_allclose(both[[0, 2]], exact[[0, 2]], atol=1e-6)
    assert np.linalg.norm(both[1] - scene.pose_world[1], axis=-1).min() > 1


def test_triangulate_robust_behind_cameras():
    scene, peaks, values = one_peak_each(2)
    away = scene.cameras.R * np.array([-1.0, 1.0, -1.0])[:, None]  # both turned round: the rays meet behind them
    cameras = Cameras(away, *(getattr(scene.cameras, name) for name in ("T", "f", "c", "k", "p")))
    mirrored = 2 * scene.cameras.c[:, :, None, None] - peaks
    assert np.isnan(triangulate_robust(mirrored, values, cameras, np.full((3, 2), 200.0))).all()


def test_triangulate_robust_identical_cameras():
    scene, peaks, values = one_peak_each(2)
    twice = scene.cameras.map(lambda array: np.repeat(array[:, :1], 2, 1))
    doubled = np.repeat(peaks[:, :1], 2, 1)
    assert np.isnan(triangulate_robust(doubled, values, twice, np.full((3, 2), TOLERANCE))).all()


def test_triangulate_robust_independent_of_blocks(monkeypatch):
    scene, peaks, values = one_peak_each(4, num_frames=7, noise=3.0)
    peaks, values = with_second_peaks(peaks, values, [40.0, 20.0], 0.9)
    whole = solve(scene, peaks, values)
    monkeypatch.setattr("lib.multiviews.keypoints.triangulate_robust._BLOCK_TESTS", 1)
    np.testing.assert_allclose(solve(scene, peaks, values), whole, atol=1e-9)


def test_triangulate_robust_wrong_arguments():
    scene, peaks, values = one_peak_each(2)
    tolerance = np.full((3, 2), TOLERANCE)
    with pytest.raises(InputError, match="2 views"):
        triangulate_robust(peaks[:, :1], values[:, :1], scene.cameras[:, :1], tolerance[:, :1])
    with pytest.raises(InputError, match="values"):
        triangulate_robust(peaks, values[..., 0], scene.cameras, tolerance)
    with pytest.raises(InputError, match="tolerance_img"):
        triangulate_robust(peaks, values, scene.cameras, tolerance[0])
    with pytest.raises(InputError, match="above 0"):
        triangulate_robust(peaks, values, scene.cameras, 0 * tolerance)
