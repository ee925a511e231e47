"""3D poses from arrays of 2D points, without files."""

import numpy as np

from lib.core.own_cameras.recording import FLIP_PAIRS
from lib.dataset.own_cameras.keypoint_sets import to_h36m
from lib.multiviews.body import H36M_BODY
from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.peak_rays import frame_blocks
from lib.multiviews.recording.robust_poses import RobustPoses, RobustSettings, robust_poses, smooth_poses
from lib.utils.errors import InputError, check_shape
from lib.utils.joints import H36M_17

_DEFAULTS = RobustSettings()
_BLOCK = 1000  # frames; limits memory


def estimate_poses(
    points: np.ndarray, cameras: Cameras, point_set: str = "h36m17", settings: RobustSettings = _DEFAULTS
) -> RobustPoses:
    """Estimate the poses of one person in consecutive, synchronized frames.

    Args:
        points: (F, V, K, 3) x, y in image px and confidence; NaN or confidence 0 = not seen.
        cameras: leading axis (V,), lengths in mm.
        point_set: the K points, a name in POINT_SETS.
        settings: consensus between views, and smoothing.

    Returns:
        The poses of the 17 joints of Human3.6M.

    Raises:
        InputError: shapes disagree, the set is unknown, a setting is out of range, or no view shows half of the joints.
    """
    points = np.asarray(points)
    sizes = check_shape("points", points.shape, ("F", "V", "K", 3))
    check_shape("cameras.T", cameras.T.shape, (sizes["V"], 3))
    if not sizes["F"] or sizes["V"] < 2:
        raise InputError(f"points: expected at least 1 frame and 2 views, received {sizes['F']} and {sizes['V']}")
    over_frames = cameras.map(lambda array: np.broadcast_to(array, (sizes["F"], *array.shape)))
    joints = np.empty((sizes["F"], sizes["V"], len(H36M_17), 3), np.float32)
    for frames in frame_blocks(sizes["F"], 1, _BLOCK):
        joints[frames] = to_h36m(points[frames], point_set)
    poses = robust_poses(joints, over_frames, H36M_BODY, FLIP_PAIRS, settings)
    return smooth_poses(poses, over_frames, H36M_BODY, settings)
