"""Per joint the largest set of views whose detections fit one place in space."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from lib.multiviews.cameras import Cameras, project_camera, visible_to, world_to_camera
from lib.multiviews.keypoints.triangulate import triangulate
from lib.utils.errors import InputError, check_shape

_BLOCK = 2**16  # points times sets that are triangulated together: bounds the memory


@dataclass(frozen=True)
class ConsistentPoints:
    """Points of F frames.

    Attributes:
        points_world: (F, J, 3) mm; NaN where too few views agree.
        agrees: (F, V, J) bool, the views of the set.
        error: (F, V, J) distance of the projected point from each view's detection, shares of the box; NaN where
            either is missing.
    """

    points_world: np.ndarray
    agrees: np.ndarray
    error: np.ndarray


def reprojection_error(
    points_world: np.ndarray, points_img: np.ndarray, cameras: Cameras, box_side: np.ndarray
) -> np.ndarray:
    """Return the distances of projected points from detections.

    Args:
        points_world: (F, J, 3) mm; NaN = none.
        points_img: (F, V, J, 2) image px; NaN = none.
        cameras: leading axes (F, V).
        box_side: (F, V) px.

    Returns:
        (F, V, J) shares of the box; NaN where either is missing, infinite where the camera cannot see the point.
    """
    exists = np.isfinite(points_world).all(-1)[:, None]  # (F, 1, J)
    points_cam = world_to_camera(np.where(exists[:, 0, :, None], points_world, 0.0)[:, None], cameras)
    distance = np.linalg.norm(project_camera(points_cam, cameras)[0] - points_img, axis=-1) / box_side[..., None]
    return np.where(exists & np.isfinite(distance), np.where(visible_to(points_cam, cameras), distance, np.inf), np.nan)


def consistent_points(
    points_img: np.ndarray, cameras: Cameras, box_side: np.ndarray, tolerance: float = 0.03, min_views: int = 3
) -> ConsistentPoints:
    """Triangulate each joint from the largest set of views that agree on it.

    All sets of views are tried, 247 for 8 cameras. A set is consistent if no detection in it is farther from the
    projection of the point that it gives than the tolerance; of sets of one size the one with the smallest mean
    squared error counts.

    Args:
        points_img: (F, V, J, 2) image px, with lens distortion; NaN = not seen.
        cameras: leading axes (F, V).
        box_side: (F, V) size of the person, px.
        tolerance: largest reprojection error, share of the box.
        min_views: smallest set; at least 2.

    Returns:
        The points.

    Raises:
        InputError: shapes disagree, or `min_views` is not between 2 and the number of views.

    Source: paper section 3.2: pseudo labels are those on which the views agree.
    """
    sizes = check_shape("points_img", points_img.shape, ("F", "V", "J", 2))
    check_shape("box_side", box_side.shape, (sizes["F"], sizes["V"]))
    num_views = sizes["V"]
    if not 2 <= min_views <= num_views:
        raise InputError(f"expected at least 2 views to agree and at most {num_views}, received {min_views}")
    sets = _sets(num_views, min_views)  # (S, V)
    size = max(1, _BLOCK // (len(sets) * max(1, sizes["J"])))
    parts = [
        _best_sets(
            points_img[start : start + size],
            cameras[start : start + size],
            box_side[start : start + size],
            sets,
            tolerance,
        )
        for start in range(0, max(1, sizes["F"]), size)
    ]
    points, agrees = (np.concatenate(column) for column in zip(*parts, strict=True))
    return ConsistentPoints(points, agrees, reprojection_error(points, points_img, cameras, box_side))


def _sets(num_views: int, min_views: int) -> np.ndarray:
    """Return all sets of at least `min_views` views, (S, V) bool, the largest first."""
    choices = np.array(list(itertools.product((True, False), repeat=num_views)))
    choices = choices[choices.sum(1) >= min_views]
    return choices[np.argsort(-choices.sum(1), kind="stable")]


def _best_sets(
    points_img: np.ndarray, cameras: Cameras, box_side: np.ndarray, sets: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the points (F, J, 3) of the best sets, and the sets (F, V, J) bool."""
    num_frames, _, num_joints, _ = points_img.shape
    num_sets = len(sets)
    copies = np.tile(points_img, (1, 1, num_sets, 1))  # (F, V, S*J, 2)
    member = np.repeat(sets.T, num_joints, 1)  # (V, S*J)
    complete = (np.isfinite(copies).all(-1) | ~member).all(1)  # (F, S*J)
    points = triangulate(copies, cameras, np.broadcast_to(member, copies.shape[:3]).astype(float))
    error = reprojection_error(points, copies, cameras, box_side)  # (F, V, S*J)
    inside = np.where(member, np.nan_to_num(error, nan=np.inf), 0.0)
    fits = complete & (inside.max(1) <= tolerance)
    # One number to minimise: the size of the set and, below 1, the mean squared error relative to the tolerance.
    inside = np.where(fits[:, None], inside, 0.0)  # the others may be too large for a square
    mean2 = ((inside / tolerance) ** 2).sum(1) / (2 * member.sum(0))
    score = np.where(fits, mean2 - member.sum(0), np.inf).reshape(num_frames, num_sets, num_joints)
    best = score.argmin(1)  # (F, J)
    found = np.isfinite(np.take_along_axis(score, best[:, None], 1)[:, 0])
    chosen = np.take_along_axis(points.reshape(num_frames, num_sets, num_joints, 3), best[:, None, :, None], 1)[:, 0]
    agrees = sets[best].swapaxes(1, 2) & found[:, None]  # (F, V, J)
    return np.where(found[..., None], chosen, np.nan), agrees
