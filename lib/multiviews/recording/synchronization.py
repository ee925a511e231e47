"""Sync offsets between the videos of a recording, estimated from 2D detections."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from lib.multiviews.cameras import Cameras, undistort
from lib.utils.errors import InputError, check_shape
from lib.utils.selection import evenly_spread


@dataclass(frozen=True)
class SyncSettings:
    """Search for the offset of a pair of views.

    Attributes:
        max_offset: largest offset, frames.
        step: step of the search, frames; a first search has whole frames.
        fit_range: range of the parabola around the best offset, frames to either side.
        outlier_distance: distance from an epipolar line beyond which the cost saturates, share of the person's size.
        min_frames: frames in which both views must see a point.
        min_rise: ratio by which the cost must rise within fit_range; a flatter minimum is rejected.
        pair_error: disagreement of a pair beyond which its weight decreases, frames.
        max_frames: evenly spread frames that are compared.
        first_frames: the same in the first search.
        window_frames: consecutive frames of one of the windows in which the offset of a longer recording is measured.
        min_windows, max_windows: number of windows; a recording with fewer has one offset and no drift.
        min_drift: smallest drift that counts, frames over the whole recording.
    """

    max_offset: int = 15
    step: float = 0.5
    fit_range: float = 3.0
    outlier_distance: float = 0.03
    min_frames: int = 10
    min_rise: float = 1.1
    pair_error: float = 1.0
    max_frames: int = 600
    first_frames: int = 150
    window_frames: int = 300
    min_windows: int = 4
    max_windows: int = 8
    min_drift: float = 0.75


@dataclass(frozen=True)
class SyncOffsets:
    """Sync offsets of V views: at frame t + frames + drift * t a view shows what the reference view shows at t.

    Attributes:
        frames: (V,) delay of each view in frames at the first frame, relative to the reference view, which is the
            first view of the largest set of connected views; NaN for views outside the set.
        drift: (V,) growth of the delay per frame; 0 where none is visible.
        spread: (V,) mean disagreement of the pairs with the offsets; NaN with a single pair.
    """

    frames: np.ndarray
    drift: np.ndarray
    spread: np.ndarray

    def whole(self) -> np.ndarray:
        """Return the offsets at the first frame, rounded to whole frames, (V,) int; 0 where unknown."""
        return np.round(np.nan_to_num(self.frames)).astype(int)

    def largest(self, num_frames: int) -> np.ndarray:
        """Return the offset of each view at the first or the last frame, whichever is larger, (V,) frames."""
        last = self.frames + self.drift * (num_frames - 1)
        return np.where(np.abs(last) > np.abs(self.frames), last, self.frames)


def swap_free_points(points_img: np.ndarray, flip_pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return points that do not change if a detector swaps left and right.

    Args:
        points_img: (..., J, 2).
        flip_pairs: (right, left) joints.

    Returns:
        (..., P, 2), the unpaired joints and the midpoints of the pairs.
    """
    paired = {joint for pair in flip_pairs for joint in pair}
    unpaired = [joint for joint in range(points_img.shape[-2]) if joint not in paired]
    right, left = ([pair[side] for pair in flip_pairs] for side in (0, 1))
    midpoints = (points_img[..., right, :] + points_img[..., left, :]) / 2
    return np.concatenate([points_img[..., unpaired, :], midpoints], -2)


def epipolar_distances(points_a: np.ndarray, points_b: np.ndarray, camera_a: Cameras, camera_b: Cameras) -> np.ndarray:
    """Return distances of points in view b from the epipolar lines of points in view a.

    Args:
        points_a, points_b: (N, 2) image px.
        camera_a, camera_b: without leading axes.

    Returns:
        (N,) signed, px of view b, to first order around the image center; NaN where a point is NaN.
    """
    plane_a, plane_b = (_on_plane(points, camera) for points, camera in ((points_a, camera_a), (points_b, camera_b)))
    return _plane_distances(plane_b, _epipolar_normals(plane_a, camera_a, camera_b), camera_b)


def _on_plane(points_img: np.ndarray, camera: Cameras) -> np.ndarray:
    """Return points (N, 2) without distortion, normalized; NaN = not seen."""
    seen = np.isfinite(points_img).all(1, keepdims=True)
    return np.where(seen, undistort(np.where(seen, points_img, camera.c), camera), np.nan)


def _epipolar_normals(plane_a: np.ndarray, camera_a: Cameras, camera_b: Cameras) -> np.ndarray:
    """Return the unit normals (..., 3), frame of camera b, of the epipolar planes of normalized points (..., 2)."""
    normal = _rays(plane_a, camera_a) @ _cross_matrix(camera_b.T - camera_a.T)
    length = np.sqrt(np.einsum("...a,...a->...", normal, normal))
    return normal / np.maximum(length, np.finfo(float).tiny)[..., None] @ camera_b.R.T


def _plane_distances(plane_b: np.ndarray, normal: np.ndarray, camera_b: Cameras) -> np.ndarray:
    """Return the distances (...) of epipolar_distances() of normalized points (..., 2) from epipolar planes."""
    x, y = plane_b[..., 0], plane_b[..., 1]
    above = x * normal[..., 0] + y * normal[..., 1] + normal[..., 2]
    return above / np.sqrt(x * x + y * y + 1) * camera_b.f.mean()


def _rays(plane: np.ndarray, camera: Cameras) -> np.ndarray:
    """Return unit vectors (..., 3), world frame, through normalized points (..., 2)."""
    ray = plane @ camera.R[:2] + camera.R[2]
    return ray / np.sqrt(np.einsum("...a,...a->...", ray, ray))[..., None]


def _cross_matrix(vector: np.ndarray) -> np.ndarray:
    """Return M with ray @ M = cross(ray, vector)."""
    x, y, z = vector
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def estimate_sync_offsets(
    points_img: np.ndarray,
    cameras: Cameras,
    size: np.ndarray,
    flip_pairs: Sequence[tuple[int, int]] = (),
    settings: SyncSettings = SyncSettings(),
) -> SyncOffsets:
    """Estimate sync offsets from the distances of points to the epipolar lines of other views.

    Each pair of views takes the offset with the smallest distances; the offsets of the views are the least-squares
    solution. Long recordings are measured in windows. A robust line through the offsets of a pair gives its drift, the
    difference between clocks. The motion must cross the epipolar lines: a person at rest gives no estimate.

    Args:
        points_img: (F, V, J, 2) image px; NaN = not seen.
        cameras: leading axis V.
        size: (V,) size of the person, px.
        flip_pairs: (right, left) joints that a detector may swap.
        settings: settings of the search.

    Raises:
        InputError: fewer than two views or three frames.
    """
    sizes = check_shape("points_img", points_img.shape, ("F", "V", "J", 2))
    num_frames, num_views = sizes["F"], sizes["V"]
    if num_views < 2 or num_frames < 3:
        raise InputError(f"sync offsets need 2 views and 3 frames, received {num_views} and {num_frames}")
    windows = _windows(num_frames, settings)
    all_pairs = list(itertools.combinations(range(num_views), 2))
    offsets = np.full((len(all_pairs), len(windows)), np.nan)
    centers = np.zeros(len(all_pairs))
    for index, times in enumerate(windows):
        margin = settings.max_offset + int(np.abs(centers).max()) + 1
        begin = max(int(times[0]) - margin, 0)
        points = _points_on_planes(points_img[begin : int(times[-1]) + margin + 1], cameras, flip_pairs)
        for number, (a, b) in enumerate(all_pairs):
            normals = _epipolar_normals(points[times - begin, a], cameras[a], cameras[b])  # (F, P, 3)
            distances = partial(_distances_at, points[:, b], times - begin, normals, cameras[b], float(size[b]))
            reach = min(settings.max_offset, num_frames // 2)
            offsets[number, index] = _best_offset(distances, len(times), centers[number], reach, settings)
        found = offsets[:, index]
        centers = np.where(np.isfinite(found), np.round(found), centers)  # the next window lies nearby
    pairs, measured, drifts = [], [], []
    for pair, found in zip(all_pairs, offsets, strict=True):
        if np.isfinite(found).any():
            middle, drift = _line(np.array([window.mean() for window in windows]), found, num_frames / 2, settings)
            pairs.append(pair)
            measured.append(middle)
            drifts.append(drift * num_frames)
    frames, spread = _solve(pairs, np.array(measured), num_views, settings.pair_error)
    known = np.isfinite(drifts)
    drifting = [pair for pair, is_known in zip(pairs, known, strict=True) if is_known]
    drift, _ = _solve(drifting, np.array(drifts)[known], num_views, settings.pair_error)
    reference = int(np.argmax(frames == 0))  # exactly 0
    drift = np.nan_to_num(drift - drift[reference])  # over the recording
    drift = np.where(np.abs(drift) >= settings.min_drift, drift, 0.0) / num_frames
    return SyncOffsets(frames - drift * num_frames / 2, drift, spread)


def _windows(num_frames: int, settings: SyncSettings) -> list[np.ndarray]:
    """Return the frames of each window; of a short recording one window with frames from everywhere."""
    count = min(num_frames // settings.window_frames, settings.max_windows)
    if count < settings.min_windows:
        return [evenly_spread(num_frames, settings.max_frames)]
    starts = np.linspace(0, num_frames - settings.window_frames, count).astype(int)
    return [start + np.arange(settings.window_frames) for start in starts]


def _points_on_planes(points_img: np.ndarray, cameras: Cameras, flip_pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return swap_free_points() without distortion, normalized (F, V, P, 2)."""
    points = swap_free_points(points_img.astype(float), flip_pairs)
    for view in range(points.shape[1]):
        points[:, view] = _on_plane(points[:, view].reshape(-1, 2), cameras[view]).reshape(points[:, view].shape)
    return points


def _distances_at(
    points_b: np.ndarray,
    times: np.ndarray,
    normals: np.ndarray,
    camera_b: Cameras,
    size: float,
    offset: float,
    stride: int,
) -> np.ndarray:
    """Return the epipolar distances (F / stride, P), shares of the person's size, if the view b is late by an offset.

    Args:
        points_b: (F_b, P, 2) normalized points of the view b.
        times: (F,) frames.
        normals: (F, P, 3) of the epipolar planes of the points of the other view.
        camera_b: camera of the view b.
        size: size of the person, px.
        offset: frames.
        stride: every how many frames.
    """
    return _plane_distances(_at(points_b, times[::stride] + offset), normals[::stride], camera_b) / size


def _best_offset(
    distances: Callable[[float, int], np.ndarray], num_times: int, center: float, reach: int, settings: SyncSettings
) -> float:
    """Return the offset with the lowest cost, frames, at most `reach` from `center`; NaN = not found.

    Args:
        distances: returns distances for an offset and a stride, see _distances_at().
        num_times: frames without stride.
        center: middle of the search, whole frames.
        reach: frames to either side.
        settings: settings of the search.
    """

    def costs(offsets: np.ndarray, stride: int) -> np.ndarray:
        return np.array([_cost(distances(offset, stride), settings) for offset in offsets.tolist()])

    offsets = center + np.arange(-reach, reach + 1.0)
    found = costs(offsets, max(1, num_times // settings.first_frames))
    if not np.isfinite(found).all():
        found = costs(offsets, 1)
    if not np.isfinite(found).all():
        return np.nan
    margin = settings.fit_range + 2 + settings.step / 2
    near = np.arange(center - reach, center + reach + settings.step / 2, settings.step)
    near = near[np.abs(near - offsets[found.argmin()]) < margin]
    return _minimum(near, costs(near, 1), settings)


def _line(times: np.ndarray, values: np.ndarray, middle: float, settings: SyncSettings) -> tuple[float, float]:
    """Return the value at the time `middle` and the slope of a robust line; slope NaN = too few values.

    The slope is the median of the slopes of all pairs of values (Theil and Sen).
    """
    known = np.isfinite(values)
    times, values = times[known], values[known]
    if len(values) < settings.min_windows:
        return float(np.median(values)), np.nan
    first, second = np.triu_indices(len(values), 1)
    slope = float(np.median((values[second] - values[first]) / (times[second] - times[first])))
    return float(np.median(values - slope * (times - middle))), slope


def _minimum(offsets: np.ndarray, costs: np.ndarray, settings: SyncSettings) -> float:
    """Return the minimum of a parabola around the lowest cost; NaN if it is at the border or too flat."""
    if not np.isfinite(costs).all():
        return np.nan
    best = int(costs.argmin())
    reach = round(settings.fit_range / settings.step)
    if best < reach or best + reach >= len(costs):
        return np.nan
    near = slice(best - reach, best + reach + 1)
    if min(costs[near.start], costs[near.stop - 1]) < settings.min_rise * costs[best]:
        return np.nan
    curvature, slope, _ = np.polyfit(offsets[near] - offsets[best], costs[near], 2)
    return float(offsets[best] + np.clip(-slope / (2 * curvature), -settings.fit_range, settings.fit_range))


def _at(points: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return points (F, P, 2) at the times (T,), in frames, interpolated linearly; NaN outside."""
    before = np.floor(times).astype(int)
    share = (times - before)[:, None, None]
    inside = (before >= 0) & (before + (share[:, 0, 0] > 0) < len(points))
    first, second = (points[(before + step).clip(0, len(points) - 1)] for step in (0, 1))
    between = np.where(share > 0, (1 - share) * first + share * second, first)
    return np.where(inside[:, None, None], between, np.nan)


def _cost(distance: np.ndarray, settings: SyncSettings) -> float:
    """Return the mean robust squared epipolar distance, shares of the person's size squared; NaN = too few points.

    The median distance of each point is subtracted, since a detector has another bias in each view.

    Args:
        distance: (F, P) shares of the person's size.
        settings: settings of the search.
    """
    count = np.isfinite(distance).sum(0)
    enough = count >= settings.min_frames
    if not enough.any():
        return np.nan
    distance, count = distance[:, enough], count[enough]
    ascending = np.sort(distance, 0)  # NaN last; faster than nanmedian()
    middle = (np.take_along_axis(ascending, (count[None] - back) // 2, 0) for back in (0, 1))
    distance = distance - sum(middle) / 2
    square = distance[np.isfinite(distance)] ** 2
    return float((square / (1 + square / settings.outlier_distance**2)).mean())


def _solve(
    pairs: Sequence[tuple[int, int]], measured: np.ndarray, num_views: int, pair_error: float
) -> tuple[np.ndarray, np.ndarray]:
    """Solve value[b] - value[a] = measured for the largest set of connected views, whose first view has the value 0.

    Iteratively reweighted least squares (Huber), so that one wrong pair has little influence.

    Returns:
        (V,) values, NaN outside the set; (V,) mean disagreement of the pairs, NaN with a single pair.
    """
    connected = _largest_set(pairs, num_views)
    rows = np.zeros((len(pairs), num_views))
    for row, (a, b) in enumerate(pairs):
        rows[row, [a, b]] = -1, 1
    unknown = np.delete(rows, connected[0], 1)  # the offset of the first view is 0
    frames = np.zeros(num_views)
    weight = np.ones(len(pairs))
    for _ in range(10 if len(pairs) else 0):
        solution = np.linalg.lstsq(unknown * weight[:, None], measured * weight, rcond=None)[0]
        frames = np.insert(solution, connected[0], 0.0)
        weight = 1 / np.sqrt(np.abs(rows @ frames - measured).clip(pair_error))
    spread = np.full(num_views, np.nan)
    for view in connected:
        own = [row for row, pair in enumerate(pairs) if view in pair]
        if len(own) > 1:
            spread[view] = np.abs(rows[own] @ frames - measured[own]).mean()
    frames[np.isin(np.arange(num_views), connected, invert=True)] = np.nan
    return frames, spread


def _largest_set(pairs: Sequence[tuple[int, int]], num_views: int) -> list[int]:
    """Return the largest set of views that pairs connect, in ascending order."""
    connected = [{view} for view in range(num_views)]
    for a, b in pairs:
        joined = connected[a] | connected[b]
        for view in joined:
            connected[view] = joined
    return sorted(max(connected, key=len))
