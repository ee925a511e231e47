"""One frame as a figure: the views with the 3D pose projected into them, and the pose from two sides."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lib.utils.drawing.orbit_camera import OrbitCamera, render_pose
from lib.utils.drawing.pose_axes import DASHES, draw_pose_sides, pose_legend, side_rgb
from lib.utils.drawing.vis import PAPER, Skeleton, draw_pose, labeled, tile, titled
from lib.utils.errors import check_shape
from lib.utils.files.atomic import atomic_path

CELL_INCHES = 3.3
DPI = 110
GT_COLOR = (255, 255, 255)  # BGR, over the views
NUM_ROWS = 2  # of views; the pose takes a column of its own


@dataclass(frozen=True)
class PosedFrame:
    """A frame with its 3D pose; images of the V views may differ in size.

    Attributes:
        title: written above.
        images: V arrays (h, w, 3) uint8 BGR.
        joints: (V, K, 2) joints of the pose, px of the images; NaN where a joint is not before the camera.
        pose_world: (K, 3) mm.
        gt_joints: (V, K, 2) joints of the true pose, or None.
        gt_world: (K, 3) mm, or None.
        names: V of them, of the views; () = they are counted from 1.
    """

    title: str
    images: Sequence[np.ndarray]
    joints: np.ndarray
    pose_world: np.ndarray
    gt_joints: np.ndarray | None = None
    gt_world: np.ndarray | None = None
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
        num_views = len(self.images)
        for view, image in enumerate(self.images):
            check_shape(f"{where}: image of {self.name(view)}", image.shape, ("h", "w", 3))
        for name, joints in (("joints", self.joints), ("gt_joints", self.gt_joints)):
            if joints is not None:
                check_shape(f"{where}: {name}", joints.shape, (num_views, num_joints, 2))
        for name, pose in (("pose_world", self.pose_world), ("gt_world", self.gt_world)):
            if pose is not None:
                check_shape(f"{where}: {name}", pose.shape, (num_joints, 3))


def save_pose_figure(
    path: str | os.PathLike, frame: PosedFrame, skeleton: Skeleton, up: Sequence[float] = (0.0, 0.0, 1.0)
) -> None:
    """Draw a frame and write a PNG atomically.

    Args:
        path: the image.
        frame: what to draw.
        skeleton: of the K joints.
        up: direction in the world frame that points up in the image.

    Raises:
        InputError: arrays that do not fit together, or the disk refuses.
    """
    frame.check(str(path), len(skeleton.names))
    num_columns = -(-len(frame.images) // NUM_ROWS)
    size = (CELL_INCHES * (num_columns + 1), CELL_INCHES * NUM_ROWS + 0.7)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(NUM_ROWS, num_columns + 1, squeeze=False)
    view_axes = axes[:, :-1].ravel()
    for view, one in enumerate(view_axes):
        one.set_axis_off()
        if view < len(frame.images):
            _draw_view(one, frame, view, skeleton)
    sides = axes[:, -1]
    draw_pose_sides(sides, frame.pose_world, frame.gt_world, skeleton, up)
    for one, name in zip(sides, ("front", "side"), strict=True):
        one.set_title(f"3D from the {name}, mm", fontsize=9)
        one.tick_params(right=True, labelright=True, labelbottom=name == "side")
    figure.suptitle(frame.title, fontsize=10)
    figure.legend(
        handles=pose_legend(frame.gt_world is not None), loc="outside lower center", ncols=5, fontsize=9, frameon=False
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw_view(axes: Axes, frame: PosedFrame, view: int, skeleton: Skeleton) -> None:
    image = frame.images[view]
    height, width = image.shape[:2]
    axes.imshow(image[..., ::-1], interpolation="antialiased")
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))  # joints outside the image do not enlarge it
    axes.set_title(frame.name(view), fontsize=9)
    outline = [patheffects.Stroke(linewidth=3.6, foreground="0.1"), patheffects.Normal()]
    joints = frame.joints[view]
    for (parent, child), side in zip(skeleton.edges, skeleton.edge_sides(), strict=True):
        axes.plot(*joints[[parent, child]].T, color=side_rgb(side), linewidth=2.2, path_effects=outline)
    axes.scatter(
        *joints.T, s=14, c=[side_rgb(side) for side in skeleton.sides], edgecolors="0.1", linewidths=0.7, zorder=4
    )
    for edge in skeleton.edges if frame.gt_joints is not None else ():
        axes.plot(*frame.gt_joints[view][list(edge)].T, color="white", linewidth=1.2, linestyle=DASHES, zorder=5)


def draw_frames(
    frames: Iterable[PosedFrame], skeleton: Skeleton, camera: OrbitCamera, azimuths_deg: Iterable[float], cell_px: int
) -> Iterator[np.ndarray]:
    """Draw frames one after the other; the camera follows the person, the floor grid is fixed in the world.

    Args:
        frames: frames with the same number of views.
        skeleton: skeleton of the K joints.
        camera: extent and elevation of the rendered pose.
        azimuths_deg: azimuth of the camera per frame.
        cell_px: side length of a view's cell; the rendered pose takes a square of two cells.

    Yields:
        (h, w, 3) uint8 BGR, all of one size.
    """
    for frame, azimuth_deg in zip(frames, azimuths_deg, strict=False):
        reference = frame.pose_world if frame.gt_world is None else frame.gt_world
        where = reference[np.isfinite(reference).all(-1), :2]
        if len(where):
            camera = replace(camera, center=np.append(where.mean(0), camera.center[2]))
        cells = [
            labeled(_draw_cell(frame, view, skeleton, cell_px), frame.name(view)) for view in range(len(frame.images))
        ]
        views = tile(np.stack(cells), -(-len(cells) // NUM_ROWS))
        side = NUM_ROWS * cell_px
        turned = replace(camera, azimuth_deg=azimuth_deg)
        canvas = np.full((max(side, len(views)), views.shape[1] + side, 3), PAPER, np.uint8)
        canvas[: len(views), : views.shape[1]] = views
        canvas[:side, views.shape[1] :] = render_pose(frame.pose_world, frame.gt_world, skeleton, turned, side)
        yield titled(canvas, frame.title, *(["thin lines: ground truth"] if frame.gt_world is not None else []))


def _draw_cell(frame: PosedFrame, view: int, skeleton: Skeleton, cell_px: int) -> np.ndarray:
    """A view fitted into a square cell, the true pose thin and white over the predicted one."""
    image = frame.images[view]
    height, width = image.shape[:2]
    scale = cell_px / max(height, width)
    left, top = (cell_px - width * scale) / 2, (cell_px - height * scale) / 2
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    cell = np.zeros((cell_px, cell_px, 3), np.uint8)
    x, y = (cell_px - size[0]) // 2, (cell_px - size[1]) // 2
    cell[y : y + size[1], x : x + size[0]] = cv2.resize(image, size, interpolation=interpolation)
    joints = frame.joints[view] * scale + (left, top)
    draw_pose(cell, joints, np.isfinite(joints).all(-1), skeleton)
    if frame.gt_joints is not None:
        true = frame.gt_joints[view] * scale + (left, top)
        for edge in skeleton.edges:
            ends = true[list(edge)]
            if (np.abs(ends) < 4 * cell_px).all():  # NaN compares as false
                cv2.line(cell, *np.round(ends * 16).astype(int).tolist(), GT_COLOR, 1, cv2.LINE_AA, 4)
    return cell
