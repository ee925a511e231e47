"""3D poses of the person in a recording: triangulate and smooth; limb lengths of the person."""

from dataclasses import replace

import numpy as np

from lib.core.own_cameras.recording import FLIP_PAIRS, Recording
from lib.core.own_cameras.recording_tables import require_consensus
from lib.multiviews.body import H36M_BODY
from lib.multiviews.pictorial.limb_prior import LimbPrior, PriorGrid, make_limb_prior
from lib.multiviews.recording.calibration_check import CalibrationCheck, check_calibration
from lib.multiviews.recording.robust_poses import (
    RobustPoses,
    RobustSettings,
    robust_poses,
    sizes_over_time,
    smooth_poses,
)
from lib.utils.errors import InputError

DEFAULT_SETTINGS = RobustSettings()
AGREEMENT = "agreement"  # robust triangulation of detections, which needs no heatmaps


def triangulate(recording: Recording, settings: RobustSettings = DEFAULT_SETTINGS) -> RobustPoses:
    """Triangulate each joint of each frame from the views that agree, with left/right swaps corrected.

    Raises:
        InputError: no detections, no joint on which the views agree, or a person who fits another unit of length.
    """
    poses = robust_poses(_points(recording), recording.cameras, H36M_BODY, FLIP_PAIRS, settings)
    require_consensus(poses, lambda: check_cameras(recording), recording.rig)
    return poses


def smooth(poses: RobustPoses, recording: Recording, settings: RobustSettings = DEFAULT_SETTINGS) -> RobustPoses:
    """Fit or smooth the trajectories as settings.cutoff says, and bridge short gaps.

    Frames that are not consecutive are neither smoothed nor bridged.
    """
    if not recording.is_continuous:
        settings = replace(settings, cutoff=None, max_gap=0)
    return smooth_poses(poses, recording.cameras, H36M_BODY, settings)


def check_cameras(recording: Recording) -> CalibrationCheck:
    """Check the calibration against the detections."""
    points_img = _points(recording)[..., :2]
    size = sizes_over_time(points_img)
    return check_calibration(points_img, recording.cameras, size, FLIP_PAIRS)


def _points(recording: Recording) -> np.ndarray:
    if recording.points is None:
        raise InputError("there are no detections; name them with --detections")
    return recording.points


def person_prior(poses: RobustPoses, grid: PriorGrid) -> LimbPrior:
    """Return the limb prior of the person: median lengths over the frames in which both ends of a limb are known.

    Args:
        poses: poses of the person.
        grid: first grid of the pictorial structure.

    Raises:
        InputError: a limb is never known at both ends.
    """
    lengths = H36M_BODY.limb_lengths(np.where(poses.known[..., None], poses.pose_world, np.nan))
    never = ~np.isfinite(lengths).any(0)
    if never.any():
        name = H36M_BODY.limb_names[int(never.argmax())]
        raise InputError(
            f"the views never agree on both ends of {name}, so its length is unknown; allow a larger --tolerance, or "
            "name a prior in PICT_STRUCT.PAIRWISE_FILE"
        )
    return make_limb_prior(np.nanmedian(lengths, 0), H36M_BODY, grid, np.nanstd(lengths, 0), len(lengths))
