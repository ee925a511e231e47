"""Whether the cameras of a rig fit what is seen with them, and which of them does not."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.triangulate import triangulate
from lib.multiviews.keypoints.view_consensus import reprojection_error
from lib.multiviews.recording.synchronization import epipolar_distances, swap_free_points

LARGE = 0.025  # share of the person's size: more than detectors are wrong by
_CLEARLY = 2.0  # times the error: a choice between views is no accident


@dataclass(frozen=True)
class RigCheck:
    """How V cameras fit together; everything in shares of the person's size in the image.

    Attributes:
        error: (V,) median reprojection error of points triangulated from all views.
        from_others: (V,) median distance of a view's points from what the other views say; NaN with two views.
        pairs: (V, V) median distance of the column's points from the epipolar lines of the row's; NaN on the diagonal.
        off: views that do not fit, or that nothing can be compared with, () = none; None = the views disagree, and
            too few agree to say which is wrong.
    """

    error: np.ndarray
    from_others: np.ndarray
    pairs: np.ndarray
    off: tuple[int, ...] | None


def check_rig(
    points_img: np.ndarray, cameras: Cameras, side: np.ndarray, flip_pairs: Sequence[tuple[int, int]] = ()
) -> RigCheck:
    """Check cameras by detections of a person.

    Left and right do not matter: pairs of joints count by their middles.

    Args:
        points_img: (F, V, J, 2) image px; NaN = not seen.
        cameras: leading axes (F, V), the same in all frames.
        side: (F, V) size of the person, px.
        flip_pairs: (right, left) joints.

    Returns:
        The errors, and the smallest set of views without which all others fit.
    """
    points = swap_free_points(points_img, flip_pairs)
    num_views = points.shape[1]
    error = reprojection_error(triangulate(points, cameras), points, cameras, side)
    from_others = np.full(num_views, np.nan)
    for view in range(num_views if num_views > 2 else 0):
        others = [other for other in range(num_views) if other != view]
        world = triangulate(points[:, others], cameras[:, others])
        one = slice(view, view + 1)
        from_others[view] = _median(reprojection_error(world, points[:, one], cameras[:, one], side[:, one]))
    pairs = np.full((num_views, num_views), np.nan)
    for one, other in itertools.permutations(range(num_views), 2):
        distance = epipolar_distances(
            points[:, one].reshape(-1, 2), points[:, other].reshape(-1, 2), cameras[0, one], cameras[0, other]
        )
        pairs[one, other] = _median(np.abs(distance.reshape(len(points), -1)) / side[:, other, None])
    return RigCheck(
        np.array([_median(error[:, view]) for view in range(num_views)]),
        from_others,
        pairs,
        _views_that_are_off(points, cameras, side),
    )


def _median(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else np.nan


def _views_that_are_off(points: np.ndarray, cameras: Cameras, side: np.ndarray) -> tuple[int, ...] | None:
    """Find the fewest views without which the others fit, clearly better than without as many other ones."""
    num_views = points.shape[1]
    for count in range(num_views - 1):
        left_out = list(itertools.combinations(range(num_views), count))
        errors = [
            _worst(points, cameras, side, [view for view in range(num_views) if view not in out]) for out in left_out
        ]
        best, *others = np.sort(errors)
        if best <= LARGE:
            return left_out[int(np.argmin(errors))] if not others or others[0] > _CLEARLY * best else None
    return None


def _worst(points: np.ndarray, cameras: Cameras, side: np.ndarray, views: list[int]) -> float:
    """Return the largest of some views' median reprojection errors, triangulated from them alone.

    Infinite if a view never sees a point together with another one: nothing shows that it fits.
    """
    some, rig = points[:, views], cameras[:, views]
    error = reprojection_error(triangulate(some, rig), some, rig, side[:, views])
    medians = np.array([_median(error[:, view]) for view in range(len(views))])
    return float(np.where(np.isnan(medians), np.inf, medians).max())
