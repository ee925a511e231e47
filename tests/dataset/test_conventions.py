from __future__ import annotations

import numpy as np
import pytest

from lib.dataset.conventions import ORIGINAL_CONVENTIONS, Conventions, check_rotations
from lib.multiviews.cameras import Cameras, world_to_camera
from lib.utils.errors import InputError


def cameras(R, T) -> Cameras:
    return Cameras(
        R=R, T=T, f=np.ones((len(T), 2)), c=np.zeros((len(T), 2)), k=np.zeros((len(T), 3)), p=np.zeros((len(T), 2))
    )


@pytest.fixture
def rig() -> Cameras:
    rng = np.random.default_rng(0)
    rotations = np.linalg.qr(rng.normal(size=(3, 3, 3)))[0]
    rotations[np.linalg.det(rotations) < 0, 0] *= -1
    return cameras(rotations, rng.normal(0, 4000, (3, 3)))


def test_convert_original_conventions(rig):
    pose = np.ones((2, 17, 3), np.float32)
    same, converted = ORIGINAL_CONVENTIONS.convert(pose, rig)
    assert same is pose
    np.testing.assert_array_equal(converted.T, rig.T)


def test_convert_translation_in_meters(rig):
    point = np.array([[100.0, 200, 300]])
    translation_m = -np.einsum("cij,cj->ci", rig.R, rig.T) / 1000
    pose, converted = Conventions("m", "m", "translation").convert(
        np.float32([[[0.1, 0.2, 0.3]]]), cameras(rig.R, translation_m)
    )
    np.testing.assert_allclose(pose, [[[100, 200, 300]]], rtol=1e-6)
    assert pose.dtype == np.float32
    expected = np.einsum("cij,j->ci", rig.R, point[0]) + 1000 * translation_m
    np.testing.assert_allclose(world_to_camera(point, converted)[:, 0], expected, atol=1e-9)


def test_check_rotations_invalid_matrices(rig):
    check_rotations(rig)
    mirrored = rig.R.copy()
    mirrored[1, 0] *= -1
    with pytest.raises(InputError, match=r"camera 1: R mirrors the world"):
        check_rotations(cameras(mirrored, rig.T))
    scaled = rig.R * np.array([1, 1, 1.1])[:, None, None]
    with pytest.raises(InputError, match=r"camera 2: R is not a rotation"):
        check_rotations(cameras(scaled, rig.T))
    unknown = rig.R.copy()
    unknown[0] = np.nan
    with pytest.raises(InputError, match=r"camera 0: R is not a rotation"):
        check_rotations(cameras(unknown, rig.T))
