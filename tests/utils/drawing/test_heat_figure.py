from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.utils.drawing.heat_figure import HeatRow, heat_limit, save_heat_figure, signed_colors
from lib.utils.drawing.vis import SIDE_COLORS
from lib.utils.errors import InputError

BLUE, ORANGE = SIDE_COLORS["left"], SIDE_COLORS["right"]
NAMES = {"title": "group 3", "heat_name": "weight", "curve_name": "epipolar line", "near_name": "near"}


def make_row(others: int = 3, size: tuple[int, int] = (90, 100), gt: bool = False) -> HeatRow:
    """Gray images without heat, and curves that lie outside of them."""
    return HeatRow(
        title="rwri",
        image=np.full((*size, 3), 90, np.uint8),
        point=np.array([20.0, 30]),
        names=[f"view {other + 1}" for other in range(others)],
        others=[np.full((*size, 3), 90, np.uint8)] * others,
        heat=np.zeros((others, 9, 10)),
        curves=np.full((others, 5, 2), -500.0),
        near=np.array([False, True, True, True, False]),
        gt=np.tile([60.0, 40.0], (others, 1)) if gt else None,
    )


def draw(rows: list[HeatRow], path: Path) -> np.ndarray:
    save_heat_figure(path, rows, **NAMES)
    image = cv2.imread(str(path))
    assert image is not None
    return image.astype(int)


def cells(image: np.ndarray, columns: int) -> list[np.ndarray]:
    """The images of the only row, from left to right: what their dark frames enclose."""
    inside = (image.max(-1) < 245) & (image.min(-1) > 5)
    labels = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=4)[2]
    boxes = sorted(sorted(labels[1:].tolist(), key=lambda box: -box[4])[:columns])
    return [image[y : y + height, x : x + width] for x, y, width, height, _ in boxes]


def center_of(image: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Mean place of a color, as a share of width and height."""
    rows, columns = np.nonzero(np.abs(image - color).max(-1) < 40)
    assert len(rows) > 20
    return np.array([columns.mean() / image.shape[1], rows.mean() / image.shape[0]])


def test_save_heat_figure_has_a_row_per_point_and_a_column_per_view(tmp_path: Path) -> None:
    sizes = {
        (rows, others): draw([make_row(others)] * rows, tmp_path / "heat.png").shape[:2]
        for rows, others in ((1, 1), (1, 3), (2, 1))
    }
    assert 1.6 < sizes[1, 3][1] / sizes[1, 1][1] < 2.1
    assert sizes[2, 1][1] == sizes[1, 1][1]
    assert 1.6 < sizes[2, 1][0] / sizes[1, 1][0] < 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["heat.png"]


def test_save_heat_figure_heat_has_position_and_color_of_its_sign(tmp_path: Path) -> None:
    row = make_row()
    row.heat[1, 2, 7], row.heat[1, 6, 3] = 0.4, -0.4  # (y, x) of a 9 x 10 map
    drawn = cells(draw([row], tmp_path / "heat.png"), 4)
    np.testing.assert_allclose(center_of(drawn[2], ORANGE), [(70 + 0.5) / 100, (20 + 0.5) / 90], atol=0.02)
    np.testing.assert_allclose(center_of(drawn[2], BLUE), [(30 + 0.5) / 100, (60 + 0.5) / 90], atol=0.02)
    for other in (drawn[0], drawn[1], drawn[3]):
        assert (np.abs(other - ORANGE).max(-1) < 40).sum() == 0
        assert (np.abs(other - BLUE).max(-1) < 40).sum() == 0


def test_signed_colors_differ_in_brightness() -> None:
    colors = np.asarray(signed_colors()(np.linspace(0, 1, 255)))
    assert colors[127, 3] == 0  # nothing hides the image where the weight is 0
    np.testing.assert_allclose(colors[[0, -1], 3], 1)
    assert (np.diff(colors[127:, 3]) > 0).all()
    np.testing.assert_allclose(colors[-1, :3] * 255, ORANGE[::-1])
    np.testing.assert_allclose(colors[0, :3] * 255, BLUE[::-1])


def test_heat_limit_is_the_largest_absolute_value() -> None:
    assert heat_limit(np.array([[-3.0, 1.0]])) == 3.0
    assert heat_limit(np.zeros((2, 2))) == 1.0


def test_save_heat_figure_curve_is_solid_near_the_person(tmp_path: Path) -> None:
    def white_columns(near: list[bool]) -> list[int]:
        row = make_row(1)
        row.curves[0] = [[-900, 45], [25, 45], [50, 45], [75, 45], [900, 45]]
        cell = cells(draw([replace(row, near=np.array(near))], tmp_path / "heat.png"), 2)[1]
        white = (cell.min(-1) > 150).sum(0)  # the image is at 45
        return [int(part.sum()) for part in np.array_split(white, 4)]

    bold = white_columns([False, True, True, True, False])
    thin = white_columns([False] * 5)
    assert min(bold[1:3]) > 1.8 * max(bold[0], bold[3]) > 0
    assert max(thin) < 1.5 * min(thin)


def test_save_heat_figure_gt_is_drawn_if_known(tmp_path: Path) -> None:
    with_gt, without = (cells(draw([make_row(1, gt=gt)], tmp_path / "heat.png"), 2) for gt in (True, False))
    changed = np.abs(with_gt[1] - without[1]).max(-1) > 60
    rows, columns = np.nonzero(changed)
    np.testing.assert_allclose(
        [columns.mean() / changed.shape[1], rows.mean() / changed.shape[0]], [60.5 / 100, 40.5 / 90], atol=0.02
    )
    assert (np.abs(with_gt[0] - without[0]).max(-1) <= 60).all()


def test_save_heat_figure_curves_outside_keep_the_size(tmp_path: Path) -> None:
    row = make_row()
    row.curves[0, 2] = np.nan
    row.curves[1] = np.nan
    row.curves[2, 2:] = (4e6, -9e6)
    assert draw([row], tmp_path / "a.png").shape == draw([make_row()], tmp_path / "b.png").shape


def test_save_heat_figure_wrong_shapes_are_named(tmp_path: Path) -> None:
    row = make_row()
    for wrong, message in (
        ([], "no rows to draw"),
        ([replace(row, heat=row.heat[:2])], r"row 0: heat: expected shape \(3, H, W\), received \(2, 9, 10\)"),
        ([replace(row, curves=row.curves[:, :4])], r"curves: expected shape \(3, 5, 2\)"),
        ([replace(row, names=["view 1"])], r"names: expected shape \(3\), received \(1,\)"),
        ([replace(row, gt=np.zeros((2, 2)))], r"gt: expected shape \(3, 2\)"),
        ([replace(row, others=[*row.others[:2], row.image[:50]])], r"image: expected shape \(90, 100, 3\)"),
        ([row, make_row(2)], r"row 1: images: expected shape \(4\), received \(3,\)"),
    ):
        with pytest.raises(InputError, match=message):
            save_heat_figure(tmp_path / "x.png", wrong, **NAMES)
    assert not list(tmp_path.iterdir())
