"""Contact sheet: the views with heatmaps and joints, and the 3D pose from two sides, one row per frame."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lib.utils.drawing.orbit_camera import GRID_MM, render_sides
from lib.utils.drawing.vis import (
    LABEL_PX,
    PAPER,
    Skeleton,
    draw_pose,
    labeled,
    overlay_heatmap,
    save_image,
    tile,
    titled,
)
from lib.utils.errors import InputError, check_shape

CELL_PX = 256  # longest side of a cell
FULL_SIZE_VIEWS = 12  # sheets with more views have smaller cells, so that the file stays below 2 MB


@dataclass(frozen=True)
class SheetFrame:
    """One row of a contact sheet.

    Attributes:
        title: label of the row.
        crops: (V, h, w, 3) uint8 BGR network inputs.
        heatmaps: (V, J, H, W).
        joints_crop: (V, J, 2) predicted joints, px of the crop.
        pose_world: (K, 3) predicted pose, mm, z up.
        gt_world: (K, 3) gt, mm, or None.
    """

    title: str
    crops: np.ndarray
    heatmaps: np.ndarray
    joints_crop: np.ndarray
    pose_world: np.ndarray
    gt_world: np.ndarray | None = None

    def check(self, where: str, num_views: int, num_joints: int, num_pose_joints: int) -> None:
        """Raise an InputError, which names `where`, if the arrays do not fit together."""
        check_shape(f"{where}: crops", self.crops.shape, (num_views, "h", "w", 3))
        check_shape(f"{where}: heatmaps", self.heatmaps.shape, (num_views, num_joints, "H", "W"))
        check_shape(f"{where}: joints_crop", self.joints_crop.shape, (num_views, num_joints, 2))
        for name, pose in (("pose_world", self.pose_world), ("gt_world", self.gt_world)):
            if pose is not None:
                check_shape(f"{where}: {name}", pose.shape, (num_pose_joints, 3))


def save_contact_sheet(
    path: str | os.PathLike, frames: Sequence[SheetFrame], skeleton_2d: Skeleton, skeleton_3d: Skeleton
) -> None:
    """Write a contact sheet as .png or .jpg, atomically.

    Args:
        path: file to write.
        frames: rows with the same number of views.
        skeleton_2d: skeleton of the J joints in the views.
        skeleton_3d: skeleton of the K joints of the poses.

    Raises:
        InputError: no frames, arrays that do not fit together, or the disk is full.
    """
    if not frames:
        raise InputError(f"{path}: no frames to draw")
    num_views, height, width = frames[0].crops.shape[:3]
    for row, frame in enumerate(frames):
        frame.check(f"{path}, row {row}", num_views, len(skeleton_2d.names), len(skeleton_3d.names))
    scale = CELL_PX / max(height, width) * min(1.0, (FULL_SIZE_VIEWS / (len(frames) * num_views)) ** 0.5)
    cell_wh = (round(width * scale), round(height * scale))
    cells = []
    for frame in frames:
        for view in range(num_views):
            title = f"{frame.title}, view 1" if view == 0 else f"view {view + 1}"
            cells.append(labeled(_draw_view(frame, view, skeleton_2d, cell_wh), title))
        sides = render_sides(frame.pose_world, frame.gt_world, skeleton_3d, min(cell_wh))
        cells += [_centered(side, cell_wh) for side in sides]
    has_gt = any(frame.gt_world is not None for frame in frames)
    notes = [f"floor grid: {GRID_MM:.0f} mm", *(["thin gray lines: ground truth"] if has_gt else [])]
    save_image(path, titled(tile(np.stack(cells), num_views + 2), "heatmaps and joints, 3D pose", *notes))


def _draw_view(frame: SheetFrame, view: int, skeleton: Skeleton, cell_wh: tuple[int, int]) -> np.ndarray:
    crop = frame.crops[view]
    scale = np.array(cell_wh) / crop.shape[1::-1]
    image = overlay_heatmap(cv2.resize(crop, cell_wh, interpolation=cv2.INTER_LINEAR), frame.heatmaps[view].max(0))
    draw_pose(image, frame.joints_crop[view] * scale, np.ones(len(skeleton.names), bool), skeleton)
    return image


def _centered(image: np.ndarray, cell_wh: tuple[int, int]) -> np.ndarray:
    """Center a labeled square image in a labeled cell."""
    width, height = cell_wh
    cell = np.full((LABEL_PX + height, width, 3), PAPER, np.uint8)
    y, x = (cell.shape[0] - image.shape[0]) // 2, (width - image.shape[1]) // 2
    cell[y : y + image.shape[0], x : x + image.shape[1]] = image
    return cell
