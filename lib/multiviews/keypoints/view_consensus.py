"""Triangulation from the largest set of views with consistent detections."""

import itertools
from dataclasses import dataclass

import numpy as np

from lib.multiviews.cameras import Cameras, project_camera, visible_to, world_to_camera
from lib.multiviews.keypoints.triangulate import triangulate
from lib.utils.errors import InputError, check_shape

_BLOCK = 2**16  # points times sets of views per block; limits memory


@dataclass(frozen=True)
class ConsistentPoints:
    """Triangulated joints of F frames.

    Attributes:
        points_world: (F, J, 3) mm; NaN where too few views agree.
        agrees: (F, V, J) bool, the inlier views.
        error: (F, V, J) reprojection error relative to the crop side length; NaN where point or detection is missing.
    """

    points_world: np.ndarray
    agrees: np.ndarray
    error: np.ndarray


def reprojection_error(
    points_world: np.ndarray, points_img: np.ndarray, cameras: Cameras, crop_side: np.ndarray
) -> np.ndarray:
    """Return the reprojection error relative to the crop side length.

    Args:
        points_world: (F, J, 3) mm; NaN = missing.
        points_img: (F, V, J, 2) image px; NaN = missing.
        cameras: leading axes (F, V).
        crop_side: (F, V) px.

    Returns:
        (F, V, J); NaN where point or detection is missing, infinite where the camera cannot see the point.
    """
    exists = np.isfinite(points_world).all(-1)[:, None]  # (F, 1, J)
    points_cam = world_to_camera(np.where(exists[:, 0, :, None], points_world, 0.0)[:, None], cameras)
    distance = np.linalg.norm(project_camera(points_cam, cameras)[0] - points_img, axis=-1) / crop_side[..., None]
    return np.where(exists & np.isfinite(distance), np.where(visible_to(points_cam, cameras), distance, np.inf), np.nan)


def consistent_points(
    points_img: np.ndarray, cameras: Cameras, crop_side: np.ndarray, tolerance: float = 0.03, min_views: int = 3
) -> ConsistentPoints:
    """Triangulate each joint from the largest consistent set of views.

    All sets of views are tested (247 for 8 cameras). A set is consistent if no reprojection error in it exceeds the
    tolerance. Of sets of equal size, the one with the smallest mean squared error is used.

    Args:
        points_img: (F, V, J, 2) image px, with lens distortion; NaN = not seen.
        cameras: leading axes (F, V).
        crop_side: (F, V) size of the person, px.
        tolerance: largest reprojection error, relative to `crop_side`.
        min_views: smallest number of views in a set.

    Raises:
        InputError: shapes disagree, or `min_views` is not between 2 and the number of views.

    Source: paper section 3.2: pseudo labels are joints on which the views agree.
    """
    sizes = check_shape("points_img", points_img.shape, ("F", "V", "J", 2))
    check_shape("crop_side", crop_side.shape, (sizes["F"], sizes["V"]))
    num_views = sizes["V"]
    if not 2 <= min_views <= num_views:
        raise InputError(f"min_views: expected 2 to {num_views}, received {min_views}")
    sets = _sets(num_views, min_views)  # (S, V)
    size = max(1, _BLOCK // (len(sets) * max(1, sizes["J"])))
    parts = [
        _best_sets(
            points_img[start : start + size],
            cameras[start : start + size],
            crop_side[start : start + size],
            sets,
            tolerance,
        )
        for start in range(0, max(1, sizes["F"]), size)
    ]
    points, agrees = (np.concatenate(column) for column in zip(*parts, strict=True))
    return ConsistentPoints(points, agrees, reprojection_error(points, points_img, cameras, crop_side))


def _sets(num_views: int, min_views: int) -> np.ndarray:
    """Return all sets of at least `min_views` views, (S, V) bool, in descending order of size."""
    choices = np.array(list(itertools.product((True, False), repeat=num_views)))
    choices = choices[choices.sum(1) >= min_views]
    return choices[np.argsort(-choices.sum(1), kind="stable")]


def _best_sets(
    points_img: np.ndarray, cameras: Cameras, crop_side: np.ndarray, sets: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the points (F, J, 3) of the best sets, and the sets (F, V, J) bool."""
    num_frames, _, num_joints, _ = points_img.shape
    num_sets = len(sets)
    copies = np.tile(points_img, (1, 1, num_sets, 1))  # (F, V, S*J, 2)
    member = np.repeat(sets.T, num_joints, 1)  # (V, S*J)
    complete = (np.isfinite(copies).all(-1) | ~member).all(1)  # (F, S*J)
    points = triangulate(copies, cameras, np.broadcast_to(member, copies.shape[:3]).astype(float))
    error = reprojection_error(points, copies, cameras, crop_side)  # (F, V, S*J)
    inside = np.where(member, np.nan_to_num(error, nan=np.inf), 0.0)
    fits = complete & (inside.max(1) <= tolerance)
    # Minimize one number: minus the size of the set, plus the mean squared error relative to the tolerance, below 1.
    inside = np.where(fits[:, None], inside, 0.0)  # avoids overflow of the square
    mean2 = ((inside / tolerance) ** 2).sum(1) / (2 * member.sum(0))
    score = np.where(fits, mean2 - member.sum(0), np.inf).reshape(num_frames, num_sets, num_joints)
    best = score.argmin(1)  # (F, J)
    found = np.isfinite(np.take_along_axis(score, best[:, None], 1)[:, 0])
    chosen = np.take_along_axis(points.reshape(num_frames, num_sets, num_joints, 3), best[:, None, :, None], 1)[:, 0]
    agrees = sets[best].swapaxes(1, 2) & found[:, None]  # (F, V, J)
    return np.where(found[..., None], chosen, np.nan), agrees
