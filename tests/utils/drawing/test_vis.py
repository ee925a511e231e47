from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.utils.drawing import vis
from lib.utils.drawing.vis import (
    GAP_PX,
    HEADER_PX,
    LABEL_PX,
    SIDE_COLORS,
    Skeleton,
    draw_pose,
    heatmap_grid,
    joint_grid,
    labeled,
    overlay_heatmap,
    save_image,
    tile,
    titled,
)
from lib.utils.errors import InputError

# a middle joint with one limb to each side
SKELETON = Skeleton.from_names(("root", "rhip", "lhip"), [(0, 1), (0, 2)], [("rhip", "lhip")])
JOINTS = np.array([[60.0, 30.0], [20.0, 30.0], [100.0, 30.0]])


def _gray(height: int = 60, width: int = 120) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def test_skeleton_sides_follow_the_flip_pairs() -> None:
    assert SKELETON.sides == ("middle", "right", "left")
    assert SKELETON.edge_sides() == ["right", "left"]


def test_draw_pose_has_the_colors_of_the_sides() -> None:
    image = _gray()
    draw_pose(image, JOINTS, np.ones(3, bool), SKELETON)
    for joint, side in enumerate(("middle", "right", "left")):
        x, y = JOINTS[joint].astype(int)
        np.testing.assert_array_equal(image[y, x], SIDE_COLORS[side])
    for x, side in ((40, "right"), (80, "left")):  # half way along each limb; lines have soft edges
        np.testing.assert_allclose(image[30, x], SIDE_COLORS[side], atol=15)
    changed = (image != 128).any(-1)
    assert not changed[:20].any()
    assert not changed[40:].any()


def test_draw_pose_hidden_and_missing_joints_are_left_out() -> None:
    image = _gray()
    draw_pose(image, JOINTS, np.array([True, False, True]), SKELETON)
    assert (image[:, :50] == 128).all()
    assert (image[:, 65:] != 128).any()
    for bad in (np.nan, np.inf, 1e12):
        joints = JOINTS.copy()
        joints[1] = bad
        again = _gray()
        draw_pose(again, joints, np.ones(3, bool), SKELETON)
        np.testing.assert_array_equal(again, image)


@pytest.mark.parametrize(("column", "row"), [(0, 0), (5, 11), (15, 3)])
def test_overlay_heatmap_pixel_is_at_a_multiple_of_the_stride(column: int, row: int) -> None:
    heatmap = np.zeros((12, 16), np.float32)
    heatmap[row, column] = 1.0
    image = overlay_heatmap(np.zeros((48, 64, 3), np.uint8), heatmap).sum(-1)
    y, x = np.unravel_index(image.argmax(), image.shape)
    assert (x, y) == (4 * column, 4 * row)


def test_overlay_heatmap_weak_peaks_are_faint_and_bad_values_ignored() -> None:
    image = _gray()
    heatmap = np.zeros((15, 30))
    plain = overlay_heatmap(image, heatmap)
    heatmap[7, 15] = 0.03
    weak = overlay_heatmap(image, heatmap)
    heatmap[7, 15] = 0.9
    strong = overlay_heatmap(image, heatmap)
    difference = [np.abs(overlay.astype(int) - plain).max() for overlay in (weak, strong)]
    assert 0 < difference[0] < difference[1] / 2
    heatmap[:] = np.nan
    np.testing.assert_array_equal(overlay_heatmap(image, heatmap), plain)
    np.testing.assert_array_equal(overlay_heatmap(image, np.full((15, 30), -1.0)), plain)


def test_tile_order_is_row_by_row() -> None:
    images = np.stack([np.full((4, 6, 3), value, np.uint8) for value in (50, 100, 150)])
    grid = tile(images, columns=2)
    assert grid.shape == (8 + GAP_PX, 12 + GAP_PX, 3)
    assert [grid[0, 0, 0], grid[0, -1, 0], grid[-1, 0, 0], grid[-1, -1, 0]] == [50, 100, 150, 0]
    assert tile(images[:1], columns=4).shape == (4, 6, 3)


def test_joint_grid_draws_each_image_and_keeps_its_input() -> None:
    images = np.stack([_gray(), _gray()])
    joints = np.stack([JOINTS, JOINTS])
    visible = np.array([[True] * 3, [False] * 3])
    grid = joint_grid(images, joints, visible, SKELETON, 2, ["view 1", "view 2"], "batch")
    assert grid.shape == (HEADER_PX + LABEL_PX + 60, 240 + GAP_PX, 3)
    grid = grid[HEADER_PX + LABEL_PX :]
    assert (grid[:, :120] != 128).any()
    assert (grid[:, -120:] == 128).all()
    assert (images == 128).all()


def test_heatmap_grid_has_a_row_per_image_and_a_cell_per_joint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vis, "GRID_CELL_PX", 60)
    monkeypatch.setattr(vis, "MAX_GRID_ROWS", 2)
    images = np.stack([_gray()] * 3)
    heatmaps = np.zeros((3, 3, 15, 30))
    heatmaps[..., 8, 15] = 1.0
    joints, visible = np.tile([60.0, 32.0], (3, 3, 1)), np.ones((3, 3), bool)
    second_cell = 120 + GAP_PX
    texts = (SKELETON, ["a", "b", "c"], "batch")
    grid = heatmap_grid(images, heatmaps, *texts, joints, visible)
    assert grid.shape == (HEADER_PX + 2 * (LABEL_PX + 60) + GAP_PX, 4 * 120 + 3 * GAP_PX, 3)
    without_peak = heatmap_grid(images, heatmaps * 0, *texts, joints, visible)
    grid, without_peak = grid[HEADER_PX + LABEL_PX :], without_peak[HEADER_PX + LABEL_PX :]
    whole_heatmap = overlay_heatmap(images[0], heatmaps[0, 0])
    np.testing.assert_array_equal(grid[:60, second_cell : second_cell + 120], whole_heatmap)
    assert (grid[32, second_cell + 60] != without_peak[32, second_cell + 60]).any()
    np.testing.assert_array_equal(grid[32, 60], SIDE_COLORS["left"])  # the last joint
    with pytest.raises(InputError, match=r"heatmaps: expected shape \(3, 3, H, W\)"):
        heatmap_grid(images, heatmaps[:, :2], *texts, joints, visible)


def test_labeled_and_titled_put_text_above_the_image() -> None:
    image = _gray()
    with_text = labeled(image, "a text that is too long for such a small image")
    assert with_text.shape == (LABEL_PX + 60, 120, 3)
    np.testing.assert_array_equal(with_text[LABEL_PX:], image)
    assert with_text[:LABEL_PX, :100].max() > 150
    wide = np.full((20, 400, 3), 7, np.uint8)
    legend = titled(wide, "frame 3, 0.10 s", "a note")
    np.testing.assert_array_equal(legend[HEADER_PX:], wide)
    for color in SIDE_COLORS.values():
        assert (legend[:HEADER_PX] == color).all(-1).sum() > 50
    assert titled(image, "a title that is far too long for such a small image").shape == (HEADER_PX + 60, 120, 3)


@pytest.mark.parametrize(("suffix", "tolerance"), [(".png", 0), (".jpg", 12)])
def test_save_image_writes_the_format_of_the_suffix(suffix: str, tolerance: int, tmp_path: Path) -> None:
    image = _gray()
    image[:, 60:] = (200, 30, 90)
    path = tmp_path / "deep" / f"image{suffix}"
    save_image(path, image)
    read = cv2.imread(str(path))
    assert read.shape == image.shape
    assert np.abs(read[:, [20, 100]].astype(int) - image[:, [20, 100]]).max() <= tolerance
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    with pytest.raises(InputError, match=r"ending in \.jpg or \.png"):
        save_image(tmp_path / "image.bmp", image)
