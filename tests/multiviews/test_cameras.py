from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from lib.multiviews import cameras as cameras_module
from lib.multiviews.cameras import (
    MIN_DEPTH_MM,
    Cameras,
    camera_to_world,
    distort,
    lens_reach,
    project,
    undistort,
    visible_to,
    world_to_camera,
)
from lib.utils.errors import InputError


def make_record(rng: np.random.Generator) -> dict:
    """Camera record as in Human3.6M, 5 m from the origin."""
    rotation = cv2.Rodrigues(rng.normal(0, 1.5, 3))[0]
    return {
        "R": rotation,
        "T": (-rotation.T @ [[100.0], [-200], [5000]]) + rng.normal(0, 200, (3, 1)),
        "fx": np.array([1145.05]),
        "fy": np.array([1143.78]),
        "cx": np.array([512.54]),
        "cy": np.array([515.45]),
        "k": np.array([[-0.20709], [0.24777], [-0.00307]]),
        "p": np.array([[-0.00097], [-0.00142]]),
    }


def opencv_model(record: dict) -> tuple[np.ndarray, np.ndarray]:
    matrix = np.array([[record["fx"][0], 0, record["cx"][0]], [0, record["fy"][0], record["cy"][0]], [0, 0, 1]])
    k, p = record["k"].ravel(), record["p"].ravel()
    return matrix, np.array([k[0], k[1], p[0], p[1], k[2]])


@pytest.fixture
def records():
    rng = np.random.default_rng(3)
    return [make_record(rng) for _ in range(4)]


@pytest.fixture
def points_world():
    return np.random.default_rng(4).uniform(-900, 900, (30, 3))


def test_project_equals_opencv(records, points_world):
    pixels, depth = project(points_world, Cameras.from_records(records))
    assert pixels.shape == (4, 30, 2)
    for view, record in enumerate(records):
        matrix, distortion = opencv_model(record)
        shift = -record["R"] @ record["T"]
        expected = cv2.projectPoints(points_world, cv2.Rodrigues(record["R"])[0], shift, matrix, distortion)[0][:, 0]
        np.testing.assert_allclose(pixels[view], expected, atol=1e-6)
        np.testing.assert_allclose(depth[view], (points_world @ record["R"].T + shift.T)[:, 2])


def test_project_by_hand():
    # 100 mm right of and 50 mm below a camera 1000 mm behind the origin that looks along z
    record = {"R": np.eye(3), "T": [0, 0, -1000], "fx": 1000, "fy": 500, "cx": 320, "cy": 240}
    record |= {"k": [1, 0, 0], "p": [0, 0]}
    pixels, depth = project(np.array([[100.0, 50, 0]]), Cameras.from_records([record])[0])
    r2 = 0.1**2 + 0.05**2
    np.testing.assert_allclose(pixels, [[320 + 100 * (1 + r2), 240 + 25 * (1 + r2)]])
    assert depth.tolist() == [1000.0]


def test_project_broadcasts_frames_and_views(records, points_world):
    cameras = Cameras.from_records(records)
    both = cameras.map(lambda array: np.stack([array, array[::-1]]))  # (F, V)
    poses = points_world.reshape(2, 15, 3)
    pixels, depth = project(poses[:, None], both)
    assert pixels.shape == (2, 4, 15, 2)
    assert depth.shape == (2, 4, 15)
    np.testing.assert_allclose(pixels[1, 0], project(poses[1], cameras[3])[0])


def test_project_torch_equals_numpy(records, points_world):
    cameras = Cameras.from_records(records)
    tensors = cameras.map(torch.as_tensor)
    pixels, depth = project(torch.as_tensor(points_world), tensors)
    assert isinstance(pixels, torch.Tensor)
    np.testing.assert_allclose(pixels, project(points_world, cameras)[0], atol=1e-9)
    np.testing.assert_allclose(depth, project(points_world, cameras)[1], atol=1e-9)
    np.testing.assert_allclose(undistort(pixels, tensors), undistort(pixels.numpy(), cameras), atol=1e-12)
    np.testing.assert_allclose(
        camera_to_world(torch.as_tensor(points_world), tensors), camera_to_world(points_world, cameras), atol=1e-9
    )


def test_camera_to_world_inverts_world_to_camera(records, points_world):
    cameras = Cameras.from_records(records)
    np.testing.assert_allclose(
        camera_to_world(world_to_camera(points_world, cameras), cameras),
        np.broadcast_to(points_world, (4, 30, 3)),
        atol=1e-9,
    )
    np.testing.assert_allclose(world_to_camera(cameras.T[:, None], cameras), 0, atol=1e-9)  # T is the camera center


def test_undistort_equals_opencv_and_inverts_distort(records):
    pixels = np.random.default_rng(5).uniform(0, 1000, (4, 50, 2))  # the whole image
    ours = undistort(pixels, Cameras.from_records(records))
    for view, record in enumerate(records):
        theirs = cv2.undistortPoints(pixels[view][:, None], *opencv_model(record))[:, 0]
        np.testing.assert_allclose(ours[view], theirs, atol=2e-4)  # OpenCV stops after 5 steps
        rays = np.c_[ours[view], np.ones(50)]
        again = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), *opencv_model(record))[0][:, 0]
        np.testing.assert_allclose(again, pixels[view], atol=1e-6)


def test_project_behind_camera_is_finite(records):
    cameras = Cameras.from_records(records)
    behind = camera_to_world(np.array([[[10.0, 20, -500], [0, 0, 0], [0, 0, 500]]]), cameras)
    pixels, depth = project(behind, cameras)
    assert np.isfinite(pixels).all()
    assert ((depth < MIN_DEPTH_MM) == [True, True, False]).all()


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        ((0, 0, 0), np.tan(np.deg2rad(85)) ** 2),  # no lens: the widest angle there is
        ((-1, 0, 0), 1 / 3),  # x - x^3 turns at x^2 = 1/3
        ((0, -1, 0), 0.2**0.5),  # x - x^5 at x^4 = 1/5
        ((-0.5, 0.1, 0), 1.0),  # 1 - 1.5 s + 0.5 s^2 is 0 at s = 1, and rises again from s = 2 on
    ],
)
def test_lens_reach_ends_at_turning_point(k, expected):
    camera = Cameras(np.eye(3), np.zeros(3), np.ones(2), np.zeros(2), np.array(k, float), np.zeros(2))
    angle = np.rad2deg(np.arctan(lens_reach(camera) ** 0.5))
    limit = np.rad2deg(np.arctan(expected**0.5))
    assert limit - 1 <= angle <= limit + 1e-9  # steps of one degree


def test_lens_reach_shape(records):
    cameras = Cameras.from_records(records)
    both = cameras.map(lambda array: np.stack([array, array]))
    assert lens_reach(both).shape == (2, 4)
    assert (lens_reach(both) > 4).all()  # far beyond the field of view of Human3.6M's cameras
    np.testing.assert_allclose(lens_reach(both.map(torch.as_tensor)), lens_reach(both))


def test_cameras_indexing(records):
    cameras = Cameras.from_records(records)
    assert len(cameras) == 4
    assert cameras[[2, 0]].T.tolist() == [records[2]["T"].ravel().tolist(), records[0]["T"].ravel().tolist()]
    np.testing.assert_array_equal(cameras[1].R, records[1]["R"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("R", np.eye(2)),
        ("T", [0, 0]),
        ("fx", "wide"),
        ("k", [[0.1], [0.2]]),
        ("p", [np.nan, 0]),
        ("cx", None),
        ("cy", []),
    ],
)
def test_from_records_wrong_entry(records, key, value):
    records[2][key] = value
    with pytest.raises(InputError, match=f"camera: entry '{key}'"):
        Cameras.from_records(records)


def test_from_records_missing_entry(records):
    del records[1]["p"]
    with pytest.raises(InputError, match="camera: entry 'p' is missing"):
        Cameras.from_records(records)


def folding_camera():
    """Barrel distortion that turns back at x/z = 1.05: farther points project into the image again."""
    record = {
        "R": np.eye(3),
        "T": np.zeros(3),
        "fx": 1000.0,
        "fy": 1000.0,
        "cx": 500.0,
        "cy": 500.0,
        "k": [-0.3, 0, 0],
        "p": [0, 0],
    }
    return Cameras.from_records([record])[0]


def test_visible_to_beyond_lens_reach():
    camera = folding_camera()
    points = np.array([[0.5, 0, 1], [1.0, 0, 1], [1.1, 0, 1], [1.5, 0, 1], [0, 0, -1], [0, 0, np.nan]]) * 1000
    assert project(points[3:4], camera)[0][0, 0] < 1100  # although inside the image
    np.testing.assert_array_equal(visible_to(points, camera), [True, True, False, False, False, False])


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.filterwarnings("error")
def test_undistort_pixel_without_ray_is_nan(library):
    camera = folding_camera()
    radius = np.array([0.3, 0.6, 0.72, 0.76, 3.0, 1e9, np.nan])
    pixels = np.stack([500 + 1000 * radius, np.full(7, 500.0)], 1)
    if library == "torch":
        camera = camera.map(torch.as_tensor)
        pixels = torch.as_tensor(pixels)
    plane = undistort(pixels, camera)
    np.testing.assert_array_equal(np.isfinite(np.asarray(plane)).all(1), [True] * 2 + [False] * 5)
    back = distort(plane[:2], camera) * 1000 + 500
    np.testing.assert_allclose(np.asarray(back), np.asarray(pixels)[:2], atol=1e-6)


@pytest.mark.parametrize(
    "k",
    [
        (-0.28, 0.08, -0.01),  # an action camera, 94 degrees: turns back inside the image
        (-0.4, 0.15, 0.0),  # fx 0.57 times the width, to the corners
        (0.6, 0.2, 0.1),  # steeper than 2 at the border: fixed-point iteration runs away
        (1.0, -0.5, 0.0),  # steep in the middle, flat at the end: plain Newton steps jump over the axis
        (-0.638, 0.0, 0.253),  # nearly flat half-way
    ],
)
def test_undistort_finds_every_ray(k):
    camera = Cameras(np.eye(3), np.zeros(3), np.full(2, 900.0), np.array([960.0, 540.0]), np.array(k), np.zeros(2))
    matrix = np.array([[900.0, 0, 960], [0, 900, 540], [0, 0, 1]])
    distortion = np.array([*k[:2], 0, 0, k[2]])
    limit = np.sqrt(lens_reach(camera))
    radius, angle = np.meshgrid(np.linspace(0, min(0.99 * limit, 1.8), 60), np.linspace(0, 6, 20))
    rays = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.ones_like(radius)], -1).reshape(-1, 3)
    pixels = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), matrix, distortion)[0][:, 0]
    np.testing.assert_allclose(undistort(pixels, camera), rays[:, :2], atol=1e-6)
    short = undistort(torch.as_tensor(pixels).float(), camera.map(torch.as_tensor).map(torch.Tensor.float))
    again = cv2.projectPoints(np.c_[short.double().numpy(), np.ones(len(rays))], *[np.zeros(3)] * 2, matrix, distortion)
    np.testing.assert_allclose(again[0][:, 0], pixels, rtol=1e-5, atol=0.01)
    # beyond the longest radius nothing is made up
    rim = 900 * limit * (1 + k[0] * limit**2 + k[1] * limit**4 + k[2] * limit**6)
    assert np.isnan(undistort(np.array([[960 + 1.01 * rim, 540], [960, 540 - 1.5 * rim]]), camera)).all()


def test_undistort_is_the_same_with_the_number_of_steps_on_a_gpu(monkeypatch):
    """A point that has converged stays where it is, whatever the other points need."""
    camera = Cameras.from_records([make_record(np.random.default_rng(0))])[0]
    pixels = np.stack(np.meshgrid(*[np.linspace(0, 1000, 21)] * 2), -1).reshape(-1, 2)
    expected = undistort(pixels, camera)
    one_by_one = np.concatenate([undistort(pixel[None], camera) for pixel in pixels])
    np.testing.assert_array_equal(one_by_one, expected)
    steps = cameras_module.UndistortSettings().device_steps
    monkeypatch.setattr(cameras_module, "_SETTINGS", replace(cameras_module.UndistortSettings(), max_steps=steps))
    np.testing.assert_array_equal(undistort(pixels, camera), expected)


def test_undistort_equals_opencv_where_it_converges():
    k = np.array([-0.28, 0.08, -0.01])
    size = 64
    p = np.array([-0.001, 0.002])
    camera = Cameras(np.eye(3), np.zeros(3), np.full(2, 900.0), np.array([960.0, 540.0]), k, p)
    matrix = np.array([[900.0, 0, 960], [0, 900, 540], [0, 0, 1]])
    distortion = np.array([*k[:2], *p, k[2]])
    pixels = np.stack(np.meshgrid(np.linspace(1200, 2100, size), np.linspace(0, 900, size)), -1).reshape(-1, 2)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 300, 1e-12)
    theirs = cv2.undistortPoints(pixels[:, None], matrix, distortion, None, None, None, stop)[:, 0]
    again = cv2.projectPoints(np.c_[theirs, np.ones(len(theirs))], *[np.zeros(3)] * 2, matrix, distortion)[0][:, 0]
    found = (np.abs(again - pixels).max(1) < 1e-6) & ((theirs**2).sum(1) < 0.98 * lens_reach(camera))
    assert 0.6 < found.mean() < 0.9  # the rest has no ray
    np.testing.assert_allclose(undistort(pixels, camera)[found], theirs[found], atol=1e-8)
