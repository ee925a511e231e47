from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.utils.drawing.posed_frame import PosedFrame, save_pose_figure
from lib.utils.drawing.vis import SIDE_COLORS, Skeleton
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


def test_views_fill_two_rows_and_the_pose_a_column(tmp_path: Path) -> None:
    images = {views: draw(make_frame(views), tmp_path / "frame.png") for views in (2, 3, 4, 5)}
    widths = {views: image.shape[1] for views, image in images.items()}
    assert len({image.shape[0] for image in images.values()}) == 1
    assert abs(2 * widths[4] - 3 * widths[2]) <= 3  # whole pixels, rounded
    assert widths[3] == widths[4] < widths[5] <= 1500
    views = images[4][:, : widths[4] * 2 // 3]
    assert all(count(views, SIDE_COLORS[side]) > 200 for side in SIDE_COLORS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["frame.png"]


def test_every_view_is_drawn(tmp_path: Path) -> None:
    images = [np.full((60, 60, 3), 20 + 40 * view, np.uint8) for view in range(4)]
    frame = PosedFrame("", images, np.full((4, 4, 2), np.nan), POSE)
    image = draw(frame, tmp_path / "frame.png")
    areas = [count(image, (20 + 40 * view,) * 3) for view in range(4)]
    assert min(areas) > 0.8 * max(areas) > 50_000


def test_the_truth_is_white_over_the_views(tmp_path: Path) -> None:
    def white(gt: bool) -> int:
        image = draw(make_frame(gt=gt), tmp_path / "frame.png")
        return int((image[100:350, 20:320].min(-1) > 220).sum())  # inside the first view

    assert white(True) > white(False) + 100


def test_joints_behind_the_camera_or_far_outside_change_nothing_else(tmp_path: Path) -> None:
    frame = make_frame(gt=False)
    frame.joints[0, 3] = np.nan
    frame.joints[1, 3] = (4000, -9000)
    assert draw(frame, tmp_path / "a.png").shape == draw(make_frame(gt=False), tmp_path / "b.png").shape


def test_arrays_that_do_not_fit_are_named(tmp_path: Path) -> None:
    frame = make_frame(3)
    wrong = PosedFrame("", frame.images, frame.joints[:2], POSE)
    with pytest.raises(InputError, match=r"x\.png: joints: expected shape \(3, 4, 2\), received \(2, 4, 2\)"):
        save_pose_figure(tmp_path / "x.png", wrong, SKELETON)
    with pytest.raises(InputError, match=r"gt_world: expected shape \(4, 3\)"):
        save_pose_figure(tmp_path / "x.png", PosedFrame("", frame.images, frame.joints, POSE, None, POSE[:3]), SKELETON)
    assert not (tmp_path / "x.png").exists()
