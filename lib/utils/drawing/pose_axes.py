"""A 3D pose on flat axes: from the front and from the side, in mm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lib.utils.drawing.vis import SIDE_COLORS, Skeleton

TRUTH_COLOR = "0.2"
DASHES = (0, (3, 2))


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


def draw_pose_sides(
    axes: Sequence[Axes],
    pose: np.ndarray,
    gt: np.ndarray | None,
    skeleton: Skeleton,
    up: Sequence[float] = (0.0, 0.0, 1.0),
) -> None:
    """Draw a pose from the front and from its left side, at one scale, with the gt dashed.

    Args:
        axes: two, for the front and for the side.
        pose: (K, 3) mm; joints that are not finite are left out.
        gt: (K, 3) mm, or None.
        skeleton: of K joints.
        up: direction in the frame of the pose that points up in the picture.
    """
    reference = pose if gt is None else gt
    if not np.isfinite(reference).all(-1).any():
        for side_axes in axes:
            side_axes.text(0.5, 0.5, "no pose", transform=side_axes.transAxes, fontsize=8, ha="center")
            side_axes.set(xticks=[], yticks=[])
        return
    directions = picture_axes(reference, np.asarray(up, float), skeleton)
    centre = np.nanmean(reference, 0)
    half_mm = max(600.0, 1.15 * float(np.nanmax(np.abs((reference - centre) @ directions.T))))
    for side in range(2):
        to_picture = directions[[side, 2]].T  # (3, 2)
        predicted = (pose - centre) @ to_picture
        for (parent, child), name in zip(skeleton.edges, skeleton.edge_sides(), strict=True):
            axes[side].plot(*predicted[[parent, child]].T, color=side_rgb(name), linewidth=2.2, solid_capstyle="round")
        if gt is not None:
            true = (gt - centre) @ to_picture
            for edge in skeleton.edges:
                axes[side].plot(*true[list(edge)].T, color=TRUTH_COLOR, linewidth=1.3, linestyle=DASHES)
        axes[side].scatter(*predicted.T, s=12, c=[side_rgb(name) for name in skeleton.sides], zorder=4)
        _format_pose_axes(axes[side], half_mm)
    axes[0].tick_params(right=False, labelright=False)
    if gt is not None:
        distances = np.linalg.norm(pose - gt, axis=-1)
        found = distances[np.isfinite(distances)]
        text = f"error {found.mean():.0f} mm" if found.size else "no joint"
        axes[0].text(0.04, 0.96, text, transform=axes[0].transAxes, fontsize=8, va="top")


def _format_pose_axes(axes: Axes, half_mm: float) -> None:
    axes.set(xlim=(-half_mm, half_mm), ylim=(-half_mm, half_mm), aspect="equal")
    step = 500 if half_mm < 1500 else 1000
    reach = 0.95 * half_mm // step  # labels at the very edge would run into those of the next axes
    ticks = np.arange(-reach, reach + 1) * step
    axes.set_xticks(ticks)
    axes.set_yticks(ticks)
    axes.yaxis.tick_right()
    axes.tick_params(labelsize=7, length=2)
    axes.grid(color="0.9", linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_color("0.8")


def pose_legend(with_truth: bool) -> list[Line2D]:
    """Return the entries of a legend: the colours of the sides, and predicted and true lines."""
    lines = [Line2D([], [], color=side_rgb(side), linewidth=2.5, label=side) for side in SIDE_COLORS]
    if with_truth:
        lines.append(Line2D([], [], color="0.5", linewidth=2.2, label="predicted"))
        lines.append(Line2D([], [], color=TRUTH_COLOR, linewidth=1.3, linestyle=DASHES, label="ground gt"))
    return lines


def side_rgb(side: str) -> tuple[float, ...]:
    """Return the colour of a side ("left", "right", "middle") for matplotlib."""
    return tuple(channel / 255 for channel in SIDE_COLORS[side][::-1])
