from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lib.utils.drawing.orbit_camera import FLOOR_COLOR, GT_COLOR, OrbitCamera, front_azimuth, render_pose, render_sides
from lib.utils.drawing.vis import LABEL_PX, PAPER, SIDE_COLORS, Skeleton

SIDE = 201  # the middle is pixel 100
CAMERA = OrbitCamera(np.array([0, 0, 1000.0]), 1000.0, -5000.0)  # the floor is below the image
BONE = Skeleton(("a", "b"), ((0, 1),), ("left", "left"))
CROSS = Skeleton(("a", "b", "c", "d"), ((0, 1), (2, 3)), ("left", "left", "right", "right"))


def where(image: np.ndarray, color: tuple[int, ...]) -> np.ndarray:
    """(x, y) of the pixels of a color; thin lines are antialiased."""
    return np.argwhere((np.abs(image.astype(int) - color) < 40).all(-1))[:, ::-1]


@pytest.mark.parametrize(
    ("azimuth", "direction"), [(0, (0, -1, 0)), (90, (1, 0, 0)), (180, (0, 1, 0)), (270, (-1, 0, 0))]
)
def test_render_pose_camera_looks_along_its_azimuth(azimuth: float, direction: tuple[int, ...]) -> None:
    """The right of a camera that looks along x (azimuth 0) is -y, and so on."""
    bone = np.array([0, 0, 1000.0]) + 500 * np.outer([0.98, 1.0], direction)
    found = where(render_pose(bone, None, BONE, replace(CAMERA, azimuth_deg=azimuth), SIDE), SIDE_COLORS["left"]).mean(
        0
    )
    np.testing.assert_allclose(found, [149.75, 100], atol=1)  # 500 of 1000 mm: half of the way to the edge


def test_render_pose_height_is_shortened_by_the_elevation() -> None:
    bone = np.array([[0, 0, 1500.0], [0, 0, 1500.0]])
    found = where(render_pose(bone, None, BONE, replace(CAMERA, azimuth_deg=30.0), SIDE), SIDE_COLORS["left"]).mean(0)
    np.testing.assert_allclose(found, [100, 100 - 50.25 * np.cos(np.deg2rad(15))], atol=1)


@pytest.mark.parametrize(("azimuth", "near"), [(0, "left"), (180, "right")])
def test_render_pose_near_limbs_cover_far_ones(azimuth: float, near: str) -> None:
    low = 300 * np.tan(np.deg2rad(15))  # both cross the middle of the image despite the elevation
    pose = np.array([[-300, -400, 0], [-300, 400, 0], [300, 0, -400], [300, 0, 400.0]]) + [0, 0, 1000]
    pose[:, 2] += [low, low, -low, -low] if azimuth == 0 else [-low, -low, low, low]
    image = render_pose(pose, None, CROSS, replace(CAMERA, azimuth_deg=azimuth), SIDE)
    assert tuple(image[100, 100]) == SIDE_COLORS[near]


def test_render_pose_draws_gt_and_floor() -> None:
    bone = np.array([[0, 0, 600.0], [0, 0, 1400.0]])
    shifted = bone + [0, -400, 0]
    alone = render_pose(bone, None, BONE, replace(CAMERA, azimuth_deg=0), SIDE)
    assert not len(where(alone, GT_COLOR))
    assert (alone[:, :80] == PAPER).all()  # next to the limb: the floor is below the image
    both = render_pose(bone, shifted, BONE, replace(OrbitCamera(CAMERA.center, 1000.0, 500.0), azimuth_deg=0), SIDE)
    assert abs(where(both, GT_COLOR)[:, 0].mean() - 140.2) < 1
    floor = where(both[:, :80], FLOOR_COLOR)
    assert len(floor) > 200
    assert floor[:, 1].min() > 100  # below the middle


def test_render_pose_floor_is_fixed_in_the_world() -> None:
    def floor(x_mm: float) -> np.ndarray:
        camera = OrbitCamera(np.array([x_mm, 0, 1000.0]), 1000.0, 500.0)
        return render_pose(np.full((2, 3), np.nan), None, BONE, replace(camera, azimuth_deg=40.0), SIDE)

    np.testing.assert_array_equal(floor(0), floor(500))  # lines every 500 mm
    assert (floor(0) != floor(200)).any()


def test_render_pose_missing_and_distant_joints() -> None:
    pose = np.array([[0, 0, 1000.0], [np.nan, 0, 0]])
    image = render_pose(pose, pose, BONE, replace(CAMERA, azimuth_deg=0), SIDE)
    assert 0 < len(where(image, SIDE_COLORS["left"])) < 100  # a dot, no limb
    far = render_pose(np.array([[0, 0, 1e12], [0, 0, 1e15]]), None, BONE, replace(CAMERA, azimuth_deg=0), SIDE)
    assert (far == PAPER).all()


def test_around_shows_all_poses() -> None:
    poses = np.zeros((2, 3, 3))
    poses[0] = [[0, 0, 0], [0, 0, 1800], [800, 0, 900]]
    poses[1] = [[5000, 0, 0], [5000, 0, 1700], [np.nan, 0, 0]]
    camera = OrbitCamera.around(poses)
    assert camera.floor_mm == 0
    assert camera.center[2] == 900
    assert 900 <= camera.half_mm < 1200  # the height, not the way walked
    assert np.isfinite(OrbitCamera.around(np.full((2, 3, 3), np.nan)).center).all()


def facing(azimuth_deg: float) -> np.ndarray:
    """Hips (root, rhip, lhip) of a person who faces a camera with this azimuth."""
    azimuth = np.deg2rad(azimuth_deg)
    left = np.array([np.sin(azimuth), -np.cos(azimuth), 0])
    return np.array([[0, 0, 900.0], [0, 0, 900] - 120 * left, [0, 0, 900] + 120 * left])


@pytest.mark.parametrize("azimuth", [0.0, 30.0, -100.0])
def test_render_sides_front_has_the_left_to_the_right(azimuth: float) -> None:
    hips = Skeleton.from_names(("root", "rhip", "lhip"), [(0, 1), (0, 2)], [("rhip", "lhip")])
    assert front_azimuth(facing(azimuth), hips) == pytest.approx(azimuth)
    front, side = render_sides(facing(azimuth), facing(azimuth) + [0, 0, 50], hips, SIDE)
    assert front.shape == side.shape == (LABEL_PX + SIDE, SIDE, 3)
    left, right = (where(front[LABEL_PX:], SIDE_COLORS[name])[:, 0].mean() for name in ("left", "right"))
    assert left > SIDE / 2 > right
    assert len(where(front[LABEL_PX:], GT_COLOR))


def test_render_sides_without_a_known_joint() -> None:
    nothing = np.full((2, 3), np.nan)
    for gt in (None, nothing):
        assert len(render_sides(nothing, gt, BONE, SIDE)) == 2
