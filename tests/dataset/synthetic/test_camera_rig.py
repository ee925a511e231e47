"""Rigs are like Human3.6M's, and the ray of every pixel goes through that pixel (OpenCV)."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lib.dataset.synthetic.camera_rig import look_at, make_rig, pixel_rays
from lib.multiviews.cameras import Cameras


@pytest.mark.parametrize("num_views", [2, 3, 4, 5])
def test_make_rig_surrounds_the_room_and_sees_its_center(num_views):
    for subject in (1, 9):
        records = make_rig(subject, num_views, 1000, seed=0)
        assert len(records) == num_views
        for camera in records:
            np.testing.assert_allclose(camera["R"] @ camera["R"].T, np.eye(3), atol=1e-12)
            assert np.linalg.det(camera["R"]) > 0
            center = camera["T"].ravel()
            assert 4500 < np.hypot(*center[:2]) < 5700
            assert 1300 < center[2] < 1750
            assert 1130 < camera["fx"][0] < 1160
            middle = camera["R"] @ (np.array([0, 0, 900.0]) - center)
            assert np.abs(middle[:2] / middle[2]).max() < 0.06
            assert camera["R"][1, 2] < -0.9  # image y points down in the room
            assert {key: np.shape(value) for key, value in camera.items()} == {
                "R": (3, 3),
                "T": (3, 1),
                "fx": (1,),
                "fy": (1,),
                "cx": (1,),
                "cy": (1,),
                "k": (3, 1),
                "p": (2, 1),
            }


def test_make_rig_subjects_have_nearly_equal_rigs():
    first, second = (make_rig(subject, 4, 1000, seed=0) for subject in (1, 9))
    for a, b in zip(first, second, strict=True):
        assert 1 < np.linalg.norm(a["T"] - b["T"]) < 300
        turn = np.degrees(np.arccos((np.trace(a["R"].T @ b["R"]) - 1) / 2))
        assert 0.01 < turn < 5


def test_make_rig_other_rigs_are_less_regular_and_see_the_center():
    rigs = [make_rig(9, 4, 1000, seed=0, rig=rig) for rig in (0, 1, 2)]
    for records in rigs[1:]:
        centers = np.array([camera["T"].ravel() for camera in records])
        for camera, center in zip(records, centers, strict=True):
            middle = camera["R"] @ (np.array([0, 0, 900.0]) - center)
            assert np.abs(middle[:2] / middle[2]).max() < 0.08
            assert 4200 < np.hypot(*center[:2]) < 5500
            assert 900 < center[2] < 2700
        angles = np.unwrap(np.arctan2(centers[:, 1], centers[:, 0]))
        assert np.diff(angles).min() > np.deg2rad(25)
        assert np.ptp(np.diff(angles)) > np.deg2rad(10)  # uneven
        assert min(np.linalg.norm(a - b["T"].ravel()) for a in centers for b in rigs[0]) > 150
    assert not np.allclose(rigs[1][0]["T"], rigs[2][0]["T"], atol=100)


def test_look_at_without_roll_keeps_the_horizon():
    rotation = look_at(np.array([3000.0, 0, 1500]), np.array([0, 0, 1500.0]))
    np.testing.assert_allclose(rotation, [[0, 1, 0], [0, 0, -1], [-1, 0, 0]], atol=1e-12)


@pytest.mark.parametrize("size", [(1000, 1000), (317, 201)])
def test_pixel_rays_project_back_onto_their_pixels(size):
    record = make_rig(5, 4, max(size), seed=1)[2]
    rays = pixel_rays(Cameras.from_records([record])[0], size)
    assert rays.shape == (3, size[1], size[0])
    np.testing.assert_allclose(np.linalg.norm(rays, axis=0), 1, atol=1e-6)
    pixels = np.random.default_rng(0).integers(0, size, (500, 2))
    pixels = np.concatenate([pixels, [[0, 0], [size[0] - 1, size[1] - 1]]])
    matrix = np.array([[record["fx"][0], 0, record["cx"][0]], [0, record["fy"][0], record["cy"][0]], [0, 0, 1]])
    (k1, k2, k3), (p1, p2) = record["k"].ravel(), record["p"].ravel()
    points = rays[:, pixels[:, 1], pixels[:, 0]].T.astype(float)
    seen = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, np.array([k1, k2, p1, p2, k3]))[0][:, 0]
    assert np.abs(seen - pixels).max() < 0.02
