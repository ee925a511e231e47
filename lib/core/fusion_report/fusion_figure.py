"""Pictures of the learned fusion: which pixels of the other views vote for a pixel, and its true epipolar lines."""

from __future__ import annotations

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

VIEW_PX = 512  # crops are enlarged by a whole factor to about this


@dataclass(frozen=True)
class Mark:
    """A pixel of the target view that gets a row of the picture.

    Attributes:
        name: of the row.
        point_img: (2,) px of the target view's original image.
        truth_img: (V, 2) where that point is in the original images, or None where it is not known.
    """

    name: str
    point_img: np.ndarray
    truth_img: np.ndarray | None = None


def joint_marks(trained: TrainedFusion, group: FusedGroup, view: int, names: Sequence[str]) -> list[Mark]:
    """Mark the true positions of joints in a view.

    Raises:
        InputError: the data set has no such joint, it is not annotated here, or it lies outside the crop.
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
        InputError: a pixel outside the image or outside the crop, or the image cannot be read.
    """
    height, width = read_view(trained.annotations, group.rows[view], data_format).shape[:2]
    marks = []
    for x, y in pixels:
        if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
            raise InputError(
                f"--pixel: ({x:g}, {y:g}) lies outside the image of view {view + 1}, which is {width} x "
                f"{height} px (width x height)"
            )
        marks.append(Mark(f"pixel ({x:g}, {y:g})", np.array([x, y], np.float64)))
        _check_in_crop(group, view, marks[-1], "--pixel")
    return marks


def make_fusion_figure(
    path: Path, trained: TrainedFusion, group: FusedGroup, view: int, marks: Sequence[Mark], data_format: str
) -> None:
    """Draw one row per mark: the target view, and the weights over each other view with the epipolar line.

    Args:
        path: the PNG.
        trained: the fusion layer and the annotation.
        group: the group to draw.
        view: the target view.
        marks: pixels of the target view.
        data_format: "jpg" or "zip".

    Raises:
        InputError: an image cannot be read, or the disk refuses.
    """
    save_heat_figure(
        path,
        _heat_rows(trained, group, view, marks, data_format),
        title=f"{group.title}: weights of the pixels of the other views in the fusion of the marked pixel",
        heat_name="weight",
        curve_name="true epipolar line",
        near_name=f"within {PERSON_REACH_MM / 1000:g} m of the person's depth",
    )


def _heat_rows(
    trained: TrainedFusion, group: FusedGroup, view: int, marks: Sequence[Mark], data_format: str
) -> list[HeatRow]:
    factor = max(1, round(VIEW_PX / max(trained.image_wh)))  # a whole factor keeps heat and picture in line
    picture_wh = [factor * side for side in trained.image_wh]
    pictures, to_picture = read_crops(trained.annotations, group.rows, picture_wh, data_format)
    others = group.sources(view)
    points = np.stack([mark.point_img for mark in marks])
    votes = trained.votes(view, group.pixels(view, points)[0])  # (P, V-1, H, W)
    weight, area = view_shares(trained, group, view, points)  # (P, V-1)
    curves, valid, near = group.curves(view, points)
    curves = np.where(valid[..., None], transform_points(curves, to_picture[others][:, None]), np.nan)
    return [
        HeatRow(
            title=f"view {view + 1} (target): {mark.name}",
            image=pictures[view],
            point=transform_points(mark.point_img[None], to_picture[view])[0],
            names=[_cell_title(other, *share) for other, *share in zip(others, weight[p], area[p], strict=True)],
            others=[pictures[other] for other in others],
            heat=votes[p],
            curves=curves[:, p],
            near=near,
            gt=None
            if mark.truth_img is None
            else transform_points(mark.truth_img[others][:, None], to_picture[others])[:, 0],
        )
        for p, mark in enumerate(marks)
    ]


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
        f"{flag}: {mark.name} at ({x:.0f}, {y:.0f}) lies outside the crop of view {view + 1}, which shows "
        f"x from {left:.0f} to {right:.0f} and y from {top:.0f} to {bottom:.0f} px; {group.title}"
    )
