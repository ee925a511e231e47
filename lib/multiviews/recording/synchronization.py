"""By how many frames the videos of a rig are late, from what a 2D detector saw in them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.multiviews.cameras import Cameras, undistort
from lib.utils.errors import InputError, check_shape

_STEP = 0.5  # frames
_AROUND = 3.0  # frames to either side of the best one that the parabola is fitted to
_REACH = 0.03  # share of the box; larger distances count alike
_USUAL_ERROR = 1.0  # frames; pairs that disagree by more count less
_MIN_FRAMES = 10  # frames in which both views see a point
_MIN_RISE = 1.1  # a cost that rises by less within _AROUND tells nothing


@dataclass(frozen=True)
class TimeOffsets:
    """Offsets of V views.

    Attributes:
        frames: (V,) by how many frames each view is late against the first one of the largest set of views that can be
            compared; NaN for the views outside.
        spread: (V,) how far single pairs of views disagree with it, frames; NaN where one pair alone decided.
        pairs: pairs of views that decided.
    """

    frames: np.ndarray
    spread: np.ndarray
    pairs: list[tuple[int, int]]

    def whole(self) -> np.ndarray:
        """Return the offsets in whole frames (V,) int; 0 where nothing can be said."""
        return np.round(np.nan_to_num(self.frames)).astype(int)


def swap_free_points(points_img: np.ndarray, flip_pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return points that do not change when a detector takes left for right.

    Args:
        points_img: (..., J, 2).
        flip_pairs: (right, left) joints.

    Returns:
        (..., P, 2): the other joints, and the middles of the pairs.
    """
    paired = {joint for pair in flip_pairs for joint in pair}
    single = [joint for joint in range(points_img.shape[-2]) if joint not in paired]
    right, left = ([pair[side] for pair in flip_pairs] for side in (0, 1))
    middles = (points_img[..., right, :] + points_img[..., left, :]) / 2
    return np.concatenate([points_img[..., single, :], middles], -2)


def epipolar_distances(points_a: np.ndarray, points_b: np.ndarray, camera_a: Cameras, camera_b: Cameras) -> np.ndarray:
    """Return how far points of view b are from the epipolar lines of those of view a, px of view b.

    Args:
        points_a: (N, 2) image px.
        points_b: (N, 2) image px.
        camera_a, camera_b: without leading axes.

    Returns:
        (N,) signed, to first order in the middle of the image; NaN where a point is.
    """
    rays = []
    for points, camera in ((points_a, camera_a), (points_b, camera_b)):
        plane = undistort(np.where(np.isfinite(points), points, camera.c), camera)
        ray = np.concatenate([plane, np.ones((len(plane), 1))], 1)
        rays.append(ray / np.linalg.norm(ray, axis=1, keepdims=True) @ camera.R)
    normal = np.cross(rays[0], camera_b.T - camera_a.T)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), np.finfo(float).tiny)
    distance = (rays[1] * normal).sum(1) * camera_b.f.mean()
    return np.where(np.isfinite(points_a).all(1) & np.isfinite(points_b).all(1), distance, np.nan)


def estimate_offsets(
    points_img: np.ndarray,
    cameras: Cameras,
    box_side: np.ndarray,
    flip_pairs: Sequence[tuple[int, int]] = (),
    max_offset: int = 15,
) -> TimeOffsets:
    """Find by how many frames the views are late, from the distances of points to the epipolar lines of other views.

    Each pair of views has the offset at which its points lie nearest to the lines; the offsets of the views are their
    least-squares solution. A person that does not move, or moves along the lines alone, shows nothing.

    Args:
        points_img: (F, V, J, 2) image px; NaN = not seen.
        cameras: leading axis V.
        box_side: (V,) size of the person, px; the measure of the distances.
        flip_pairs: (right, left) joints that a detector may take for each other.
        max_offset: frames to look to either side.

    Returns:
        The offsets: view v shows at frame t + frames[v] what the one with frames 0 shows at t.

    Raises:
        InputError: fewer than two views, or fewer frames than the offsets to look at.
    """
    sizes = check_shape("points_img", points_img.shape, ("F", "V", "J", 2))
    num_frames, num_views = sizes["F"], sizes["V"]
    if num_views < 2 or num_frames < 3:
        raise InputError(f"time offsets need 2 views and 3 frames, received {num_views} and {num_frames}")
    max_offset = min(max_offset, num_frames // 2)
    points = swap_free_points(np.asarray(points_img, np.float64), flip_pairs)
    pairs, measured = [], []
    for one, other in itertools.combinations(range(num_views), 2):
        offset = _pair_offset(
            points[:, one], points[:, other], cameras[one], cameras[other], box_side[other], max_offset
        )
        if np.isfinite(offset):
            pairs.append((one, other))
            measured.append(offset)
    return _solve(pairs, np.array(measured), num_views)


def _pair_offset(
    points_a: np.ndarray, points_b: np.ndarray, camera_a: Cameras, camera_b: Cameras, side: float, max_offset: int
) -> float:
    """Return by how many frames view b is late against view a; NaN where the distances do not tell."""
    offsets = np.arange(-max_offset, max_offset + _STEP / 2, _STEP)
    costs = np.array([_cost(points_a, _late(points_b, offset), camera_a, camera_b, side) for offset in offsets])
    if not np.isfinite(costs).all():
        return np.nan
    best = int(costs.argmin())
    around = round(_AROUND / _STEP)
    if best < around or best + around >= len(costs):
        return np.nan
    near = slice(best - around, best + around + 1)
    if min(costs[near.start], costs[near.stop - 1]) < _MIN_RISE * costs[best]:
        return np.nan
    curvature, slope, _ = np.polyfit(offsets[near] - offsets[best], costs[near], 2)
    return float(offsets[best] + np.clip(-slope / (2 * curvature), -_AROUND, _AROUND))


def _late(points: np.ndarray, offset: float) -> np.ndarray:
    """Return points (F, P, 2) at the times t + offset, between the frames if need be; NaN outside."""
    times = np.arange(len(points)) + offset
    before = np.floor(times).astype(int)
    share = (times - before)[:, None, None]
    inside = (before >= 0) & (before + (share[:, 0, 0] > 0) < len(points))
    first, second = (points[(before + step).clip(0, len(points) - 1)] for step in (0, 1))
    between = np.where(share > 0, (1 - share) * first + share * second, first)
    return np.where(inside[:, None, None], between, np.nan)


def _cost(points_a: np.ndarray, points_b: np.ndarray, camera_a: Cameras, camera_b: Cameras, side: float) -> float:
    """Return the mean of the robust squared distances, shares of the box squared; NaN for too few points.

    What a point's distance is most of the time is taken off: a detector is wrong in its own way in each view.
    """
    distance = epipolar_distances(points_a.reshape(-1, 2), points_b.reshape(-1, 2), camera_a, camera_b) / side
    distance = distance.reshape(points_a.shape[:2])  # (F, P)
    enough = np.isfinite(distance).sum(0) >= _MIN_FRAMES
    if not enough.any():
        return np.nan
    distance = distance[:, enough] - np.nanmedian(distance[:, enough], 0)
    square = distance[np.isfinite(distance)] ** 2
    return float((square / (1 + square / _REACH**2)).mean())


def _solve(pairs: list[tuple[int, int]], measured: np.ndarray, num_views: int) -> TimeOffsets:
    """Solve offset[b] - offset[a] = measured for the largest set of connected views by robust least squares (Huber)."""
    compared = _largest_set(pairs, num_views)
    rows = np.zeros((len(pairs), num_views))
    for row, (one, other) in enumerate(pairs):
        rows[row, one], rows[row, other] = -1, 1
    unknown = np.delete(rows, compared[0], 1)  # the offset of the first one is 0
    frames = np.zeros(num_views)
    weight = np.ones(len(pairs))
    for _ in range(10 if len(pairs) else 0):  # reweighted: one bad pair hardly moves the others
        solution = np.linalg.lstsq(unknown * weight[:, None], measured * weight, rcond=None)[0]
        frames = np.insert(solution, compared[0], 0.0)
        weight = 1 / np.sqrt(np.abs(rows @ frames - measured).clip(_USUAL_ERROR))
    spread = np.full(num_views, np.nan)
    for view in compared:
        mine = [row for row, pair in enumerate(pairs) if view in pair]
        if len(mine) > 1:
            spread[view] = np.abs(rows[mine] @ frames - measured[mine]).mean()
    frames[[view not in compared for view in range(num_views)]] = np.nan
    return TimeOffsets(frames, spread, pairs)


def _largest_set(pairs: list[tuple[int, int]], num_views: int) -> list[int]:
    """Return the most views that pairs connect, ascending."""
    connected = [{view} for view in range(num_views)]
    for one, other in pairs:
        joined = connected[one] | connected[other]
        for view in joined:
            connected[view] = joined
    return sorted(max(connected, key=len))
