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
from matplotlib.lines import Line2D

from lib.utils.checks import InputError, check_shape
from lib.utils.files import atomic_path
from lib.utils.vis import SIDE_COLORS, Skeleton, draw_pose, overlay_heatmap

CELL_INCHES = 2.3
DPI = 110
FULL_SIZE_VIEWS = 14  # more views than this in all are drawn smaller, so that the file stays below 2 MB
MARGIN_INCHES = 0.6  # titles above and legend below the rows
TRUTH_COLOR, DASHES = "0.2", (0, (3, 2))
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
        truth_world: (K, 3) true pose, mm, or None.
    """

    title: str
    crops: np.ndarray
    heatmaps: np.ndarray
    joints_crop: np.ndarray
    pose_world: np.ndarray
    truth_world: np.ndarray | None = None


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
        _draw_pose(axes[-2:], frame, skeleton_3d, np.asarray(up, float))
        titles = [f"view {view + 1}" for view in range(num_views)] + ["3D from the front, mm", "3D from the side, mm"]
        for column, title in enumerate(titles if row == 0 else []):
            axes[column].set_title(title, fontsize=9)
        for pose_axes in axes[-2:] if row < len(frames) - 1 else []:
            pose_axes.tick_params(labelbottom=False)
    legend = _legend(any(frame.truth_world is not None for frame in frames))
    figure.legend(handles=legend, loc="lower center", ncols=5, fontsize=8, frameon=False, borderaxespad=0.1)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", bbox_inches="tight", pad_inches=0.08)


def picture_axes(pose: np.ndarray, up: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Choose the directions of the two pictures of a pose: from its front and from its left side.

    The front is found from the joints that hang on the middle ones (hips and shoulders).

    Args:
        pose: (K, 3) mm; joints that are not finite are left out.
        up: (3,) direction that points up, any length.
        skeleton: of K joints.

    Returns:
        (3, 3) unit row vectors: the person's left (to the right in the front picture), the person's back (to the
        right in the side picture), up.
    """
    up = up / np.linalg.norm(up)
    finite = np.isfinite(pose).all(-1)
    left = np.zeros(3)
    for parent, child in skeleton.edges:
        side = skeleton.sides[child]
        if skeleton.sides[parent] == "middle" and side != "middle" and finite[parent] and finite[child]:
            left += (pose[child] - pose[parent]) * (1 if side == "left" else -1)
    left -= (left @ up) * up
    if np.linalg.norm(left) < 1.0:  # lying on the side, or no such joints: any horizontal direction will do
        left = np.cross(up, np.eye(3)[np.abs(up).argmin()])
    left /= np.linalg.norm(left)
    return np.stack([left, np.cross(up, left), up])


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
    for name, pose in (("pose_world", frame.pose_world), ("truth_world", frame.truth_world)):
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


def _draw_pose(axes: Sequence[Axes], frame: SheetFrame, skeleton: Skeleton, up: np.ndarray) -> None:
    """Draw a pose from the front and from the side, at one scale, with the truth dashed."""
    reference = frame.pose_world if frame.truth_world is None else frame.truth_world
    if not np.isfinite(reference).all(-1).any():
        for side_axes in axes:
            side_axes.text(0.5, 0.5, "no pose", transform=side_axes.transAxes, fontsize=8, ha="center")
            side_axes.set(xticks=[], yticks=[])
        return
    directions = picture_axes(reference, up, skeleton)
    centre = np.nanmean(reference, 0)
    half_mm = max(600.0, 1.15 * float(np.nanmax(np.abs((reference - centre) @ directions.T))))
    for side in range(2):
        to_picture = directions[[side, 2]].T  # (3, 2)
        predicted = (frame.pose_world - centre) @ to_picture
        for (parent, child), name in zip(skeleton.edges, skeleton.edge_sides(), strict=True):
            axes[side].plot(*predicted[[parent, child]].T, color=_rgb(name), linewidth=2.2, solid_capstyle="round")
        if frame.truth_world is not None:
            true = (frame.truth_world - centre) @ to_picture
            for edge in skeleton.edges:
                axes[side].plot(*true[list(edge)].T, color=TRUTH_COLOR, linewidth=1.3, linestyle=DASHES)
        axes[side].scatter(*predicted.T, s=12, c=[_rgb(name) for name in skeleton.sides], zorder=4)
        _format_pose_axes(axes[side], half_mm)
    axes[0].tick_params(right=False, labelright=False)
    if frame.truth_world is not None:
        error = np.nanmean(np.linalg.norm(frame.pose_world - frame.truth_world, axis=-1))
        axes[0].text(0.04, 0.96, f"error {error:.0f} mm", transform=axes[0].transAxes, fontsize=8, va="top")


def _format_pose_axes(axes: Axes, half_mm: float) -> None:
    axes.set(xlim=(-half_mm, half_mm), ylim=(-half_mm, half_mm), aspect="equal")
    step = 500 if half_mm < 1500 else 1000
    ticks = np.arange(-(half_mm // step), half_mm // step + 1) * step
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.yaxis.tick_right()
    axes.tick_params(labelsize=7, length=2)
    axes.grid(color="0.9", linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_color("0.8")


def _legend(with_truth: bool) -> list[Line2D]:
    lines = [Line2D([], [], color=_rgb(side), linewidth=2.5, label=side) for side in SIDE_COLORS]
    if with_truth:
        lines.append(Line2D([], [], color="0.5", linewidth=2.2, label="predicted"))
        lines.append(Line2D([], [], color=TRUTH_COLOR, linewidth=1.3, linestyle=DASHES, label="ground truth"))
    return lines


def _rgb(side: str) -> tuple[float, ...]:
    return tuple(channel / 255 for channel in SIDE_COLORS[side][::-1])
