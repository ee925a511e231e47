"""Check of a recording's videos against the motion of the joints: turned, mirrored, late, or another camera's."""

import cv2
import numpy as np

from lib.core.data_check.findings import Section
from lib.core.data_check.motion import SETTINGS, MotionWindow, check_motion
from lib.core.own_cameras.recording import Recording
from lib.dataset.own_cameras.videos import read_frames
from lib.multiviews.cameras import project

_MAX_SIDE_PX = 1000  # larger images are reduced, which bounds memory and the motion between frames


def check_recording_motion(recording: Recording, pose_world: np.ndarray) -> Section:
    """Compare the motion in the videos with the motion of the projected poses, where these move most.

    Args:
        recording: a recording with videos.
        pose_world: (F, J, 3) mm; NaN = unknown.

    Raises:
        InputError: a video is damaged.
    """
    if len(recording) < SETTINGS.min_window:
        return check_motion([])
    joints_img, _ = project(pose_world[:, None], recording.cameras)  # (F, V, J, 2)
    scales = np.minimum(1.0, _MAX_SIDE_PX / recording.rig.image_wh.max(1))  # (V,)
    points = joints_img * scales[:, None, None]
    moved = np.nan_to_num(np.linalg.norm(np.diff(points, axis=0), axis=-1)).sum((1, 2))
    length = min(SETTINGS.window, len(recording))
    total = np.convolve(moved, np.ones(length - 1), "valid")
    chosen = np.arange(length) + int(total.argmax())
    frames = [
        [_reduced(image, scale) for image, scale in zip(views, scales, strict=True)]
        for views in read_frames(recording.videos, recording.table[chosen])
    ]
    images = [np.stack(view) for view in zip(*frames, strict=True)]
    visible = np.isfinite(points[chosen]).all(-1)
    return check_motion([MotionWindow(points[chosen], visible, recording.rig.names, 1, images.__getitem__)])


def _reduced(image: np.ndarray, scale: float) -> np.ndarray:
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return gray if scale == 1 else cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
