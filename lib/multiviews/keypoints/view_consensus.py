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

    A set is consistent if no reprojection error in it exceeds the tolerance. Sets are tested from the largest to the
    smallest, 247 for 8 cameras, each only for the points without a larger consistent set. Of sets of equal size, the
    one with the smallest mean squared error is used.

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
    points = points_img.swapaxes(1, 2).reshape(-1, num_views, 1, 2)  # (F*J, V, 1, 2)
    frame = np.repeat(np.arange(sizes["F"]), sizes["J"])
    num_seen = np.isfinite(points).all((-2, -1)).sum(1)
    points_world = np.full((len(points), 3), np.nan)
    agrees = np.zeros((len(points), num_views), bool)
    for count in range(num_views, min_views - 1, -1):
        sets = _sets(num_views, count)
        left = np.flatnonzero(~agrees.any(1) & (num_seen >= count))
        size = max(1, _BLOCK // len(sets))
        for start in range(0, len(left), size):
            some = left[start : start + size]
            found, inside = _best_sets(points[some], cameras[frame[some]], crop_side[frame[some]], sets, tolerance)
            points_world[some], agrees[some] = found[:, 0], inside[..., 0]
    points_world = points_world.reshape(sizes["F"], sizes["J"], 3)
    agrees = agrees.reshape(sizes["F"], sizes["J"], num_views).swapaxes(1, 2)
    return ConsistentPoints(points_world, agrees, reprojection_error(points_world, points_img, cameras, crop_side))


def _sets(num_views: int, count: int) -> np.ndarray:
    """Return all sets of `count` views, (S, V) bool."""
    sets = list(itertools.combinations(range(num_views), count))
    return (np.array(sets)[:, :, None] == np.arange(num_views)).any(1)


def _best_sets(
    points_img: np.ndarray, cameras: Cameras, crop_side: np.ndarray, sets: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the points (F, J, 3) of the best of sets of equal size, and the sets (F, V, J) bool."""
    num_frames, _, num_joints, _ = points_img.shape
    num_sets = len(sets)
    copies = np.tile(points_img, (1, 1, num_sets, 1))  # (F, V, S*J, 2)
    member = np.repeat(sets.T, num_joints, 1)  # (V, S*J)
    complete = (np.isfinite(copies).all(-1) | ~member).all(1)  # (F, S*J)
    points = triangulate(copies, cameras, np.broadcast_to(member, copies.shape[:3]).astype(float))
    error = reprojection_error(points, copies, cameras, crop_side)  # (F, V, S*J)
    inside = np.where(member, np.nan_to_num(error, nan=np.inf), 0.0)
    fits = complete & (inside.max(1) <= tolerance)
    inside = np.where(fits[:, None], inside, 0.0)  # avoids overflow of the square
    score = np.where(fits, (inside**2).sum(1), np.inf).reshape(num_frames, num_sets, num_joints)
    best = score.argmin(1)  # (F, J)
    found = np.isfinite(np.take_along_axis(score, best[:, None], 1)[:, 0])
    chosen = np.take_along_axis(points.reshape(num_frames, num_sets, num_joints, 3), best[:, None, :, None], 1)[:, 0]
    agrees = sets[best].swapaxes(1, 2) & found[:, None]  # (F, V, J)
    return np.where(found[..., None], chosen, np.nan), agrees
