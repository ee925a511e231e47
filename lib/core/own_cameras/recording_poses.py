"""3D poses of the person in a recording: triangulate, smooth, or a 3D method on a network's heatmaps."""

from dataclasses import replace
from typing import Any

import numpy as np

from lib.core.own_cameras.recording import FLIP_PAIRS, Recording
from lib.core.own_cameras.recording_tables import require_consensus
from lib.core.pose3d.frames import FrameBatch, Poses
from lib.core.pose3d.make_prior import pictorial_settings
from lib.core.pose3d.methods import METHODS, make_context, run_method
from lib.multiviews.body import H36M_BODY
from lib.multiviews.cameras import Cameras
from lib.multiviews.pictorial.cpu_backend import make_cpu_backend
from lib.multiviews.pictorial.limb_prior import LimbPrior, PriorGrid, make_limb_prior
from lib.multiviews.recording.calibration_check import CalibrationCheck, check_calibration
from lib.multiviews.recording.robust_poses import (
    RobustPoses,
    RobustSettings,
    robust_poses,
    sizes_over_time,
    smooth_poses,
)
from lib.utils.errors import InputError, unknown_name
from lib.utils.transforms import image_to_heatmap_affine

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


def poses_by_method(
    recording: Recording, prediction: Any, config: Any, method: str, poses: RobustPoses, prior: LimbPrior | None = None
) -> RobustPoses:
    """Replace triangulated poses by the poses of a 3D method on the network's heatmaps.

    Args:
        recording: the recording with the network's joints.
        prediction: Prediction of the network (network.py).
        config: configuration of the network; the sections NETWORK, PICT_STRUCT and TRIANGULATE are read.
        method: name in METHODS.
        poses: triangulated poses of the network's joints; the inliers are kept.
        prior: limb prior; None = person_prior() of `poses`.

    Raises:
        InputError: the method is unknown, or no prior can be made.
    """
    if method not in METHODS:
        raise unknown_name("method", method, [AGREEMENT, *METHODS], "--method")
    if METHODS[method].needs_prior and prior is None:
        prior = person_prior(poses, pictorial_settings(config.PICT_STRUCT).first_grid)
    found = run_on_prediction(prediction, recording.cameras, config, method, prior)
    return poses.with_pose(found.pose_world, recording.cameras)


def run_on_prediction(prediction: Any, cameras: Cameras, config: Any, method: str, prior: LimbPrior | None) -> Poses:
    """Run a 3D method on the network's heatmaps of F frames of one person.

    Args:
        prediction: Prediction of the network (network.py).
        cameras: leading axes (F, V).
        config: configuration of the network; the sections NETWORK, PICT_STRUCT and TRIANGULATE are read.
        method: name in METHODS.
        prior: limb prior; None if the method needs none.
    """
    batch = FrameBatch(
        heatmaps=prediction.heatmaps,
        locations=prediction.locations,
        cameras=cameras,
        image_to_heatmap=image_to_heatmap_affine(
            prediction.center, prediction.scale, config.NETWORK.IMAGE_SIZE, config.NETWORK.HEATMAP_SIZE
        ),
        center=prediction.center,
        single_view_peaks=prediction.single_view_peaks,
        subject=np.zeros(len(prediction.heatmaps), int),
    )
    return run_method(METHODS[method], [batch], make_context(config, batch.body, prior, make_cpu_backend()))
