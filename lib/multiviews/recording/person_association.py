"""Association of several detected people: the one person that most views show over time."""

import itertools
from collections.abc import Sequence

import numpy as np

from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.triangulate import triangulate
from lib.multiviews.keypoints.view_consensus import reprojection_error
from lib.multiviews.recording.synchronization import swap_free_points
from lib.utils.errors import check_shape

_TOLERANCE = 0.06  # share of the person's size; wide, since midpoints of joints are not rigid points
_MIN_POINTS = 4
_MAX_STEP_MM = 300.0  # motion per frame that costs as much as a view


def choose_person(
    points_img: np.ndarray, cameras: Cameras, size: np.ndarray, flip_pairs: Sequence[tuple[int, int]] = ()
) -> np.ndarray:
    """Choose the person that most views agree on and that moves least over time.

    In each frame every pair of people in two views is a hypothesis. Its points are triangulated and projected into
    the other views, whose nearest person joins within the tolerance. The result is the path through the frames with
    the most agreeing views and the least motion (Viterbi). Left/right swaps have no effect.

    Args:
        points_img: (F, V, P, J, 2) joints of up to P people, image px; NaN = not seen.
        cameras: leading axes (F, V).
        size: (F, V, P) sizes of the people, px; NaN = no person.
        flip_pairs: (right, left) joints that a detector may swap.

    Returns:
        (F, V) index of the person, -1 if a view does not show the person.
    """
    sizes = check_shape("points_img", points_img.shape, ("F", "V", "P", "J", 2))
    num_frames, num_views, num_people = (sizes[axis] for axis in "FVP")
    if num_people == 1:
        return np.where(np.isfinite(size[..., 0]), 0, -1)
    points = swap_free_points(points_img, flip_pairs)
    frames = [_hypotheses(points[frame], cameras[frame : frame + 1], size[frame]) for frame in range(num_frames)]
    chosen = np.full((num_frames, num_views), -1)
    filled = [frame for frame in range(num_frames) if len(frames[frame][0])]
    costs, previous = [], []
    for step, frame in enumerate(filled):
        _, scores, centers = frames[frame]
        cost = -scores
        if step:
            before = frames[filled[step - 1]][2]
            distance = np.linalg.norm(centers[:, None] - before[None], axis=-1) / (frame - filled[step - 1])
            reached = costs[-1] + np.minimum(distance / _MAX_STEP_MM, 1.0) * num_views
            previous.append(reached.argmin(1))
            cost = cost + reached.min(1)
        costs.append(cost)
    state = int(costs[-1].argmin()) if filled else 0
    for step in range(len(filled) - 1, -1, -1):
        chosen[filled[step]] = frames[filled[step]][0][state]
        state = int(previous[step - 1][state]) if step else state
    return chosen


def _hypotheses(points: np.ndarray, cameras: Cameras, size: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the hypotheses of one frame.

    Args:
        points: (V, P, J, 2).
        cameras: leading axes (1, V).
        size: (V, P) px.

    Returns:
        (H, V) people, -1 = none; (H,) scores, about the number of agreeing views; (H, 3) centers, mm.
    """
    num_views, num_people = size.shape
    slots = [slot for slot in itertools.product(range(num_views), range(num_people)) if np.isfinite(size[slot])]
    pairs = [(*one, *other) for one, other in itertools.combinations(slots, 2) if one[0] != other[0]]
    one, a, other, b = np.array(pairs, int).reshape(-1, 4).T
    world = triangulate(np.stack([points[one, a], points[other, b]], 1), cameras[0, np.stack([one, other], 1)])
    enough = np.isfinite(world).all(-1).sum(1) >= _MIN_POINTS
    world, one, a, other, b = (array[enough] for array in (world, one, a, other, b))
    repeated = cameras.map(lambda array: np.repeat(array, len(world), 0))
    errors = np.stack(
        [_median_error(world, points[:, person], repeated, size[:, person]) for person in range(num_people)], -1
    )  # (H, V, P)
    nearest = errors.argmin(-1)
    row = np.arange(len(world))
    nearest[row, one], nearest[row, other] = a, b
    error = np.take_along_axis(errors, nearest[..., None], -1)[..., 0]
    agrees = error < _TOLERANCE
    kept = agrees[row, one] & agrees[row, other]
    scores = np.where(agrees, 1 - (np.where(agrees, error, 0.0) / _TOLERANCE) ** 2 / 2, 0.0).sum(1)
    return np.where(agrees, nearest, -1)[kept], scores[kept], np.nanmedian(world[kept], 1).reshape(-1, 3)


def _median_error(world: np.ndarray, points: np.ndarray, cameras: Cameras, size: np.ndarray) -> np.ndarray:
    """Return median distances of points (H, J, 3) from a person (V, J, 2) in each view, shares of the person's size.

    Returns:
        (H, V); infinite if too few points are in both.
    """
    seen = np.broadcast_to(points, (len(world), *points.shape))
    sizes = np.broadcast_to(np.where(np.isfinite(size), size, 1.0), seen.shape[:2])
    error = reprojection_error(world, seen, cameras, sizes)
    error = np.sort(np.where(np.isfinite(error), error, np.nan), -1)  # NaN last
    count = np.isfinite(error).sum(-1, keepdims=True)
    middle = [np.take_along_axis(error, (count - back).clip(0) // 2, -1)[..., 0] for back in (0, 1)]
    return np.where((count[..., 0] >= _MIN_POINTS) & np.isfinite(size), (middle[0] + middle[1]) / 2, np.inf)
