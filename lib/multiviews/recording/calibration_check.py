"""Check of a calibration against detections of a person: which cameras do not fit."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.triangulate import triangulate
from lib.multiviews.keypoints.view_consensus import reprojection_error
from lib.multiviews.recording.synchronization import epipolar_distances, swap_free_points

MAX_ERROR = 0.025  # median error above what detectors cause, share of the person's size
_MAX_FRAMES = 150  # evenly spread frames of each view that are checked; medians need no more
_CLEARLY = 2.0  # ratio of errors that decides between two sets of views


@dataclass(frozen=True)
class CalibrationCheck:
    """Consistency of V cameras; errors are shares of the person's size in the image.

    Attributes:
        error: (V,) median reprojection error of points triangulated from all views.
        from_others: (V,) median reprojection error of points triangulated from the other views; NaN with two views.
        pairs: (V, V) median distance of the column's points from the epipolar lines of the row; NaN on the diagonal.
        off: views that do not fit or cannot be compared; () = none; None = the views disagree, and too few agree to
            decide which one is wrong.
    """

    error: np.ndarray
    from_others: np.ndarray
    pairs: np.ndarray
    off: tuple[int, ...] | None


def check_calibration(
    points_img: np.ndarray, cameras: Cameras, size: np.ndarray, flip_pairs: Sequence[tuple[int, int]] = ()
) -> CalibrationCheck:
    """Check cameras against detections of a person; left/right swaps have no effect.

    Args:
        points_img: (F, V, J, 2) image px; NaN = not seen.
        cameras: leading axes (F, V), the same in all frames.
        size: (F, V) size of the person, px.
        flip_pairs: (right, left) joints.
    """
    chosen = _spread_frames(points_img)
    points = swap_free_points(points_img[chosen].astype(float), flip_pairs)
    cameras, size = cameras[: len(chosen)], size[chosen]
    num_views = points.shape[1]
    from_others = np.full(num_views, np.nan)
    for view in range(num_views if num_views > 2 else 0):
        others = np.arange(num_views) != view
        world = triangulate(points[:, others], cameras[:, others])
        one = slice(view, view + 1)
        from_others[view] = _median(reprojection_error(world, points[:, one], cameras[:, one], size[:, one]))
    pairs = np.full((num_views, num_views), np.nan)
    for one, other in itertools.permutations(range(num_views), 2):
        distance = epipolar_distances(
            points[:, one].reshape(-1, 2), points[:, other].reshape(-1, 2), cameras[0, one], cameras[0, other]
        )
        pairs[one, other] = _median(np.abs(distance.reshape(len(points), -1)) / size[:, other, None])
    error = _errors(points, cameras, size, slice(None))
    used = np.flatnonzero(np.isfinite(points).any((0, 2, 3)))  # a view that sees nobody shows nothing about its camera
    off = _views_off(points[:, used], cameras[:, used], size[:, used])
    return CalibrationCheck(error, from_others, pairs, None if off is None else tuple(used[list(off)].tolist()))


def _spread_frames(points_img: np.ndarray) -> np.ndarray:
    """Return, of each view, at most _MAX_FRAMES frames in which it sees a joint."""
    seen = np.isfinite(points_img).all(-1).any(-1)  # (F, V)
    frames = map(np.flatnonzero, seen.T)
    spread = [one[np.linspace(0, len(one) - 1, min(len(one), _MAX_FRAMES)).astype(int)] for one in frames]
    return np.unique(np.concatenate(spread))


def _median(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else np.nan


def _errors(points: np.ndarray, cameras: Cameras, size: np.ndarray, views: list[int] | slice) -> np.ndarray:
    """Return the median reprojection error of each of some views, triangulated from these views; NaN = no points."""
    points, cameras = points[:, views], cameras[:, views]
    error = reprojection_error(triangulate(points, cameras), points, cameras, size[:, views])
    return np.array([_median(error[:, view]) for view in range(error.shape[1])])


def _views_off(points: np.ndarray, cameras: Cameras, size: np.ndarray) -> tuple[int, ...] | None:
    """Return the smallest set of views without which the others fit clearly better than without any other set.

    A view that never sees a point together with another one has an infinite error: nothing shows that it fits.
    """
    num_views = points.shape[1]
    for count in range(num_views - 1):
        left_out = list(itertools.combinations(range(num_views), count))
        kept = [[view for view in range(num_views) if view not in out] for out in left_out]
        medians = [_errors(points, cameras, size, views) for views in kept]
        errors = [np.where(np.isnan(median), np.inf, median).max() for median in medians]
        best, *others = np.sort(errors)
        if best <= MAX_ERROR:
            return left_out[int(np.argmin(errors))] if not others or others[0] > _CLEARLY * best else None
    return None
