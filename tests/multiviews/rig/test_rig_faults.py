from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cvf_tests.scenes import FLIP_PAIRS
from cvf_tests.wrong_rig import SIDE, bumped, filmed_walk
from scipy.spatial.transform import Rotation

from lib.multiviews.cameras import Cameras
from lib.multiviews.recording.robust_poses import sizes_over_time
from lib.multiviews.rig.rig_faults import _changed_cameras, mirrored_principal_points, wrong_convention

NAMES = ("left", "middle", "right", "back")


def changed(values: np.ndarray, view: int, value: np.ndarray) -> np.ndarray:
    result = values.copy()
    result[view] = value
    return result


def mirrored(points, cameras):
    points = points.copy()
    points[:, 1, :, 0] = SIDE - 1 - points[:, 1, :, 0]
    return points, cameras


def exchanged(points, cameras):
    return points[:, [2, 1, 0, 3]], cameras


def in_meters(points, cameras):
    return points, replace(cameras, T=changed(cameras.T, 2, cameras.T[2] / 1000))


def half_size(points, cameras):
    return points, replace(
        cameras, f=changed(cameras.f, 0, cameras.f[0] / 2), c=changed(cameras.c, 0, cameras.c[0] / 2)
    )


def translation_as_center(points, cameras):
    return points, replace(cameras, T=-(cameras.R.swapaxes(1, 2) @ cameras.T[..., None])[..., 0])


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (mirrored, "middle: the video is mirrored"),
        (exchanged, "left and right are exchanged"),
        (in_meters, "right: the translation is in a unit 1000 times too small"),
        (half_size, "left: calibrated for images 0.5 times as large"),
        (translation_as_center, "all cameras: the translation is the center"),
        (lambda points, cameras: (points, cameras), None),
    ],
)
def test_wrong_convention_names_the_fault(fault, text):
    walk = filmed_walk(4, 40)
    points, cameras = fault(walk.points[..., :2], walk.state.cameras)
    size = np.median(sizes_over_time(points), 0)
    found = wrong_convention(points, cameras, np.full((4, 2), SIDE), size, FLIP_PAIRS, NAMES)
    assert found is None if text is None else found.startswith(text)


def test_wrong_convention_does_not_exchange_the_axes_of_square_images():
    walk = filmed_walk(4, 40)
    cameras = walk.state.cameras
    c = cameras.c + [0.01 * SIDE, 0.0]
    square = replace(cameras, c=c, f=cameras.f * [1.0, 1.01])
    texts = dict(_changed_cameras(square, np.full((4, 2), SIDE)))
    np.testing.assert_array_equal(texts["width and height are exchanged"].c, c)
    tall = replace(square, c=c * [0.5, 1.0])
    texts = dict(_changed_cameras(tall, np.full((4, 2), SIDE)))
    np.testing.assert_array_equal(texts["width and height are exchanged"].c, tall.c[:, ::-1])


def off_center(walk) -> tuple[np.ndarray, Cameras]:
    """Return points (F, V, J, 2) and cameras whose principal points are 40, 30 px from the middle."""
    shift = np.array([40.0, -30.0])
    return walk.points[..., :2] + shift, replace(walk.state.cameras, c=walk.state.cameras.c + shift)


def mirror(c: np.ndarray, view: int, axis: int) -> np.ndarray:
    c = c.copy()
    c[view, axis] = SIDE - 1 - c[view, axis]
    return c


def turned(cameras: Cameras, degrees: float) -> Cameras:
    """Turn the cameras about different axes."""
    vectors = np.random.default_rng(1).choice([-1.0, 1.0], (len(cameras), 3)) / np.sqrt(3)
    return replace(cameras, R=Rotation.from_rotvec(np.radians(degrees) * vectors).as_matrix() @ cameras.R)


def test_mirrored_principal_points_names_cameras_and_axes():
    points, cameras = off_center(filmed_walk(4, 60))
    size = np.median(sizes_over_time(points), 0)
    given = replace(cameras, c=mirror(mirror(cameras.c, 0, 0), 3, 1))
    image_wh = np.full((4, 2), SIDE)
    found = mirrored_principal_points(points, given, cameras, image_wh, size, FLIP_PAIRS, NAMES)
    assert found.startswith("the principal points of left (in x), back (in y) are mirrored")
    unknown_size = mirrored_principal_points(points, given, cameras, 0 * image_wh, size, FLIP_PAIRS, NAMES)
    assert unknown_size is None


def test_mirrored_principal_points_does_not_explain_turned_cameras():
    points, cameras = off_center(filmed_walk(4, 60))
    size = np.median(sizes_over_time(points), 0)
    given = bumped(bumped(cameras, 0, 2.0), 2, -2.0)
    assert mirrored_principal_points(points, given, cameras, np.full((4, 2), SIDE), size, FLIP_PAIRS, NAMES) is None


@pytest.mark.parametrize("degrees", [3.0, 8.0])
def test_mirrored_principal_points_ends_if_two_turned_cameras_do_not_agree_on_a_joint(degrees):
    points, cameras = off_center(filmed_walk(2, 60))
    size = np.median(sizes_over_time(points), 0)
    given = turned(cameras, degrees)
    assert mirrored_principal_points(points, given, cameras, np.full((2, 2), SIDE), size, FLIP_PAIRS, NAMES[:2]) is None
