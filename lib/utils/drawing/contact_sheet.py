"""One picture that shows what the system sees: the views with heatmaps and joints, and the 3D pose from two sides."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from lib.utils.drawing.pose_axes import draw_pose_sides, pose_legend
from lib.utils.drawing.vis import Skeleton, draw_pose, overlay_heatmap
from lib.utils.errors import InputError, check_shape
from lib.utils.files.atomic import atomic_path

CELL_INCHES = 2.3
DPI = 110
FULL_SIZE_VIEWS = 14  # more views than this in all are drawn smaller, so that the file stays below 2 MB
MARGIN_INCHES = 0.6  # titles above and legend below the rows
VIEW_PX = 320  # crops are enlarged to this before drawing, so that lines stay fine


@dataclass(frozen=True)
class SheetFrame:
    """One row of a contact sheet.

    Attributes:
        title: written beside the row.
        crops: (V, h, w, 3) uint8 BGR network inputs.
        heatmaps: (V, J, H, W).
        joints_crop: (V, J, 2) predicted joints, px of the crop.
        pose_world: (K, 3) predicted pose, mm.
        gt_world: (K, 3) true pose, mm, or None.
    """

    title: str
    crops: np.ndarray
    heatmaps: np.ndarray
    joints_crop: np.ndarray
    pose_world: np.ndarray
    gt_world: np.ndarray | None = None


def save_contact_sheet(
    path: str | os.PathLike,
    frames: Sequence[SheetFrame],
    skeleton_2d: Skeleton,
    skeleton_3d: Skeleton,
    up: Sequence[float] = (0.0, 0.0, 1.0),
) -> None:
    """Draw one row per frame and write a PNG atomically.

    Args:
        path: the picture.
        frames: rows, all with the same number of views.
        skeleton_2d: of the J joints in the views.
        skeleton_3d: of the K joints of the poses.
        up: direction in the world frame that points up in the picture.

    Raises:
        InputError: no frames, arrays that do not fit together, or the disk refuses.
    """
    if not frames:
        raise InputError(f"{path}: no frames to draw")
    num_views = len(frames[0].crops)
    for row, frame in enumerate(frames):
        _check_frame(frame, f"{path}, row {row}", num_views, len(skeleton_2d.names), len(skeleton_3d.names))
    figure, grid = _layout(len(frames), num_views, frames[0].crops.shape[1] / frames[0].crops.shape[2])
    for row, frame in enumerate(frames):
        axes = [figure.add_subplot(grid[row, column]) for column in range(num_views + 2)]
        for view in range(num_views):
            _draw_view(axes[view], frame, view, skeleton_2d)
        axes[0].set_ylabel(frame.title, fontsize=9)
        draw_pose_sides(axes[-2:], frame.pose_world, frame.gt_world, skeleton_3d, up)
        titles = [f"view {view + 1}" for view in range(num_views)] + ["3D from the front, mm", "3D from the side, mm"]
        for column, title in enumerate(titles if row == 0 else []):
            axes[column].set_title(title, fontsize=9)
        for pose_axes in axes[-2:] if row < len(frames) - 1 else []:
            pose_axes.tick_params(labelbottom=False)
    legend = pose_legend(any(frame.gt_world is not None for frame in frames))
    figure.legend(handles=legend, loc="lower center", ncols=5, fontsize=8, frameon=False, borderaxespad=0.1)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight", pad_inches=0.08)


def _layout(num_rows: int, num_views: int, height_to_width: float) -> tuple[Figure, GridSpec]:
    """Make an empty figure with one cell per view and two for the pose in each row."""
    dpi = DPI * min(1.0, (FULL_SIZE_VIEWS / (num_rows * num_views)) ** 0.5)
    height = CELL_INCHES * height_to_width * num_rows + MARGIN_INCHES
    figure = Figure(figsize=(CELL_INCHES * (num_views + 2), height), dpi=dpi)
    FigureCanvasAgg(figure)
    margin = MARGIN_INCHES / height / 2
    edges = {"left": 0.03, "right": 0.97, "bottom": margin, "top": 1 - margin}
    return figure, figure.add_gridspec(num_rows, num_views + 2, wspace=0.05, hspace=0.08, **edges)


def _check_frame(frame: SheetFrame, where: str, num_views: int, num_joints: int, num_pose_joints: int) -> None:
    check_shape(f"{where}: crops", frame.crops.shape, (num_views, "h", "w", 3))
    check_shape(f"{where}: heatmaps", frame.heatmaps.shape, (num_views, num_joints, "H", "W"))
    check_shape(f"{where}: joints_crop", frame.joints_crop.shape, (num_views, num_joints, 2))
    for name, pose in (("pose_world", frame.pose_world), ("gt_world", frame.gt_world)):
        if pose is not None:
            check_shape(f"{where}: {name}", pose.shape, (num_pose_joints, 3))


def _draw_view(axes: Axes, frame: SheetFrame, view: int, skeleton: Skeleton) -> None:
    crop = frame.crops[view]
    factor = max(1, round(VIEW_PX / max(crop.shape[:2])))
    large = crop.repeat(factor, 0).repeat(factor, 1)
    picture = overlay_heatmap(large, frame.heatmaps[view].max(0))
    draw_pose(picture, frame.joints_crop[view] * factor, np.ones(len(skeleton.names), bool), skeleton)
    axes.imshow(picture[..., ::-1], interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
