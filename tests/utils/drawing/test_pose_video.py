from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lib.utils.drawing.orbit_camera import OrbitCamera
from lib.utils.drawing.posed_frame import PosedFrame, draw_frames
from lib.utils.drawing.vis import GAP_PX, HEADER_PX, LABEL_PX, SIDE_COLORS, Skeleton

SKELETON = Skeleton(("root", "lhip"), ((0, 1),), ("middle", "left"))
POSE = np.array([[0, 0, 900], [120, 0, 900.0]])
CELL = 80
TOP = HEADER_PX + LABEL_PX  # px above the first row of views


def make_frame(shift: float = 0.0, views: int = 4, size: tuple[int, int] = (160, 160)) -> PosedFrame:
    joints = np.tile([[80, 80], [120.0, 80]], (views, 1, 1))
    images = [np.full((*size, 3), 60, np.uint8)] * views
    return PosedFrame("frame 1", images, joints, POSE + [shift, 0, 0], joints + [0, 20], POSE + [shift, 0, 0])


def draw(frames: list[PosedFrame], azimuths: list[float]) -> list[np.ndarray]:
    camera = OrbitCamera.around(np.stack([frame.pose_world for frame in frames]))
    return list(draw_frames(frames, SKELETON, camera, azimuths, CELL))


@pytest.mark.parametrize(("views", "columns"), [(2, 1), (4, 2), (5, 3)])
def test_sizes(views: int, columns: int) -> None:
    frames = draw([make_frame(views=views)] * 2, [0.0, 0.0])
    width = columns * (CELL + GAP_PX) - GAP_PX + 2 * CELL
    assert [frame.shape for frame in frames] == [(HEADER_PX + 2 * (LABEL_PX + CELL) + GAP_PX, width, 3)] * 2


def test_joints_lie_on_the_scaled_view() -> None:
    image = draw([make_frame()], [0.0])[0][TOP:]
    assert tuple(image[40, 60]) == SIDE_COLORS["left"]  # (120, 80) of 160 px in a cell of 80
    assert tuple(image[LABEL_PX + CELL + GAP_PX + 40, CELL + GAP_PX + 40]) == SIDE_COLORS["middle"]
    assert image[50, 45:55].min() > 200  # the true limb, white, 20 of 160 px below


def test_oblong_views_are_centred() -> None:
    image = draw([make_frame(size=(80, 160))], [0.0])[0][TOP:]
    assert (image[:18, :CELL] == 0).all()
    assert tuple(image[25, 10]) == (60, 60, 60)
    assert tuple(image[20 + 40, 60]) == SIDE_COLORS["left"]  # (120, 80): 40 px below the strip's top at 20


def test_the_turntable_follows_the_person_and_turns() -> None:
    still, moved, turned = (
        image[:, 2 * CELL + 2 * GAP_PX :]
        for image in draw([make_frame(), make_frame(500.0), make_frame()], [90.0, 90.0, 150.0])
    )
    np.testing.assert_array_equal(still, moved)  # the floor's lines come again every 500 mm
    assert (still != turned).any()


def test_the_title_is_written_and_missing_joints_leave_gaps() -> None:
    frame = make_frame()
    frame.joints[:] = np.nan
    frame.gt_joints[:] = np.nan
    frame.pose_world[:] = np.nan
    frame.gt_world[:] = np.nan
    image = draw([frame], [0.0])[0]
    assert (image[:HEADER_PX] < 100).any()
    assert (image[TOP : TOP + CELL, :CELL] == 60).all()


def test_views_have_their_names() -> None:
    numbered, named = (draw([replace(make_frame(), names=names)], [0.0])[0] for names in ((), ("a", "b", "c", "d")))
    label = slice(HEADER_PX, TOP)
    assert (numbered[label, :CELL] != named[label, :CELL]).any()
    np.testing.assert_array_equal(numbered[TOP : TOP + CELL, :CELL], named[TOP : TOP + CELL, :CELL])
