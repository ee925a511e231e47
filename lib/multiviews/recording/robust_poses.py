"""3D poses of one person over time from 2D detections with swaps and outliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.left_right import FlipPairs, limb_pairs, swap, swapped_limbs_over_time, swapped_views
from lib.multiviews.keypoints.peak_rays import peak_rays
from lib.multiviews.keypoints.view_consensus import ConsistentPoints, consistent_points, reprojection_error
from lib.multiviews.recording.smoothing import smooth_trajectories
from lib.utils.errors import InputError, check_shape

_CLEAR_SWAP = 2.0  # a late swap must reduce the median error of a limb pair by this factor


@dataclass(frozen=True)
class RobustSettings:
    """Consensus between views, and smoothing.

    Attributes:
        tolerance: largest reprojection error of an inlier, share of the person's size in the image.
        min_views: views that must agree on a joint; None = 3, or 2 with two cameras.
        min_confidence: detections below it are ignored.
        cutoff: frequency that smoothing damps by half, cycles per frame; None = bridge gaps only.

    Raises:
        InputError: the tolerance is out of range.
    """

    tolerance: float = 0.03
    min_views: int | None = None
    min_confidence: float = 0.1
    cutoff: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 1:
            raise InputError(
                f"tolerance: expected a share of the person's size between 0 and 1, received {self.tolerance:g}"
            )


@dataclass(frozen=True)
class RobustPoses:
    """Poses of one person in F frames, and the detections they are made from.

    Attributes:
        pose_world: (F, J, 3) mm; NaN = unknown.
        known: (F, J) bool, enough views agree on the joint.
        points_img: (F, V, J, 2) detections after swaps, px.
        agrees: (F, V, J) bool, inliers.
        error: (F, V, J) reprojection error of the pose, px; NaN without pose or detection.
        swapped: (F, V, limb pairs) bool, left and right of the detector were swapped.
        limb_pairs: names of the joints that are swapped together, e.g. "hip, kne, ank".
    """

    pose_world: np.ndarray
    known: np.ndarray
    points_img: np.ndarray
    agrees: np.ndarray
    error: np.ndarray
    swapped: np.ndarray
    limb_pairs: tuple[str, ...]

    @property
    def positions(self) -> np.ndarray:
        """(F, 3) mm, root of the person, or the mean of the known joints where the root is unknown.

        Frames without any joint take the position of the nearest frame that has one.
        """
        known = np.isfinite(self.pose_world).all(-1)  # (F, J)
        mean = np.where(known[..., None], self.pose_world, 0.0).sum(1) / known.sum(1).clip(1)[:, None]
        positions = np.where(known[:, :1], self.pose_world[:, 0], mean)
        found = np.flatnonzero(known.any(1))
        nearest = np.abs(np.arange(len(known))[:, None] - found).argmin(1)
        return positions[found[nearest]]

    @property
    def rejected(self) -> np.ndarray:
        """(F, V, J) bool, outliers: detections that do not agree with the pose."""
        return np.isfinite(self.points_img).all(-1) & ~self.agrees

    def with_pose(self, pose_world: np.ndarray, cameras: Cameras) -> RobustPoses:
        """Replace the poses by (F, J, 3) mm of another method; inliers stay, every finite joint counts as known."""
        size = sizes_over_time(self.points_img)
        error = reprojection_error(pose_world, self.points_img, cameras, size) * size[..., None]
        return replace(self, pose_world=pose_world, known=np.isfinite(pose_world).all(-1), error=error)


def person_sizes(points_img: np.ndarray) -> np.ndarray:
    """Return the longer side of the box around joints (..., J, 2), px; NaN if fewer than half of them are seen."""
    seen = np.isfinite(points_img).all(-1, keepdims=True)
    low = np.where(seen, points_img, np.inf).min(-2)
    high = np.where(seen, points_img, -np.inf).max(-2)
    enough = seen[..., 0].sum(-1) * 2 >= points_img.shape[-2]
    with np.errstate(invalid="ignore"):
        return np.where(enough, (high - low).max(-1), np.nan)


def sizes_over_time(points_img: np.ndarray, names: Sequence[str] = ()) -> np.ndarray:
    """Return person_sizes() of (F, V, J, 2) px; frames without a size get the median of their view.

    Args:
        points_img: detections; NaN = not seen.
        names: names of the views for error messages; () = numbers from 1.

    Returns:
        (F, V) px.

    Raises:
        InputError: a view never shows half of the joints.
    """
    sizes = person_sizes(points_img)
    empty = ~np.isfinite(sizes).any(0)
    if empty.any():
        view = int(empty.argmax())
        raise InputError(f"view {names[view] if names else view + 1}: no frame shows half of the person's joints")
    return np.where(np.isfinite(sizes), sizes, np.nanmedian(sizes, 0))


def robust_poses(
    points: np.ndarray,
    cameras: Cameras,
    body: HumanBody,
    flip_pairs: FlipPairs,
    settings: RobustSettings = RobustSettings(),
) -> RobustPoses:
    """Correct left/right swaps and triangulate each joint from the largest set of views that agree.

    Args:
        points: (F, V, J, 3) x, y in image px and confidence, consecutive frames; NaN = not seen.
        cameras: leading axes (F, V).
        body: skeleton of the J joints.
        flip_pairs: (right, left) joints.
        settings: tolerance, min_views and min_confidence.

    Returns:
        The poses; NaN where too few views agree.

    Raises:
        InputError: shapes disagree, or `min_views` is out of range.
    """
    sizes = check_shape("points", points.shape, ("F", "V", body.num_joints, 3))
    check_shape("cameras.T", cameras.T.shape, (sizes["F"], sizes["V"], 3))
    min_views = min(3, sizes["V"]) if settings.min_views is None else settings.min_views
    seen = np.isfinite(points).all(-1) & (points[..., 2] >= settings.min_confidence)
    points_img = np.where(seen[..., None], points[..., :2], np.nan)
    size = sizes_over_time(points_img)
    groups = limb_pairs(body, flip_pairs)
    tolerance = settings.tolerance

    def consensus(swapped: np.ndarray) -> ConsistentPoints:
        return consistent_points(swap(points_img, swapped, groups), cameras, size, tolerance, min_views)

    rays = peak_rays(points_img[:, :, :, None], np.ones((*seen.shape, 1)), cameras, tolerance * size)
    swapped = swapped_views(rays, cameras, groups)
    swapped ^= swapped_limbs_over_time(consensus(swapped).points_world, swapped, groups)[:, None]
    found = consensus(swapped)
    swapped ^= _clearly_swapped(found, swap(points_img, swapped, groups), cameras, size, groups, tolerance)
    found = consensus(swapped)
    return RobustPoses(
        pose_world=found.points_world,
        known=found.agrees.any(1),
        points_img=swap(points_img, swapped, groups),
        agrees=found.agrees,
        error=found.error * size[..., None],
        swapped=swapped,
        limb_pairs=tuple(", ".join(body.joint_names[right][1:] for right, _ in group) for group in groups),
    )


def smooth_poses(poses: RobustPoses, cameras: Cameras, settings: RobustSettings = RobustSettings()) -> RobustPoses:
    """Smooth trajectories and bridge gaps; detections that no longer agree become outliers.

    Args:
        poses: result of robust_poses().
        cameras: leading axes (F, V).
        settings: cutoff and tolerance.

    Raises:
        InputError: the cutoff is out of range.
    """
    pose_world = smooth_trajectories(poses.pose_world, settings.cutoff)
    size = sizes_over_time(poses.points_img)
    error = reprojection_error(pose_world, poses.points_img, cameras, size)
    with np.errstate(invalid="ignore"):
        agrees = poses.agrees & (error <= settings.tolerance)
    return replace(poses, pose_world=pose_world, agrees=agrees, error=error * size[..., None])


def _clearly_swapped(
    found: ConsistentPoints,
    points_img: np.ndarray,
    cameras: Cameras,
    size: np.ndarray,
    groups: Sequence[FlipPairs],
    tolerance: float,
) -> np.ndarray:
    """Find limb pairs (F, V, groups) that fit the consensus of the other views only if swapped.

    A detector that is about to swap sides is also inaccurate: its rays meet on neither side, so swapped_views() misses
    it.
    """
    everywhere = np.ones((*points_img.shape[:2], len(groups)), bool)
    as_is, swapped = (
        np.nan_to_num(reprojection_error(found.points_world, points, cameras, size), nan=np.inf, posinf=np.inf)
        for points in (points_img, swap(points_img, everywhere, groups))
    )
    result = np.zeros_like(everywhere)
    for number, group in enumerate(groups):
        joints = [joint for pair in group for joint in pair]
        middle = len(joints) // 2
        before, after = (np.sort(error[..., joints], -1)[..., middle] for error in (as_is, swapped))
        result[..., number] = np.isfinite(before) & (before > tolerance) & (after * _CLEAR_SWAP < before)
    return result


def leave_one_out(poses: RobustPoses, cameras: Cameras, settings: RobustSettings = RobustSettings()) -> np.ndarray:
    """Predict the detections of each view from the other views.

    Args:
        poses: result of robust_poses(); its swaps are kept.
        cameras: leading axes (F, V).
        settings: settings of the poses; min_views is limited to the number of other views.

    Returns:
        (F, V, J) distance of a view's detections from the prediction, px; NaN without a detection or a consensus.

    Raises:
        InputError: fewer than three views.
    """
    num_views = poses.points_img.shape[1]
    if num_views < 3:
        raise InputError(f"leaving one view out needs 3 views, received {num_views}")
    size = sizes_over_time(poses.points_img)
    min_views = min(3 if settings.min_views is None else settings.min_views, num_views - 1)
    errors = np.empty(poses.agrees.shape)
    for view in range(num_views):
        others = np.arange(num_views) != view
        found = consistent_points(
            poses.points_img[:, others], cameras[:, others], size[:, others], settings.tolerance, min_views
        )
        pose = smooth_trajectories(found.points_world, settings.cutoff)
        pose = np.where(found.agrees.any(1)[..., None], pose, np.nan)
        one = slice(view, view + 1)
        error = reprojection_error(pose, poses.points_img[:, one], cameras[:, one], size[:, one])
        errors[:, view] = error[:, 0] * size[:, view, None]
    return errors
