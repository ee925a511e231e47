"""2D detections of one person in several views over time -> 3D poses, and which detections they rest on."""

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

_MUCH_NEARER = 2.0  # times


@dataclass(frozen=True)
class RobustSettings:
    """What counts as agreement.

    Attributes:
        tolerance: largest reprojection error of a kept detection, share of the person's size.
        min_views: views that must agree on a joint; None = 3, or 2 where there are but two cameras.
        min_confidence: detections below it are not looked at.
        cutoff: of the smoothing over time, cycles per frame; None = none, gaps are bridged.

    Raises:
        InputError: a tolerance out of range.
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
    """One person in F frames of V views.

    Attributes:
        pose_world: (F, J, 3) mm; a joint that no views agree on is bridged over time, NaN where it never is known.
        known: (F, J) bool, enough views agree on the joint.
        points_img: (F, V, J, 2) the detections, left and right put right, px.
        agrees: (F, V, J) bool, detections that the joint rests on.
        error: (F, V, J) distance of the pose's projection from the detections, px; NaN where there is none.
        exchanged: (F, V, groups) bool, where left and right were exchanged.
        groups: names of what was exchanged together, e.g. "hip, kne, ank".
    """

    pose_world: np.ndarray
    known: np.ndarray
    points_img: np.ndarray
    agrees: np.ndarray
    error: np.ndarray
    exchanged: np.ndarray
    groups: tuple[str, ...]

    @property
    def places(self) -> np.ndarray:
        """(F, 3) mm, where the person is: the root or, where that is not known, the middle of the known joints.

        Of the nearest instant in which a joint is known, where none is.
        """
        known = np.isfinite(self.pose_world).all(-1)  # (F, J)
        middle = np.where(known[..., None], self.pose_world, 0.0).sum(1) / known.sum(1).clip(1)[:, None]
        places = np.where(known[:, :1], self.pose_world[:, 0], middle)
        found = np.flatnonzero(known.any(1))
        nearest = np.abs(np.arange(len(known))[:, None] - found).argmin(1)
        return places[found[nearest]]

    @property
    def rejected(self) -> np.ndarray:
        """(F, V, J) bool, detections that the joint does not rest on."""
        return np.isfinite(self.points_img).all(-1) & ~self.agrees

    def with_pose(self, pose_world: np.ndarray, cameras: Cameras) -> RobustPoses:
        """Return the same detections with poses (F, J, 3) of another method, all of whose joints count as known."""
        side = sizes_over_time(self.points_img)
        error = reprojection_error(pose_world, self.points_img, cameras, side) * side[..., None]
        return replace(self, pose_world=pose_world, known=np.isfinite(pose_world).all(-1), error=error)


def person_sizes(points_img: np.ndarray) -> np.ndarray:
    """Return the longer side of the box around joints (..., J, 2), px; NaN where fewer than half of them are seen."""
    seen = np.isfinite(points_img).all(-1, keepdims=True)
    low = np.where(seen, points_img, np.inf).min(-2)
    high = np.where(seen, points_img, -np.inf).max(-2)
    enough = seen[..., 0].sum(-1) * 2 >= points_img.shape[-2]
    with np.errstate(invalid="ignore"):
        return np.where(enough, (high - low).max(-1), np.nan)


def sizes_over_time(points_img: np.ndarray, names: Sequence[str] = ()) -> np.ndarray:
    """Return person_sizes() of (F, V, J, 2) where nobody or too little was found from the view's other frames: (F, V).

    Args:
        points_img: px; NaN = not seen.
        names: of the views, for the message; () = they are counted from 1.

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
    """Find the 3D poses that detections of consecutive frames agree on.

    Left and right are put right view by view (left_right.py), each joint is triangulated from the largest
    set of views that agree, and the trajectories are smoothed if wanted.

    Args:
        points: (F, V, J, 3) x, y in image px and confidence; NaN = not seen.
        cameras: leading axes (F, V).
        body: the skeleton of the J joints.
        flip_pairs: (right, left) joints.
        settings: what counts as agreement.

    Returns:
        The poses.

    Raises:
        InputError: shapes disagree, or `min_views` or `cutoff` out of range.
    """
    sizes = check_shape("points", points.shape, ("F", "V", body.num_joints, 3))
    check_shape("cameras.T", cameras.T.shape, (sizes["F"], sizes["V"], 3))
    min_views = min(3, sizes["V"]) if settings.min_views is None else settings.min_views
    seen = np.isfinite(points).all(-1) & (points[..., 2] >= settings.min_confidence)
    points_img = np.where(seen[..., None], points[..., :2], np.nan)
    side = sizes_over_time(points_img)
    groups = limb_pairs(body, flip_pairs)
    tolerance = settings.tolerance
    ones = np.ones((*seen.shape, 1))
    rays = peak_rays(points_img[:, :, :, None], ones, cameras, tolerance * side)
    exchanged = swapped_views(rays, cameras, groups)
    found = consistent_points(swap(points_img, exchanged, groups), cameras, side, tolerance, min_views)
    exchanged ^= swapped_limbs_over_time(found.points_world, exchanged, groups)[:, None]
    found = consistent_points(swap(points_img, exchanged, groups), cameras, side, tolerance, min_views)
    exchanged ^= _nearer_exchanged(found, swap(points_img, exchanged, groups), cameras, side, groups, tolerance)
    points_img = swap(points_img, exchanged, groups)
    found = consistent_points(points_img, cameras, side, tolerance, min_views)
    pose = smooth_trajectories(found.points_world, settings.cutoff)
    return RobustPoses(
        pose_world=pose,
        known=found.agrees.any(1),
        points_img=points_img,
        agrees=_still_near(found, pose, points_img, cameras, side, tolerance),
        error=reprojection_error(pose, points_img, cameras, side) * side[..., None],
        exchanged=exchanged,
        groups=tuple(_group_name(body, group) for group in groups),
    )


def _nearer_exchanged(
    found: ConsistentPoints,
    points_img: np.ndarray,
    cameras: Cameras,
    side: np.ndarray,
    groups: Sequence[FlipPairs],
    tolerance: float,
) -> np.ndarray:
    """Find the groups of joints (F, V, groups) that fit no side within the tolerance, but the other one much better.

    A detector that is about to turn the person round is off as well, so that rays never meet; what the other views
    agree on tells all the same.
    """
    everywhere = np.ones((*points_img.shape[:2], len(groups)), bool)
    errors = [
        reprojection_error(found.points_world, points, cameras, side)
        for points in (points_img, swap(points_img, everywhere, groups))
    ]
    nearer = np.zeros_like(everywhere)
    for number, group in enumerate(groups):
        joints = [joint for pair in group for joint in pair]
        as_is, other = (np.where(np.isnan(error[..., joints]), np.inf, error[..., joints]) for error in errors)
        as_is, other = np.sort(as_is, -1)[..., len(joints) // 2], np.sort(other, -1)[..., len(joints) // 2]
        nearer[..., number] = np.isfinite(as_is) & (as_is > tolerance) & (other * _MUCH_NEARER < as_is)
    return nearer


def _still_near(
    found: ConsistentPoints,
    pose: np.ndarray,
    points_img: np.ndarray,
    cameras: Cameras,
    side: np.ndarray,
    tolerance: float,
) -> np.ndarray:
    """Return which of the agreeing detections are within the tolerance of the smoothed pose, too."""
    with np.errstate(invalid="ignore"):
        return found.agrees & (reprojection_error(pose, points_img, cameras, side) <= tolerance)


def _group_name(body: HumanBody, group: Sequence[tuple[int, int]]) -> str:
    return ", ".join(body.joint_names[right][1:] for right, _ in group)


def leave_one_out(poses: RobustPoses, cameras: Cameras, settings: RobustSettings = RobustSettings()) -> np.ndarray:
    """Predict the detections of each view from the other views alone.

    Args:
        poses: of robust_poses(); the sides of the detections are those that it settled.
        cameras: leading axes (F, V).
        settings: as there; as many of the other views as it asks for, or all if there are fewer, must agree.

    Returns:
        (F, V, J) distance of a view's detection from the projection of what the others say, px; NaN where the view
        has no detection or the others do not agree.

    Raises:
        InputError: fewer than three views.
    """
    num_views = poses.points_img.shape[1]
    if num_views < 3:
        raise InputError(f"leaving one view out needs 3 views, received {num_views}")
    side = sizes_over_time(poses.points_img)
    min_views = min(3 if settings.min_views is None else settings.min_views, num_views - 1)
    errors = np.empty(poses.agrees.shape)
    for view in range(num_views):
        others = [other for other in range(num_views) if other != view]
        found = consistent_points(
            poses.points_img[:, others], cameras[:, others], side[:, others], settings.tolerance, min_views
        )
        pose = smooth_trajectories(found.points_world, settings.cutoff)
        pose = np.where(found.agrees.any(1)[..., None], pose, np.nan)
        one = slice(view, view + 1)
        error = reprojection_error(pose, poses.points_img[:, one], cameras[:, one], side[:, one])
        errors[:, view] = error[:, 0] * side[:, view, None]
    return errors
