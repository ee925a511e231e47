"""A frame as an image or in a video: the views with the projected 3D pose, next to the 3D pose."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from lib.utils.drawing.orbit_camera import GRID_MM, OrbitCamera, render_pose, render_sides
from lib.utils.drawing.vis import PAPER, Skeleton, draw_pose, labeled, save_image, tile, titled
from lib.utils.errors import check_shape

FIGURE_CELL_PX = 384
NUM_ROWS = 2  # of views
_GT_COLOR = (255, 255, 255)  # BGR, in the views


@dataclass(frozen=True)
class PosedFrame:
    """A frame with its 3D pose. Images of the V views may differ in size.

    Attributes:
        title: text above.
        images: V arrays (h, w, 3) uint8 BGR.
        joints: (V, K, 2) projected pose, px of the images; NaN behind a camera.
        pose_world: (K, 3) mm, z up.
        gt_joints: (V, K, 2) projected gt, or None.
        gt_world: (K, 3) mm, or None.
        names: names of the views; () = numbers from 1.
    """

    title: str
    images: Sequence[np.ndarray]
    joints: np.ndarray
    pose_world: np.ndarray
    gt_joints: np.ndarray | None = None
    gt_world: np.ndarray | None = None
    names: Sequence[str] = ()

    def name(self, view: int) -> str:
        """Return the label of a view."""
        return self.names[view] if self.names else f"view {view + 1}"

    def check(self, where: str, num_joints: int) -> None:
        """Raise an InputError, which names `where`, if the arrays do not fit together or have other than K joints."""
        num_views = len(self.images)
        for view, image in enumerate(self.images):
            check_shape(f"{where}: image of {self.name(view)}", image.shape, ("h", "w", 3))
        for name, joints in (("joints", self.joints), ("gt_joints", self.gt_joints)):
            if joints is not None:
                check_shape(f"{where}: {name}", joints.shape, (num_views, num_joints, 2))
        for name, pose in (("pose_world", self.pose_world), ("gt_world", self.gt_world)):
            if pose is not None:
                check_shape(f"{where}: {name}", pose.shape, (num_joints, 3))


def save_pose_figure(path: str | os.PathLike, frame: PosedFrame, skeleton: Skeleton) -> None:
    """Write a frame as .png or .jpg, atomically, with the 3D pose from the front and from the side.

    Args:
        path: file to write.
        frame: frame to draw.
        skeleton: skeleton of the K joints.

    Raises:
        InputError: arrays that do not fit together, an unknown suffix, or the disk is full.
    """
    frame.check(str(path), len(skeleton.names))
    sides = render_sides(frame.pose_world, frame.gt_world, skeleton, FIGURE_CELL_PX)
    save_image(path, _compose(frame, skeleton, FIGURE_CELL_PX, tile(np.stack(sides), 1)))


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
        shown = reference[np.isfinite(reference).all(-1), :2]
        if len(shown):
            camera = replace(camera, center=np.append(shown.mean(0), camera.center[2]))
        turned = replace(camera, azimuth_deg=azimuth_deg)
        pose = render_pose(frame.pose_world, frame.gt_world, skeleton, turned, NUM_ROWS * cell_px)
        yield _compose(frame, skeleton, cell_px, pose)


def _compose(frame: PosedFrame, skeleton: Skeleton, cell_px: int, pose_image: np.ndarray) -> np.ndarray:
    """Tile the views in rows, put the image of the 3D pose to the right, and the title above."""
    num_views = len(frame.images)
    cells = [labeled(_draw_view(frame, view, skeleton, cell_px), frame.name(view)) for view in range(num_views)]
    views = tile(np.stack(cells), -(-num_views // NUM_ROWS))
    height = max(len(views), len(pose_image))
    canvas = np.full((height, views.shape[1] + pose_image.shape[1], 3), PAPER, np.uint8)
    canvas[: len(views), : views.shape[1]] = views
    canvas[: len(pose_image), views.shape[1] :] = pose_image
    notes = [f"floor grid: {GRID_MM:.0f} mm", *(["thin lines: ground truth"] if frame.gt_world is not None else [])]
    return titled(canvas, frame.title, *notes)


def _draw_view(frame: PosedFrame, view: int, skeleton: Skeleton, cell_px: int) -> np.ndarray:
    """Fit a view into a square cell and draw the pose, with the gt thin and white over it."""
    image = frame.images[view]
    height, width = image.shape[:2]
    scale = cell_px / max(height, width)
    offset = (cell_px - scale * np.array([width, height]) + scale - 1) / 2  # pixel centers of cv2.resize
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    cell = np.zeros((cell_px, cell_px, 3), np.uint8)
    x, y = (cell_px - size[0]) // 2, (cell_px - size[1]) // 2
    cell[y : y + size[1], x : x + size[0]] = cv2.resize(image, size, interpolation=interpolation)
    joints = frame.joints[view] * scale + offset
    draw_pose(cell, joints, np.isfinite(joints).all(-1), skeleton)
    if frame.gt_joints is not None:
        gt = frame.gt_joints[view] * scale + offset
        for edge in skeleton.edges:
            ends = gt[list(edge)]
            if (np.abs(ends) < 4 * cell_px).all():  # false for NaN
                cv2.line(cell, *np.round(ends * 16).astype(int).tolist(), _GT_COLOR, 1, cv2.LINE_AA, 4)
    return cell
