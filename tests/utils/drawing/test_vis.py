from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

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


def _grey(height: int = 60, width: int = 120) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def test_sides_follow_the_pairs() -> None:
    assert SKELETON.sides == ("middle", "right", "left")
    assert SKELETON.edge_sides() == ["right", "left"]


def test_joints_and_limbs_are_drawn_in_the_colour_of_their_side() -> None:
    picture = _grey()
    draw_pose(picture, JOINTS, np.ones(3, bool), SKELETON)
    for joint, side in enumerate(("middle", "right", "left")):
        x, y = JOINTS[joint].astype(int)
        np.testing.assert_array_equal(picture[y, x], SIDE_COLORS[side])
    for x, side in ((40, "right"), (80, "left")):  # half way along each limb; lines have soft edges
        np.testing.assert_allclose(picture[30, x], SIDE_COLORS[side], atol=15)
    changed = (picture != 128).any(-1)
    assert not changed[:20].any()
    assert not changed[40:].any()


def test_hidden_and_missing_joints_are_left_out_with_their_limbs() -> None:
    picture = _grey()
    draw_pose(picture, JOINTS, np.array([True, False, True]), SKELETON)
    assert (picture[:, :50] == 128).all()
    assert (picture[:, 65:] != 128).any()
    for bad in (np.nan, np.inf, 1e12):
        joints = JOINTS.copy()
        joints[1] = bad
        again = _grey()
        draw_pose(again, joints, np.ones(3, bool), SKELETON)
        np.testing.assert_array_equal(again, picture)


@pytest.mark.parametrize(("column", "row"), [(0, 0), (5, 11), (15, 3)])
def test_heatmap_pixel_lies_at_its_multiple_of_the_stride(column: int, row: int) -> None:
    heatmap = np.zeros((12, 16), np.float32)
    heatmap[row, column] = 1.0
    picture = overlay_heatmap(np.zeros((48, 64, 3), np.uint8), heatmap).sum(-1)
    y, x = np.unravel_index(picture.argmax(), picture.shape)
    assert (x, y) == (4 * column, 4 * row)


def test_weak_heatmaps_stay_faint_and_bad_values_do_no_harm() -> None:
    picture = _grey()
    heatmap = np.zeros((15, 30))
    plain = overlay_heatmap(picture, heatmap)
    heatmap[7, 15] = 0.03
    weak = overlay_heatmap(picture, heatmap)
    heatmap[7, 15] = 0.9
    strong = overlay_heatmap(picture, heatmap)
    difference = [np.abs(overlay.astype(int) - plain).max() for overlay in (weak, strong)]
    assert 0 < difference[0] < difference[1] / 2
    heatmap[:] = np.nan
    np.testing.assert_array_equal(overlay_heatmap(picture, heatmap), plain)
    np.testing.assert_array_equal(overlay_heatmap(picture, np.full((15, 30), -1.0)), plain)


def test_tiles_stand_in_reading_order() -> None:
    pictures = np.stack([np.full((4, 6, 3), value, np.uint8) for value in (50, 100, 150)])
    grid = tile(pictures, columns=2)
    assert grid.shape == (8 + GAP_PX, 12 + GAP_PX, 3)
    assert [grid[0, 0, 0], grid[0, -1, 0], grid[-1, 0, 0], grid[-1, -1, 0]] == [50, 100, 150, 0]
    assert tile(pictures[:1], columns=4).shape == (4, 6, 3)


def test_joint_grid_keeps_its_input_and_draws_each_picture() -> None:
    pictures = np.stack([_grey(), _grey()])
    joints = np.stack([JOINTS, JOINTS])
    visible = np.array([[True] * 3, [False] * 3])
    grid = joint_grid(pictures, joints, visible, SKELETON, 2, ["view 1", "view 2"], "batch")
    assert grid.shape == (HEADER_PX + LABEL_PX + 60, 240 + GAP_PX, 3)
    grid = grid[HEADER_PX + LABEL_PX :]
    assert (grid[:, :120] != 128).any()
    assert (grid[:, -120:] == 128).all()
    assert (pictures == 128).all()


def test_heatmap_grid_has_a_row_per_image_and_a_cell_per_joint() -> None:
    pictures = np.stack([_grey()] * 3)
    heatmaps = np.zeros((3, 3, 15, 30))
    heatmaps[..., 8, 15] = 1.0
    second_cell = 120 + GAP_PX
    words = (SKELETON, ["a", "b", "c"], "batch")
    grid = heatmap_grid(pictures, heatmaps, *words, cell_px=60, max_images=2)
    assert grid.shape == (HEADER_PX + 2 * (LABEL_PX + 60) + GAP_PX, 4 * 120 + 3 * GAP_PX, 3)
    without_peak = heatmap_grid(pictures, heatmaps * 0, *words, np.zeros((3, 3, 2)), cell_px=60, max_images=2)
    grid, without_peak = grid[HEADER_PX + LABEL_PX :], without_peak[HEADER_PX + LABEL_PX :]
    whole_map = overlay_heatmap(pictures[0], heatmaps[0, 0])
    np.testing.assert_array_equal(grid[:60, second_cell : second_cell + 120], whole_map)
    assert (grid[32, second_cell + 60] != without_peak[32, second_cell + 60]).any()
    np.testing.assert_array_equal(grid[32, 60], SIDE_COLORS["left"])  # the last joint, drawn at the peak
    with pytest.raises(InputError, match=r"heatmaps: expected shape \(3, 3, H, W\)"):
        heatmap_grid(pictures, heatmaps[:, :2], *words)


def test_texts_stand_above_the_picture() -> None:
    picture = _grey()
    with_text = labeled(picture, "a text that is too long for such a small picture")
    assert with_text.shape == (LABEL_PX + 60, 120, 3)
    np.testing.assert_array_equal(with_text[LABEL_PX:], picture)
    assert with_text[:LABEL_PX, :100].max() > 150
    wide = np.full((20, 400, 3), 7, np.uint8)
    legend = titled(wide, "frame 3, 0.10 s", "a note")
    np.testing.assert_array_equal(legend[HEADER_PX:], wide)
    for color in SIDE_COLORS.values():
        assert (legend[:HEADER_PX] == color).all(-1).sum() > 50
    assert titled(picture, "a title that is far too long for such a small picture").shape == (HEADER_PX + 60, 120, 3)


@pytest.mark.parametrize(("suffix", "tolerance"), [(".png", 0), (".jpg", 12)])
def test_pictures_are_written_whole(suffix: str, tolerance: int, tmp_path: Path) -> None:
    picture = _grey()
    picture[:, 60:] = (200, 30, 90)
    path = tmp_path / "deep" / f"picture{suffix}"
    save_image(path, picture)
    read = cv2.imread(str(path))
    assert read.shape == picture.shape
    assert np.abs(read[:, [20, 100]].astype(int) - picture[:, [20, 100]]).max() <= tolerance
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    with pytest.raises(InputError, match=r"written as \.jpg or \.png"):
        save_image(tmp_path / "picture.bmp", picture)
