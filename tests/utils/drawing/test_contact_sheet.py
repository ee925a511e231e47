from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.utils.drawing.contact_sheet import SheetFrame, save_contact_sheet
from lib.utils.drawing.vis import SIDE_COLORS, Skeleton
from lib.utils.errors import InputError

NAMES = ("root", "rhip", "lhip", "head")
SKELETON = Skeleton.from_names(NAMES, [(0, 1), (0, 2), (0, 3)], [("rhip", "lhip")])
POSE = np.array([[0, 0, 900], [-120, 0, 900], [120, 0, 900], [0, 0, 1600.0]])  # faces -y


def _frame(views: int = 2, gt: bool = True, height: int = 64, width: int = 64) -> SheetFrame:
    rng = np.random.default_rng(0)
    return SheetFrame(
        title="frame 1",
        crops=rng.integers(0, 256, (views, height, width, 3), dtype=np.uint8),
        heatmaps=rng.uniform(0, 0.1, (views, 4, height // 4, width // 4)),
        joints_crop=rng.uniform(10, 50, (views, 4, 2)),
        pose_world=POSE,
        gt_world=POSE + [0, 0, 30.0] if gt else None,
    )


def _count(image: np.ndarray, side: str) -> int:
    return int((np.abs(image.astype(int) - SIDE_COLORS[side]).max(-1) <= 2).sum())


@pytest.mark.parametrize(("views", "height", "width"), [(2, 64, 64), (4, 96, 64), (5, 64, 128)])
def test_save_contact_sheet_has_a_row_per_frame(views: int, height: int, width: int, tmp_path: Path) -> None:
    frame = _frame(views, height=height, width=width)
    images = []
    for rows in (1, 2):
        save_contact_sheet(tmp_path / "sheet.png", [frame] * rows, SKELETON, SKELETON)
        images.append(cv2.imread(str(tmp_path / "sheet.png")))
    assert images[1].shape[0] > 1.5 * images[0].shape[0]
    assert abs(images[1].shape[1] - images[0].shape[1]) < 30
    assert all(_count(images[0], side) > 50 for side in SIDE_COLORS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["sheet.png"]


def test_save_contact_sheet_many_rows_limit_the_file_size(tmp_path: Path) -> None:
    frame = _frame(4)  # noise, the worst case for a PNG
    save_contact_sheet(tmp_path / "sheet.png", [frame] * 10, SKELETON, SKELETON)
    assert (tmp_path / "sheet.png").stat().st_size < 2_000_000


def test_save_contact_sheet_gt_is_drawn(tmp_path: Path) -> None:
    for name, gt in (("with.png", True), ("without.png", False)):
        save_contact_sheet(tmp_path / name, [_frame(gt=gt)], SKELETON, SKELETON)
    with_gt, without = (cv2.imread(str(tmp_path / name)) for name in ("with.png", "without.png"))

    def dark(image: np.ndarray) -> int:  # in the half with the 3D poses
        return int((image[:, image.shape[1] * 52 // 100 :].max(-1) < 80).sum())

    assert dark(with_gt) > dark(without) + 100


@pytest.mark.parametrize("missing", [[1], [1, 2], [0, 1, 2, 3]])
def test_save_contact_sheet_missing_joints_leave_gaps(missing: list[int], tmp_path: Path) -> None:
    pose = POSE.copy()
    pose[missing] = np.nan
    frame = SheetFrame("gaps", *(getattr(_frame(), name) for name in ("crops", "heatmaps", "joints_crop")), pose)
    save_contact_sheet(tmp_path / "sheet.png", [frame], SKELETON, SKELETON)
    assert cv2.imread(str(tmp_path / "sheet.png")) is not None


def test_save_contact_sheet_wrong_shapes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no frames"):
        save_contact_sheet(tmp_path / "sheet.png", [], SKELETON, SKELETON)
    with pytest.raises(InputError, match=r"row 1: crops: expected shape \(2, h, w, 3\), received \(3, 64, 64, 3\)"):
        save_contact_sheet(tmp_path / "sheet.png", [_frame(2), _frame(3)], SKELETON, SKELETON)
    assert not (tmp_path / "sheet.png").exists()
