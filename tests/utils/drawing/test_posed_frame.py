from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.utils.drawing.orbit_camera import OrbitCamera
from lib.utils.drawing.posed_frame import FIGURE_CELL_PX, PosedFrame, draw_frames, save_pose_figure
from lib.utils.drawing.vis import GAP_PX, HEADER_PX, LABEL_PX, SIDE_COLORS, Skeleton
from lib.utils.errors import InputError

SKELETON = Skeleton.from_names(("root", "rhip", "lhip", "head"), [(0, 1), (0, 2), (0, 3)], [("rhip", "lhip")])
POSE = np.array([[0, 0, 900], [-120, 0, 900], [120, 0, 900], [0, 0, 1600.0]])
JOINTS = np.array([[50, 60], [30, 60], [70, 60], [50, 10.0]])


def make_frame(views: int = 4, gt: bool = True, size: tuple[int, int] = (90, 100)) -> PosedFrame:
    return PosedFrame(
        title="frame 7",
        images=[np.full((*size, 3), 90, np.uint8)] * views,
        joints=np.tile(JOINTS, (views, 1, 1)),
        pose_world=POSE,
        gt_joints=np.tile(JOINTS + [8, 4], (views, 1, 1)) if gt else None,
        gt_world=POSE + [0, 0, 20.0] if gt else None,
    )


def draw(frame: PosedFrame, path: Path) -> np.ndarray:
    save_pose_figure(path, frame, SKELETON)
    image = cv2.imread(str(path))
    assert image is not None
    return image


def count(image: np.ndarray, color: tuple[int, ...]) -> int:
    return int((np.abs(image.astype(int) - color).max(-1) <= 2).sum())


def test_save_pose_figure_views_fill_two_rows(tmp_path: Path) -> None:
    images = {views: draw(make_frame(views), tmp_path / "frame.png") for views in (2, 3, 4, 5)}
    widths = {views: image.shape[1] for views, image in images.items()}
    assert len({image.shape[0] for image in images.values()}) == 1
    assert widths == {
        views: (columns + 1) * FIGURE_CELL_PX + (columns - 1) * GAP_PX
        for views, columns in ((2, 1), (3, 2), (4, 2), (5, 3))
    }
    views = images[4][:, : widths[4] * 2 // 3]
    assert all(count(views, SIDE_COLORS[side]) > 200 for side in SIDE_COLORS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["frame.png"]


def test_save_pose_figure_every_view_is_drawn(tmp_path: Path) -> None:
    images = [np.full((60, 60, 3), 30 + 40 * view, np.uint8) for view in range(4)]
    frame = PosedFrame("", images, np.full((4, 4, 2), np.nan), POSE)
    image = draw(frame, tmp_path / "frame.png")
    areas = [count(image, (30 + 40 * view,) * 3) for view in range(4)]
    assert min(areas) > 0.8 * max(areas) > 50_000


def test_save_pose_figure_gt_is_white_in_the_views(tmp_path: Path) -> None:
    def white(gt: bool) -> int:
        image = draw(make_frame(gt=gt), tmp_path / "frame.png")
        return int((image[100:350, 20:320].min(-1) > 220).sum())  # inside the first view

    assert white(True) > white(False) + 100


def test_save_pose_figure_invalid_joints_keep_the_size(tmp_path: Path) -> None:
    frame = make_frame(gt=False)
    frame.joints[0, 3] = np.nan
    frame.joints[1, 3] = (4000, -9000)
    assert draw(frame, tmp_path / "a.png").shape == draw(make_frame(gt=False), tmp_path / "b.png").shape


def test_save_pose_figure_wrong_shapes_are_named(tmp_path: Path) -> None:
    frame = make_frame(3)
    wrong = PosedFrame("", frame.images, frame.joints[:2], POSE)
    with pytest.raises(InputError, match=r"x\.png: joints: expected shape \(3, 4, 2\), received \(2, 4, 2\)"):
        save_pose_figure(tmp_path / "x.png", wrong, SKELETON)
    with pytest.raises(InputError, match=r"gt_world: expected shape \(4, 3\)"):
        save_pose_figure(tmp_path / "x.png", PosedFrame("", frame.images, frame.joints, POSE, None, POSE[:3]), SKELETON)
    assert not (tmp_path / "x.png").exists()


LIMB = Skeleton(("root", "lhip"), ((0, 1),), ("middle", "left"))
LIMB_POSE = np.array([[0, 0, 900], [120, 0, 900.0]])
CELL = 80
TOP = HEADER_PX + LABEL_PX  # px above the first row of views


def make_simple_frame(shift: float = 0.0, views: int = 4, size: tuple[int, int] = (160, 160)) -> PosedFrame:
    joints = np.tile([[80, 80], [120.0, 80]], (views, 1, 1))
    images = [np.full((*size, 3), 60, np.uint8)] * views
    return PosedFrame("frame 1", images, joints, LIMB_POSE + [shift, 0, 0], joints + [0, 20], LIMB_POSE + [shift, 0, 0])


def draw_all(frames: list[PosedFrame], azimuths: list[float]) -> list[np.ndarray]:
    camera = OrbitCamera.around(np.stack([frame.pose_world for frame in frames]))
    return list(draw_frames(frames, LIMB, camera, azimuths, CELL))


@pytest.mark.parametrize(("views", "columns"), [(2, 1), (4, 2), (5, 3)])
def test_draw_frames_size_by_number_of_views(views: int, columns: int) -> None:
    frames = draw_all([make_simple_frame(views=views)] * 2, [0.0, 0.0])
    width = columns * (CELL + GAP_PX) - GAP_PX + 2 * CELL
    assert [frame.shape for frame in frames] == [(HEADER_PX + 2 * (LABEL_PX + CELL) + GAP_PX, width, 3)] * 2


def test_draw_frames_joints_are_scaled_with_the_view() -> None:
    image = draw_all([make_simple_frame()], [0.0])[0][TOP:]
    assert tuple(image[40, 60]) == SIDE_COLORS["left"]  # (120, 80) of 160 px in a cell of 80
    assert tuple(image[LABEL_PX + CELL + GAP_PX + 40, CELL + GAP_PX + 40]) == SIDE_COLORS["middle"]
    assert image[50, 45:55].min() > 200  # the true limb, white, 20 of 160 px below


def test_draw_frames_oblong_views_are_centered() -> None:
    image = draw_all([make_simple_frame(size=(80, 160))], [0.0])[0][TOP:]
    assert (image[:18, :CELL] == 0).all()
    assert tuple(image[25, 10]) == (60, 60, 60)
    assert tuple(image[20 + 40, 60]) == SIDE_COLORS["left"]  # (120, 80): 40 px below the strip's top at 20


def test_draw_frames_camera_follows_the_person_and_turns() -> None:
    still, moved, turned = (
        image[:, 2 * CELL + 2 * GAP_PX :]
        for image in draw_all([make_simple_frame(), make_simple_frame(500.0), make_simple_frame()], [90.0, 90.0, 150.0])
    )
    np.testing.assert_array_equal(still, moved)  # the floor grid repeats every 500 mm
    assert (still != turned).any()


def test_draw_frames_missing_joints_are_left_out() -> None:
    frame = make_simple_frame()
    frame.joints[:] = np.nan
    frame.gt_joints[:] = np.nan
    frame.pose_world[:] = np.nan
    frame.gt_world[:] = np.nan
    image = draw_all([frame], [0.0])[0]
    assert (image[:HEADER_PX] < 100).any()
    assert (image[TOP : TOP + CELL, :CELL] == 60).all()


def test_draw_frames_views_have_names() -> None:
    numbered, named = (
        draw_all([replace(make_simple_frame(), names=names)], [0.0])[0] for names in ((), ("a", "b", "c", "d"))
    )
    label = slice(HEADER_PX, TOP)
    assert (numbered[label, :CELL] != named[label, :CELL]).any()
    np.testing.assert_array_equal(numbered[TOP : TOP + CELL, :CELL], named[TOP : TOP + CELL, :CELL])
