"""Figure of a learned fusion: weights that a pixel gives to the other views, and its true epipolar lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.core.drawing import read_crops, read_view
from lib.core.fusion_report.epipolar_share import view_shares
from lib.core.fusion_report.trained_fusion import PERSON_REACH_MM, FusedGroup, TrainedFusion
from lib.utils.drawing.heat_figure import HeatRow, save_heat_figure
from lib.utils.errors import InputError, unknown_name
from lib.utils.transforms import invert_affine, transform_points

VIEW_PX = 512  # approximate size of the enlarged crops; the factor is an integer


@dataclass(frozen=True)
class Mark:
    """Pixel of the target view that gets a row of the figure.

    Attributes:
        name: name of the row.
        point_img: (2,) px of the target view's original image.
        gt_img: (V, 2) true position of the point, px of the original images; None if unknown.
    """

    name: str
    point_img: np.ndarray
    gt_img: np.ndarray | None = None


def joint_marks(trained: TrainedFusion, group: FusedGroup, view: int, names: Sequence[str]) -> list[Mark]:
    """Mark the true positions of joints in a view.

    Raises:
        InputError: a joint is unknown, not annotated in this view, or outside the crop.
    """
    known = trained.annotations.joint_set.names
    marks = []
    for name in names:
        if name not in known:
            raise unknown_name("joint", name, known, "--joint")
        joint = known.index(name)
        if not group.visible[view, joint]:
            raise InputError(f"--joint: {name} is not annotated in view {view + 1} of {group.title}")
        marks.append(Mark(name, group.joints_img[view, joint], group.joints_img[:, joint]))
        _check_in_crop(group, view, marks[-1], "--joint")
    return marks


def pixel_marks(
    trained: TrainedFusion, group: FusedGroup, view: int, pixels: Sequence[Sequence[float]], data_format: str
) -> list[Mark]:
    """Mark pixels (x, y) of the original image of a view.

    Raises:
        InputError: a pixel is outside the image or the crop, or the image cannot be read.
    """
    height, width = read_view(trained.annotations, group.rows[view], data_format).shape[:2]
    marks = []
    for x, y in pixels:
        if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            raise InputError(
                f"--pixel: expected a pixel of view {view + 1}, {width} x {height} px (width x height), received "
                f"({x:g}, {y:g})"
            )
        marks.append(Mark(f"pixel ({x:g}, {y:g})", np.array([x, y], np.float64)))
        _check_in_crop(group, view, marks[-1], "--pixel")
    return marks


def make_fusion_figure(
    path: Path, trained: TrainedFusion, group: FusedGroup, view: int, marks: Sequence[Mark], data_format: str
) -> None:
    """Draw one row per mark: the target view, then each other view with the weights and the epipolar line.

    Args:
        path: PNG file.
        trained: fusion layer and annotation.
        group: the group to draw.
        view: the target view.
        marks: pixels of the target view.
        data_format: "jpg" or "zip".

    Raises:
        InputError: an image cannot be read, or the disk refuses.
    """
    factor = max(1, round(VIEW_PX / max(trained.image_wh)))  # an integer factor keeps heat and image aligned
    enlarged_wh = [factor * side for side in trained.image_wh]
    images, to_image = read_crops(trained.annotations, group.rows, enlarged_wh, data_format)
    others = group.sources(view)
    points = np.stack([mark.point_img for mark in marks])
    weights = trained.source_weights(view, group.pixels(view, points)[0])  # (P, V-1, H, W)
    weight, area = view_shares(trained, group, view, points)  # (P, V-1)
    curves, valid, near = group.curves(view, points)
    curves = np.where(valid[..., None], transform_points(curves, to_image[others][:, None]), np.nan)
    rows = [
        HeatRow(
            title=f"view {view + 1} (target): {mark.name}",
            image=images[view],
            point=transform_points(mark.point_img[None], to_image[view])[0],
            names=[_cell_title(other, *share) for other, *share in zip(others, weight[p], area[p], strict=True)],
            others=[images[other] for other in others],
            heat=weights[p],
            curves=curves[:, p],
            near=near,
            gt=None if mark.gt_img is None else transform_points(mark.gt_img[others][:, None], to_image[others])[:, 0],
        )
        for p, mark in enumerate(marks)
    ]
    save_heat_figure(
        path,
        rows,
        title=f"{group.title}: weights of the pixels of the other views in the fusion of the marked pixel",
        heat_name="weight",
        curve_name="true epipolar line",
        near_name=f"within {PERSON_REACH_MM / 1000:g} m of the person's depth",
    )


def _cell_title(view: int, weight: float, area: float) -> str:
    if np.isnan(weight):
        return f"view {view + 1}: no positive weight"
    return f"view {view + 1}: {100 * weight:.0f} % of + near the line (area {100 * area:.0f} %)"


def _check_in_crop(group: FusedGroup, view: int, mark: Mark, flag: str) -> None:
    if group.pixels(view, mark.point_img[None])[1].all():
        return
    corners = np.array([[-0.5, -0.5], [side - 0.5 for side in group.heatmap_wh]])
    (left, top), (right, bottom) = transform_points(corners, invert_affine(group.to_heatmap[view]))
    x, y = mark.point_img
    raise InputError(
        f"{flag}: expected a point in the crop of view {view + 1}, x {left:.0f} to {right:.0f} and y {top:.0f} to "
        f"{bottom:.0f} px, received {mark.name} at ({x:.0f}, {y:.0f}); {group.title}"
    )
