from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lib.utils.drawing.orbit_camera import FLOOR_COLOR, GT_COLOR, OrbitCamera, render_pose
from lib.utils.drawing.vis import PAPER, SIDE_COLORS, Skeleton

SIDE = 201  # the middle is pixel 100
CAMERA = OrbitCamera(np.array([0, 0, 1000.0]), 1000.0, -5000.0)  # the floor is below the picture
BONE = Skeleton(("a", "b"), ((0, 1),), ("left", "left"))
CROSS = Skeleton(("a", "b", "c", "d"), ((0, 1), (2, 3)), ("left", "left", "right", "right"))


def where(picture: np.ndarray, color: tuple[int, ...]) -> np.ndarray:
    """(x, y) of the pixels of a colour, or nearly so where a thin line is smoothed."""
    return np.argwhere((np.abs(picture.astype(int) - color) < 40).all(-1))[:, ::-1]


@pytest.mark.parametrize(
    ("azimuth", "direction"), [(0, (0, -1, 0)), (90, (1, 0, 0)), (180, (0, 1, 0)), (270, (-1, 0, 0))]
)
def test_the_camera_looks_along_its_azimuth(azimuth: float, direction: tuple[int, ...]) -> None:
    """A point to the right of someone who looks along x (azimuth 0) is at -y, and so on."""
    bone = np.array([0, 0, 1000.0]) + 500 * np.outer([0.98, 1.0], direction)
    found = where(render_pose(bone, None, BONE, replace(CAMERA, azimuth_deg=azimuth), SIDE), SIDE_COLORS["left"]).mean(
        0
    )
    np.testing.assert_allclose(found, [149.75, 100], atol=1)  # 500 of 1000 mm: half of the way to the edge


def test_higher_is_higher_and_shortened_by_the_elevation() -> None:
    bone = np.array([[0, 0, 1500.0], [0, 0, 1500.0]])
    found = where(render_pose(bone, None, BONE, replace(CAMERA, azimuth_deg=30.0), SIDE), SIDE_COLORS["left"]).mean(0)
    np.testing.assert_allclose(found, [100, 100 - 50.25 * np.cos(np.deg2rad(15))], atol=1)


@pytest.mark.parametrize(("azimuth", "near"), [(0, "left"), (180, "right")])
def test_near_limbs_cover_far_ones(azimuth: float, near: str) -> None:
    low = 300 * np.tan(np.deg2rad(15))  # both cross the middle of the picture in spite of the elevation
    pose = np.array([[-300, -400, 0], [-300, 400, 0], [300, 0, -400], [300, 0, 400.0]]) + [0, 0, 1000]
    pose[:, 2] += [low, low, -low, -low] if azimuth == 0 else [-low, -low, low, low]
    picture = render_pose(pose, None, CROSS, replace(CAMERA, azimuth_deg=azimuth), SIDE)
    assert tuple(picture[100, 100]) == SIDE_COLORS[near]


def test_truth_and_floor_are_drawn() -> None:
    bone = np.array([[0, 0, 600.0], [0, 0, 1400.0]])
    shifted = bone + [0, -400, 0]
    alone = render_pose(bone, None, BONE, replace(CAMERA, azimuth_deg=0), SIDE)
    assert not len(where(alone, GT_COLOR))
    assert (alone[:, :80] == PAPER).all()  # beside the limb: the floor is below the picture
    both = render_pose(bone, shifted, BONE, replace(OrbitCamera(CAMERA.center, 1000.0, 500.0), azimuth_deg=0), SIDE)
    assert abs(where(both, GT_COLOR)[:, 0].mean() - 140.2) < 1
    floor = where(both[:, :80], FLOOR_COLOR)
    assert len(floor) > 200
    assert floor[:, 1].min() > 100  # below the middle


def test_the_floor_stays_in_the_world() -> None:
    def floor(x_mm: float) -> np.ndarray:
        camera = OrbitCamera(np.array([x_mm, 0, 1000.0]), 1000.0, 500.0)
        return render_pose(np.full((2, 3), np.nan), None, BONE, replace(camera, azimuth_deg=40.0), SIDE)

    np.testing.assert_array_equal(floor(0), floor(500))  # lines every 500 mm
    assert (floor(0) != floor(200)).any()


def test_missing_and_distant_joints() -> None:
    pose = np.array([[0, 0, 1000.0], [np.nan, 0, 0]])
    picture = render_pose(pose, pose, BONE, replace(CAMERA, azimuth_deg=0), SIDE)
    assert 0 < len(where(picture, SIDE_COLORS["left"])) < 100  # a dot, no limb
    far = render_pose(np.array([[0, 0, 1e12], [0, 0, 1e15]]), None, BONE, replace(CAMERA, azimuth_deg=0), SIDE)
    assert (far == PAPER).all()


def test_a_camera_holds_all_poses() -> None:
    poses = np.zeros((2, 3, 3))
    poses[0] = [[0, 0, 0], [0, 0, 1800], [800, 0, 900]]
    poses[1] = [[5000, 0, 0], [5000, 0, 1700], [np.nan, 0, 0]]
    camera = OrbitCamera.around(poses)
    assert camera.floor_mm == 0
    assert camera.center[2] == 900
    assert 900 <= camera.half_mm < 1200  # the height, not the way walked
    assert np.isfinite(OrbitCamera.around(np.full((2, 3, 3), np.nan)).center).all()
