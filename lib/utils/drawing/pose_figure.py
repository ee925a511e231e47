"""One frame as a figure: the views with the 3D pose projected into them, and the pose from two sides."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lib.utils.drawing.pose_axes import DASHES, draw_pose_sides, pose_legend, side_rgb
from lib.utils.drawing.vis import Skeleton
from lib.utils.errors import check_shape
from lib.utils.files.atomic import atomic_path

CELL_INCHES = 3.3
DPI = 110
NUM_ROWS = 2  # of views; the pose takes a column of its own


@dataclass(frozen=True)
class PosedFrame:
    """A frame with its 3D pose; pictures of the V views may differ in size.

    Attributes:
        title: written above.
        pictures: V arrays (h, w, 3) uint8 BGR.
        joints: (V, K, 2) joints of the pose, px of the pictures; NaN where a joint is not before the camera.
        pose_world: (K, 3) mm.
        true_joints: (V, K, 2) joints of the true pose, or None.
        truth_world: (K, 3) mm, or None.
        names: V of them, of the views; () = they are counted from 1.
    """

    title: str
    pictures: Sequence[np.ndarray]
    joints: np.ndarray
    pose_world: np.ndarray
    true_joints: np.ndarray | None = None
    truth_world: np.ndarray | None = None
    names: Sequence[str] = ()

    def name(self, view: int) -> str:
        """Return what is written above a view."""
        return self.names[view] if self.names else f"view {view + 1}"

    def check(self, where: str, num_joints: int) -> None:
        """Raise an InputError if the arrays do not fit together.

        Args:
            where: named in the message.
            num_joints: K.
        """
        num_views = len(self.pictures)
        for view, picture in enumerate(self.pictures):
            check_shape(f"{where}: picture of {self.name(view)}", picture.shape, ("h", "w", 3))
        for name, joints in (("joints", self.joints), ("true_joints", self.true_joints)):
            if joints is not None:
                check_shape(f"{where}: {name}", joints.shape, (num_views, num_joints, 2))
        for name, pose in (("pose_world", self.pose_world), ("truth_world", self.truth_world)):
            if pose is not None:
                check_shape(f"{where}: {name}", pose.shape, (num_joints, 3))


def save_pose_figure(
    path: str | os.PathLike, frame: PosedFrame, skeleton: Skeleton, up: Sequence[float] = (0.0, 0.0, 1.0)
) -> None:
    """Draw a frame and write a PNG atomically.

    Args:
        path: the picture.
        frame: what to draw.
        skeleton: of the K joints.
        up: direction in the world frame that points up in the picture.

    Raises:
        InputError: arrays that do not fit together, or the disk refuses.
    """
    frame.check(str(path), len(skeleton.names))
    num_columns = -(-len(frame.pictures) // NUM_ROWS)
    size = (CELL_INCHES * (num_columns + 1), CELL_INCHES * NUM_ROWS + 0.7)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(NUM_ROWS, num_columns + 1, squeeze=False)
    view_axes = axes[:, :-1].ravel()
    for view, one in enumerate(view_axes):
        one.set_axis_off()
        if view < len(frame.pictures):
            _draw_view(one, frame, view, skeleton)
    sides = axes[:, -1]
    draw_pose_sides(sides, frame.pose_world, frame.truth_world, skeleton, up)
    for one, name in zip(sides, ("front", "side"), strict=True):
        one.set_title(f"3D from the {name}, mm", fontsize=9)
        one.tick_params(right=True, labelright=True, labelbottom=name == "side")
    figure.suptitle(frame.title, fontsize=10)
    figure.legend(
        handles=pose_legend(frame.truth_world is not None),
        loc="outside lower center",
        ncols=5,
        fontsize=9,
        frameon=False,
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_view(axes: Axes, frame: PosedFrame, view: int, skeleton: Skeleton) -> None:
    picture = frame.pictures[view]
    height, width = picture.shape[:2]
    axes.imshow(picture[..., ::-1], interpolation="antialiased")
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))  # joints outside the picture do not enlarge it
    axes.set_title(frame.name(view), fontsize=9)
    outline = [patheffects.Stroke(linewidth=3.6, foreground="0.1"), patheffects.Normal()]
    joints = frame.joints[view]
    for (parent, child), side in zip(skeleton.edges, skeleton.edge_sides(), strict=True):
        axes.plot(*joints[[parent, child]].T, color=side_rgb(side), linewidth=2.2, path_effects=outline)
    axes.scatter(
        *joints.T, s=14, c=[side_rgb(side) for side in skeleton.sides], edgecolors="0.1", linewidths=0.7, zorder=4
    )
    for edge in skeleton.edges if frame.true_joints is not None else ():
        axes.plot(*frame.true_joints[view][list(edge)].T, color="white", linewidth=1.2, linestyle=DASHES, zorder=5)
