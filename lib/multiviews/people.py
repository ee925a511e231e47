"""Several people per view and frame: which of them is the one person that all views show over time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from lib.multiviews.cameras import Cameras
from lib.multiviews.consistent_views import reprojection_error
from lib.multiviews.time_offset import swap_free_points
from lib.multiviews.triangulate import triangulate
from lib.utils.checks import check_shape

_TOLERANCE = 0.06  # share of the box; generous, for middles of joints are no joints
_MIN_POINTS = 4
_MOVE_MM = 300.0  # from frame to frame; farther costs as much as a view


def choose_person(
    points_img: np.ndarray,
    cameras: Cameras,
    box_side: np.ndarray,
    flip_pairs: Sequence[tuple[int, int]] = (),
) -> np.ndarray:
    """Choose the person that most views agree on, frame by frame, and that moves least.

    In each frame every pair of people in two views is a hypothesis: the points that they give are projected into the
    other views, whose nearest person joins if it is near enough. Of the hypotheses of all frames the path with the
    most agreeing views and the least motion counts. Left and right do not matter.

    Args:
        points_img: (F, V, P, J, 2) joints of up to P people, image px; NaN = not seen.
        cameras: leading axes (F, V).
        box_side: (F, V, P) sizes of the people, px; NaN = nobody.
        flip_pairs: (right, left) joints that a detector may take for each other.

    Returns:
        (F, V) index of the person, -1 where a view shows him not.
    """
    sizes = check_shape("points_img", points_img.shape, ("F", "V", "P", "J", 2))
    num_frames, num_views, num_people = (sizes[axis] for axis in "FVP")
    if num_people == 1:
        return np.where(np.isfinite(box_side[..., 0]), 0, -1)
    points = swap_free_points(points_img, flip_pairs)
    frames = [_hypotheses(points[frame], cameras[frame : frame + 1], box_side[frame]) for frame in range(num_frames)]
    chosen = np.full((num_frames, num_views), -1)
    filled = [frame for frame in range(num_frames) if len(frames[frame][0])]
    costs, ways = [], []
    for step, frame in enumerate(filled):
        _, scores, places = frames[frame]
        cost = -scores
        if step:
            before = frames[filled[step - 1]][2]
            distance = np.linalg.norm(places[:, None] - before[None], axis=-1) / (frame - filled[step - 1])
            reached = costs[-1] + np.minimum(distance / _MOVE_MM, 1.0) * num_views
            ways.append(reached.argmin(1))
            cost = cost + reached.min(1)
        costs.append(cost)
    state = int(costs[-1].argmin()) if filled else 0
    for step in range(len(filled) - 1, -1, -1):
        chosen[filled[step]] = frames[filled[step]][0][state]
        state = int(ways[step - 1][state]) if step else state
    return chosen


def _hypotheses(points: np.ndarray, cameras: Cameras, side: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what one frame may show.

    Args:
        points: (V, P, J, 2).
        cameras: leading axes (1, V).
        side: (V, P) px.

    Returns:
        (H, V) people, -1 = none; (H,) scores, about the number of views that agree; (H, 3) their places, mm.
    """
    num_views, num_people = side.shape
    views = np.arange(num_views)
    people, scores, places = [], [], []
    for (one, a), (other, b) in itertools.combinations(itertools.product(range(num_views), range(num_people)), 2):
        if one == other or not (np.isfinite(side[one, a]) and np.isfinite(side[other, b])):
            continue
        pair = np.full((1, *points[:, 0].shape), np.nan)
        pair[0, one], pair[0, other] = points[one, a], points[other, b]
        world = triangulate(pair, cameras)  # (1, J, 3)
        if np.isfinite(world).all(-1).sum() < _MIN_POINTS:
            continue
        errors = np.stack([_median_error(world, points[:, person], cameras, side[:, person])
                           for person in range(num_people)], 1)  # fmt: skip
        nearest = errors.argmin(1)
        nearest[one], nearest[other] = a, b
        error = errors[views, nearest]
        agrees = error < _TOLERANCE
        if agrees[one] and agrees[other]:
            people.append(np.where(agrees, nearest, -1))
            scores.append((1 - (error[agrees] / _TOLERANCE) ** 2 / 2).sum())
            places.append(np.nanmedian(world[0], 0))
    return np.array(people).reshape(-1, num_views), np.array(scores), np.array(places).reshape(-1, 3)


def _median_error(world: np.ndarray, points: np.ndarray, cameras: Cameras, side: np.ndarray) -> np.ndarray:
    """Return each view's median error (V,) against points (V, J, 2), shares of the box; infinite for too few."""
    error = reprojection_error(world, points[None], cameras, np.where(np.isfinite(side), side, 1.0)[None])[0]
    enough = np.isfinite(error).sum(1) >= _MIN_POINTS
    median = np.array([np.median(row[np.isfinite(row)]) if ok else np.inf
                       for row, ok in zip(error, enough, strict=True)])  # fmt: skip
    return np.where(np.isfinite(side), median, np.inf)
