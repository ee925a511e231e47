"""Pictures of an own recording: labels in the views, and the video of the views beside the turning pose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from lib.core.drawing import skeleton_of
from lib.core.own_cameras.recording import Capture
from lib.dataset.own_cameras.videos import read_instants
from lib.multiviews.cameras import MIN_DEPTH_MM, project
from lib.multiviews.recording.robust_poses import RobustPoses
from lib.utils.drawing.animation import save_animation
from lib.utils.drawing.orbit_camera import OrbitCamera
from lib.utils.drawing.posed_frame import PosedFrame, draw_frames
from lib.utils.drawing.vis import draw_pose, labeled, save_image, tile, titled
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17
from lib.utils.transforms import crop_image, get_affine_transform, transform_points

SHEET_ROWS = 6
CELL_PX = 360
VIDEO_VIEW_PX = 640
VIDEO_CELL_PX = 384
START_DEG = 30.0  # of the turntable; per second
TURN_DEG = 20.0
_BOX_MARGIN = 1.35  # box around the pose / its extent
_REJECTED = (60, 60, 255)  # BGR
_NEAR_AXIS = 0.8  # cosine


def reproject(capture: Capture, pose_world: np.ndarray) -> np.ndarray:
    """Project poses (F, 17, 3) into the views: (F, V, 17, 2) px, NaN behind a camera."""
    joints_img, depth = project(pose_world[:, None], capture.cameras)
    return np.where((depth > MIN_DEPTH_MM)[..., None], joints_img, np.nan)


def save_label_sheet(path: Path, capture: Capture, poses: RobustPoses, rows: Sequence[int] | None = None) -> None:
    """Draw instants, one per row: kept joints, and detections that were rejected as crosses.

    Args:
        path: .jpg or .png.
        capture: with videos.
        poses: of its instants.
        rows: the instants; None = spread evenly.

    Raises:
        InputError: a video is damaged, or the disk refuses.
    """
    chosen = sorted(set(np.linspace(0, len(capture) - 1, SHEET_ROWS).astype(int).tolist() if rows is None else rows))
    joints_img = reproject(capture, poses.pose_world)
    skeleton = skeleton_of(H36M_17)
    cells = []
    for frame, pictures in zip(chosen, read_instants(capture.videos, capture.table[chosen]), strict=True):
        for view, picture in enumerate(pictures):
            joints = joints_img[frame, view]
            matrix = _box(joints)
            cell = crop_image(picture, matrix, (CELL_PX, CELL_PX))
            draw_pose(cell, transform_points(joints, matrix), poses.agrees[frame, view], skeleton)
            rejected = poses.points_img[frame, view, poses.rejected[frame, view]]
            places = transform_points(rejected, matrix)
            for x, y in np.round(places[(np.abs(places) < 2 * CELL_PX).all(-1)]).astype(int).tolist():
                cv2.drawMarker(cell, (x, y), _REJECTED, cv2.MARKER_TILTED_CROSS, 9, 2)
            words = [capture.rig.names[view], capture.title(frame)]
            if capture.table[frame, view] != capture.frame_numbers[frame]:
                words.append(f"its own frame {capture.table[frame, view]}")
            exchanged = poses.exchanged[frame, view]
            swapped = ", ".join(name for name, is_swapped in zip(poses.groups, exchanged, strict=True) if is_swapped)
            cells.append(labeled(cell, ", ".join([*words, *([f"exchanged: {swapped}"] if swapped else [])])))
    title = f"frames of {capture.rig.names[capture.reference]}'s video, from 0"
    notes = ("dots: joints that are kept", "crosses: detections that are rejected")
    save_image(path, titled(tile(np.stack(cells), len(capture.rig)), title, *notes))


def _box(joints: np.ndarray) -> np.ndarray:
    """Map the surroundings of joints (17, 2) to a cell: (2, 3); where none is known, the corner of the picture."""
    known = joints[np.isfinite(joints).all(-1)]
    low, high = (known.min(0), known.max(0)) if len(known) else (np.zeros(2), np.full(2, float(CELL_PX)))
    side = max(1.0, float((high - low).max())) * _BOX_MARGIN
    return get_affine_transform((low + high) / 2, np.array([side, side]) / 200.0, 0.0, (CELL_PX, CELL_PX))


def upright(pose_world: np.ndarray) -> np.ndarray:
    """Return the rotation (3, 3) that turns the world so that z is up.

    Calibrations differ: the person tells. The axis of the world along which he stands is up; if none is near, his own
    direction from the ankles to the neck; where they never are known, z as it is.

    Args:
        pose_world: (F, 17, 3).
    """
    feet = pose_world[:, H36M_17.indices(["rank", "lank"])].mean(1)
    standing = pose_world[:, H36M_17.index("neck")] - feet
    standing = standing[np.isfinite(standing).all(1)]
    if not len(standing):
        return np.eye(3)
    up = standing.mean(0)
    up = up / max(float(np.linalg.norm(up)), 1e-9)
    axis = int(np.abs(up).argmax())
    if abs(up[axis]) > _NEAR_AXIS:
        up = np.eye(3)[axis] * np.sign(up[axis])
    if up[2] > 1 - 1e-9:
        return np.eye(3)
    if up[2] < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    side = np.cross([0.0, 0.0, 1.0], up)
    side /= np.linalg.norm(side)
    return np.stack([side, np.cross(up, side), up])


def save_video(
    path: Path, capture: Capture, pose_world: np.ndarray, notes: Sequence[str] | None = None, rate: float | None = None
) -> int:
    """Write a video of all views with the projected poses beside the poses on a turntable.

    Args:
        path: .mp4 or .gif.
        capture: with videos.
        pose_world: (F, 17, 3) mm; NaN = not known.
        notes: F texts for the header; None = none.
        rate: frames per second; None = that of the recording.

    Returns:
        Number of frames.

    Raises:
        InputError: no videos, a damaged one, or the disk refuses.
    """
    if capture.videos is None:
        raise InputError("a video of the poses needs the videos: --videos")
    rate = capture.rate if rate is None else rate
    turned = pose_world @ upright(pose_world).T
    azimuths = START_DEG + TURN_DEG / rate * np.arange(len(capture))
    frames = draw_frames(
        _posed(capture, pose_world, turned, notes),
        skeleton_of(H36M_17),
        OrbitCamera.around(turned),
        azimuths,
        VIDEO_CELL_PX,
    )
    return save_animation(path, tqdm(frames, total=len(capture), desc=path.name, disable=None, leave=False), rate)


def _posed(
    capture: Capture, pose_world: np.ndarray, turned: np.ndarray, notes: Sequence[str] | None
) -> Iterator[PosedFrame]:
    joints_img = reproject(capture, pose_world)
    for frame, pictures in enumerate(read_instants(capture.videos, capture.table)):
        small, joints = [], []
        for view, picture in enumerate(pictures):
            factor = min(1.0, VIDEO_VIEW_PX / max(picture.shape[:2]))
            size = [max(1, round(side * factor)) for side in picture.shape[1::-1]]
            small.append(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
            joints.append((joints_img[frame, view] + 0.5) * factor - 0.5)
        note = "" if notes is None else f", {notes[frame]}"
        yield PosedFrame(
            f"{capture.title(frame)}{note}", small, np.stack(joints), turned[frame], names=capture.rig.names
        )
