"""Frames of an animation: the views with the 3D pose projected into them beside the pose on a turntable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np

from lib.utils.drawing.pose_figure import NUM_ROWS, PosedFrame
from lib.utils.drawing.turntable import Stage, draw_turntable
from lib.utils.drawing.vis import PAPER, Skeleton, draw_pose, labelled, tile, titled

TRUTH = (255, 255, 255)  # BGR, over the views


def draw_frames(
    frames: Iterable[PosedFrame], skeleton: Skeleton, stage: Stage, azimuths_deg: Iterable[float], cell_px: int
) -> Iterator[np.ndarray]:
    """Draw frames one after the other; the turntable follows the person, its floor stays in the world.

    Args:
        frames: all with the same number of views.
        skeleton: of the K joints.
        stage: what the turntable shows.
        azimuths_deg: per frame the direction of the turntable's camera.
        cell_px: side of a view's cell; the turntable takes a square of two.

    Yields:
        (h, w, 3) uint8 BGR, all of one size.
    """
    for frame, azimuth_deg in zip(frames, azimuths_deg, strict=False):
        reference = frame.pose_world if frame.truth_world is None else frame.truth_world
        where = reference[np.isfinite(reference).all(-1), :2]
        if len(where):
            stage = replace(stage, centre=np.append(where.mean(0), stage.centre[2]))
        cells = [
            labelled(_draw_view(frame, view, skeleton, cell_px), frame.name(view))
            for view in range(len(frame.pictures))
        ]
        num_columns = -(-len(cells) // NUM_ROWS)
        views = tile(np.stack(cells), num_columns)
        side = NUM_ROWS * cell_px
        turntable = draw_turntable(frame.pose_world, frame.truth_world, skeleton, stage, azimuth_deg, side)
        canvas = np.full((max(side, len(views)), views.shape[1] + side, 3), PAPER, np.uint8)
        canvas[: len(views), : views.shape[1]] = views
        canvas[:side, views.shape[1] :] = turntable
        yield titled(canvas, frame.title, *(["thin lines: ground truth"] if frame.truth_world is not None else []))


def _draw_view(frame: PosedFrame, view: int, skeleton: Skeleton, cell_px: int) -> np.ndarray:
    """A view fitted into a square cell, the true pose thin and white over the predicted one."""
    picture = frame.pictures[view]
    height, width = picture.shape[:2]
    scale = cell_px / max(height, width)
    left, top = (cell_px - width * scale) / 2, (cell_px - height * scale) / 2
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    cell = np.zeros((cell_px, cell_px, 3), np.uint8)
    x, y = (cell_px - size[0]) // 2, (cell_px - size[1]) // 2
    cell[y : y + size[1], x : x + size[0]] = cv2.resize(picture, size, interpolation=interpolation)
    joints = frame.joints[view] * scale + (left, top)
    draw_pose(cell, joints, np.isfinite(joints).all(-1), skeleton)
    if frame.true_joints is not None:
        true = frame.true_joints[view] * scale + (left, top)
        for edge in skeleton.edges:
            ends = true[list(edge)]
            if (np.abs(ends) < 4 * cell_px).all():  # NaN compares as false
                cv2.line(cell, *np.round(ends * 16).astype(int).tolist(), TRUTH, 1, cv2.LINE_AA, 4)
    return cell
