"""Contestants of bench_peers.py: arrays of 2D points in, 3D poses out. Peers are imported when they are called."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np
from peer_scenes import IMAGE_PX, RATE
from scipy.spatial.transform import Rotation

from lib.core.own_cameras.array_poses import estimate_poses
from lib.multiviews.body import H36M_BODY
from lib.multiviews.cameras import Cameras
from lib.multiviews.recording.robust_poses import RobustPoses, RobustSettings

Contestant = Callable[[np.ndarray, Cameras], np.ndarray]  # points (F, V, 17, 3) px, cameras (V,) -> (F, 17, 3) mm
MM_PER_M = 1000.0


def ours(points: np.ndarray, cameras: Cameras) -> RobustPoses:
    """Estimate with the default options of run/demo/multiview.py."""
    return estimate_poses(points, cameras)


def ours_filtered(points: np.ndarray, cameras: Cameras) -> np.ndarray:
    """Estimate with --smooth 6."""
    return estimate_poses(points, cameras, settings=RobustSettings(cutoff=6 / RATE)).pose_world


def ours_single_frames(points: np.ndarray, cameras: Cameras) -> np.ndarray:
    """Estimate with --smooth 0."""
    return estimate_poses(points, cameras, settings=RobustSettings(cutoff=None)).pose_world


def opencv_model(camera: Cameras) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return matrix, distortion, rotation and translation (mm) of one camera in OpenCV's terms."""
    matrix = np.array([[camera.f[0], 0, camera.c[0]], [0, camera.f[1], camera.c[1]], [0, 0, 1.0]])
    distortion = np.array([*camera.k[:2], *camera.p, camera.k[2]])
    return matrix, distortion, camera.R, -camera.R @ camera.T


def anipose_group(cameras: Cameras) -> object:
    """Return aniposelib's CameraGroup."""
    from aniposelib.cameras import Camera, CameraGroup

    group = []
    for view in range(len(cameras)):
        matrix, distortion, R, t = opencv_model(cameras[view])
        size = (IMAGE_PX, IMAGE_PX)
        group.append(Camera(matrix, distortion, size, Rotation.from_matrix(R).as_rotvec(), t, f"cam{view}"))
    return CameraGroup(group)


def anipose(points: np.ndarray, cameras: Cameras) -> np.ndarray:
    """Triangulate linearly from all views."""
    num_frames, num_views, num_joints, _ = points.shape
    flat = np.ascontiguousarray(points[..., :2].swapaxes(0, 1)).reshape(num_views, -1, 2)
    return anipose_group(cameras).triangulate(flat).reshape(num_frames, num_joints, 3)


def anipose_optimized(points: np.ndarray, cameras: Cameras) -> np.ndarray:
    """Optimize over time and limb lengths, with settings chosen once for these scenes."""
    return anipose_group(cameras).triangulate_optim(
        np.ascontiguousarray(points[..., :2].swapaxes(0, 1)),
        constraints=list(H36M_BODY.edges),
        scale_smooth=4,
        scale_length=2,
        reproj_error_threshold=5,
        n_deriv_smooth=3,
        scores=np.nan_to_num(points[..., 2].swapaxes(0, 1)),
    )


def pose2sim(points: np.ndarray, cameras: Cameras) -> np.ndarray:
    """Triangulate with Pose2Sim's choice of cameras; thresholds are its defaults."""
    from Pose2Sim.triangulation import triangulation_from_best_cameras

    settings = {
        "reproj_error_threshold_triangulation": 15,
        "min_cameras_for_triangulation": 2,
        "handle_LR_swap": False,
        "undistort_points": False,
    }
    calibration: dict[str, list] = {"K": [], "dist": [], "R": [], "T": [], "optim_K": []}
    projections = []
    for view in range(len(cameras)):
        matrix, distortion, R, t = opencv_model(cameras[view])
        values = (matrix, distortion, Rotation.from_matrix(R).as_rotvec(), t / MM_PER_M, matrix)
        for key, value in zip(calibration, values, strict=True):
            calibration[key].append(value)
        projections.append(matrix @ np.column_stack([R, t / MM_PER_M]))
    confidence = np.nan_to_num(points[..., 2:])
    points = np.where(confidence < 0.3, np.nan, np.append(points[..., :2], confidence, -1))  # its likelihood_threshold
    result = np.empty((len(points), points.shape[2], 3))
    for frame, joint in itertools.product(*map(range, result.shape[:2])):
        one = points[frame, :, joint].T.copy()
        result[frame, joint], *_ = triangulation_from_best_cameras(
            {"triangulation": settings}, one, one.copy(), projections, calibration
        )
    return result * MM_PER_M


def pose2sim_filtered(points: np.ndarray, cameras: Cameras) -> np.ndarray:
    """Add its usual next steps: interpolation, Hampel filter, Butterworth filter of 6 Hz."""
    import pandas
    from Pose2Sim.common import interpolate_zeros_nans
    from Pose2Sim.filtering import butterworth_filter_1d, hampel_filter

    pose = pose2sim(points, cameras)
    filters = {"filtering": {"butterworth": {"order": 4, "cut_off_frequency": 6}}}
    table = pandas.DataFrame(pose.reshape(len(pose), -1))
    table = table.apply(interpolate_zeros_nans, axis=0, args=[20, "linear"]).ffill(axis=0).bfill(axis=0)
    table = table.apply(hampel_filter, axis=0)
    table = table.apply(functools.partial(butterworth_filter_1d, filters, RATE), axis=0)
    return table.to_numpy().reshape(pose.shape)


OURS: dict[str, Contestant] = {
    "ours": lambda points, cameras: ours(points, cameras).pose_world,
    "ours, --smooth 6": ours_filtered,
    "ours, --smooth 0": ours_single_frames,
}
PEERS: dict[str, Contestant] = {
    "aniposelib, all views": anipose,
    "aniposelib, optimized": anipose_optimized,
    "Pose2Sim": pose2sim,
    "Pose2Sim, filtered": pose2sim_filtered,
}
