"""Images of a recording: the sheet of its labels, and the video of the views next to the 3D pose."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from lib.core.drawing import skeleton_of
from lib.core.own_cameras.recording import Recording
from lib.dataset.own_cameras.videos import read_frames
from lib.multiviews.cameras import MIN_DEPTH_MM, project
from lib.multiviews.geometry.upright import upright
from lib.multiviews.recording.robust_poses import RobustPoses
from lib.utils.drawing.animation import save_animation
from lib.utils.drawing.orbit_camera import OrbitCamera
from lib.utils.drawing.posed_frame import PosedFrame, draw_frames
from lib.utils.drawing.vis import draw_pose, labeled, save_image, tile, titled
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17
from lib.utils.transforms import SCALE_UNIT_PX, crop_image, get_affine_transform, transform_points

SHEET_ROWS = 6
CELL_PX = 360
VIDEO_CELL_PX = 384
TURN_DEG_PER_S = 20.0  # of the orbiting camera
_CROP_MARGIN = 1.35  # crop side length / extent of the pose
_REJECTED_COLOR = (60, 60, 255)  # BGR


def reproject(recording: Recording, pose_world: np.ndarray) -> np.ndarray:
    """Project poses (N, 17, 3) into the views: (N, V, 17, 2) px, NaN behind a camera."""
    joints_img, depth = project(pose_world[:, None], recording.rig.over_frames(len(pose_world)))
    return np.where((depth > MIN_DEPTH_MM)[..., None], joints_img, np.nan)


def save_label_sheet(path: Path, recording: Recording, poses: RobustPoses, rows: Sequence[int] | None = None) -> None:
    """Draw one row per frame: kept joints as dots, rejected detections as crosses.

    Args:
        path: .jpg or .png.
        recording: recording with videos.
        poses: its poses.
        rows: indices of the frames; None = evenly spread over the frames with a pose.

    Raises:
        InputError: a video is damaged, or the disk is full.
    """
    posed = np.flatnonzero(np.isfinite(poses.pose_world).all(-1).any(1))
    even = posed[np.linspace(0, len(posed) - 1, SHEET_ROWS).astype(int)] if len(posed) else np.zeros(1, int)
    chosen = sorted(set(even.tolist() if rows is None else rows))
    joints_img = reproject(recording, poses.pose_world[chosen])
    skeleton = skeleton_of(H36M_17)
    cells = []
    shown = zip(chosen, joints_img, read_frames(recording.videos, recording.table[chosen]), strict=True)
    for frame, projected, images in shown:
        for view, (image, joints) in enumerate(zip(images, projected, strict=True)):
            matrix = _to_cell(joints)
            cell = crop_image(image, matrix, (CELL_PX, CELL_PX))
            draw_pose(cell, transform_points(joints, matrix), poses.agrees[frame, view], skeleton)
            rejected = transform_points(poses.points_img[frame, view, poses.rejected[frame, view]], matrix)
            for x, y in np.round(rejected[(np.abs(rejected) < 2 * CELL_PX).all(-1)]).astype(int).tolist():
                cv2.drawMarker(cell, (x, y), _REJECTED_COLOR, cv2.MARKER_TILTED_CROSS, 9, 2)
            cells.append(labeled(cell, _cell_label(recording, poses, frame, view)))
    title = f"frames of {recording.rig.names[recording.reference]}'s video, from 0"
    notes = ("dots: kept joints", "crosses: rejected detections")
    save_image(path, titled(tile(np.stack(cells), len(recording.rig)), title, *notes))


def _cell_label(recording: Recording, poses: RobustPoses, frame: int, view: int) -> str:
    parts = [recording.rig.names[view], recording.title(frame)]
    if recording.table[frame, view] != recording.frame_numbers[frame]:
        parts.append(f"video frame {recording.table[frame, view]}")
    swapped = [
        name for name, is_swapped in zip(poses.limb_pairs, poses.swapped[frame, view], strict=True) if is_swapped
    ]
    return ", ".join([*parts, *([f"swapped: {', '.join(swapped)}"] if swapped else [])])


def _to_cell(joints: np.ndarray) -> np.ndarray:
    """Return the affine map (2, 3) from the image around joints (17, 2) to a cell; without joints, the image corner."""
    known = joints[np.isfinite(joints).all(-1)]
    low, high = (known.min(0), known.max(0)) if len(known) else (np.zeros(2), np.full(2, float(CELL_PX)))
    side = max(1.0, float((high - low).max())) * _CROP_MARGIN
    return get_affine_transform((low + high) / 2, np.full(2, side / SCALE_UNIT_PX), 0.0, (CELL_PX, CELL_PX))


def save_video(path: Path, recording: Recording, pose_world: np.ndarray, notes: Sequence[str] | None = None) -> int:
    """Write a video of all views with the projected poses, next to the 3D pose seen by an orbiting camera.

    Args:
        path: .mp4 or .gif.
        recording: recording with videos.
        pose_world: (F, 17, 3) mm; NaN = unknown.
        notes: F texts for the header; None = none.

    Returns:
        Number of frames.

    Raises:
        InputError: there are no videos, a video is damaged, or the disk is full.
    """
    if recording.videos is None:
        raise InputError("a video of the poses needs the videos: --videos")
    upright_pose = pose_world @ upright(pose_world).T
    camera = OrbitCamera.around(upright_pose)
    azimuths = camera.azimuth_deg + TURN_DEG_PER_S / recording.rate * np.arange(len(recording))
    posed = _posed_frames(recording, pose_world, upright_pose, notes)
    frames = draw_frames(posed, skeleton_of(H36M_17), camera, azimuths, VIDEO_CELL_PX)
    bar = tqdm(frames, path.name, len(recording), disable=None, leave=False)
    return save_animation(path, bar, recording.rate)


def _posed_frames(
    recording: Recording, pose_world: np.ndarray, upright_pose: np.ndarray, notes: Sequence[str] | None
) -> Iterator[PosedFrame]:
    for frame, images in enumerate(read_frames(recording.videos, recording.table)):
        title = ", ".join([recording.title(frame), *([] if notes is None else [notes[frame]])])
        joints_img = reproject(recording, pose_world[frame : frame + 1])[0]
        yield PosedFrame(title, images, joints_img, upright_pose[frame], names=recording.rig.names)
