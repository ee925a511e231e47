"""Points from ambiguous peaks in several views: the place in space on which the views agree most."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, undistort, world_to_camera
from lib.utils.checks import InputError, check_shape

_REFITS = 5
_MIN_SIN2 = 1e-6  # squared sine of the angle between two rays; below it they say nothing about the depth
_DAMPING = 1e-9  # share of the normal matrix' trace: a direction that no view sees does not move
_BLOCK_TESTS = 2**20  # hypotheses times peaks that are tested together: bounds the memory


@dataclass(frozen=True)
class _Peaks:
    """Peaks of F frames, V views, P points, K per map, on the undistorted image planes.

    Attributes:
        place: (F, V, P, K, 2) = (x/z, y/z) times `zoom`; 0 where there is none.
        weight: (F, V, P, K) from 0, no peak, to 1.
        zoom: (F, V, 2) focal lengths in tolerances, so that distances of places are in tolerances.
    """

    place: np.ndarray
    weight: np.ndarray
    zoom: np.ndarray


def triangulate_robust(
    peaks_img: np.ndarray, values: np.ndarray, cameras: Cameras, tolerance_img: np.ndarray
) -> np.ndarray:
    """Triangulate points of which each view offers several peaks, right and wrong ones.

    A place in space scores, in each view, value * (1 - (distance / tolerance)^2) of the best of the peaks nearer than
    the tolerance to its projection. The hypotheses are the points nearest to the rays of two peaks, for all pairs of
    peaks of different views; the best one is then refitted to its peaks by Gauss-Newton, chosen anew at each step,
    which maximises the same score. A wrong peak beyond the tolerance has no influence at all.

    Args:
        peaks_img: (F, V, P, K, 2) image px, with lens distortion; NaN = none.
        values: (F, V, P, K) heights of the peaks; only their ratios within a point matter, those <= 0 are left out.
        cameras: cameras with leading axes (F, V).
        tolerance_img: (F, V) image px.

    Returns:
        (F, P, 3) world frame, mm; NaN where no two views agree.

    Raises:
        InputError: shapes disagree, there are fewer than two views, or a tolerance is not positive.

    Source: all-pairs RANSAC with the MSAC score (Torr and Zisserman, MLESAC, 2000).
    """
    sizes = check_shape("peaks_img", peaks_img.shape, ("F", "V", "P", "K", 2))
    num_frames, num_views, num_points, num_peaks = (sizes[axis] for axis in "FVPK")
    if num_views < 2:
        raise InputError(f"triangulation needs at least 2 views, received {num_views}")
    check_shape("values", values.shape, peaks_img.shape[:4])
    check_shape("cameras.T", cameras.T.shape, (num_frames, num_views, 3))
    check_shape("tolerance_img", tolerance_img.shape, (num_frames, num_views))
    if not (tolerance_img > 0).all():
        raise InputError("triangulation: expected tolerances above 0 px")
    pairs = _pairs(num_views, num_peaks)
    tests_per_frame = num_points * len(pairs) * num_views * num_peaks
    size = max(_BLOCK_TESTS // max(tests_per_frame, 1), 1)
    points_world = np.empty((num_frames, num_points, 3))
    for start in range(0, num_frames, size):
        frames = slice(start, start + size)
        peaks = _on_planes(peaks_img[frames], values[frames], cameras[frames], tolerance_img[frames])
        first_guess = _best_hypothesis(peaks, cameras[frames], pairs)
        points_world[frames] = _refit(first_guess, peaks, cameras[frames])
    return points_world


def _pairs(num_views: int, num_peaks: int) -> np.ndarray:
    """Return (H, 2): all pairs of peaks of different views, as indices into the flat axes (V, K)."""
    flat = range(num_views * num_peaks)
    pairs = [pair for pair in itertools.combinations(flat, 2) if pair[0] // num_peaks != pair[1] // num_peaks]
    return np.array(pairs)


def _on_planes(peaks_img: np.ndarray, values: np.ndarray, cameras: Cameras, tolerance_img: np.ndarray) -> _Peaks:
    exists = np.isfinite(peaks_img).all(-1) & (values > 0)  # (F, V, P, K)
    flat = peaks_img.reshape(*peaks_img.shape[:2], -1, 2)
    with np.errstate(over="ignore", invalid="ignore"):  # far outside the image the lens model may not be invertible
        place = undistort(np.where(exists.reshape(flat.shape[:3])[..., None], flat, cameras.c[:, :, None]), cameras)
    place = place.reshape(peaks_img.shape)
    exists &= np.isfinite(place).all(-1)
    weight = np.where(exists, values, 0.0)
    highest = weight.max((1, 3), keepdims=True)
    zoom = cameras.f / tolerance_img[..., None]
    place = np.where(exists[..., None], place, 0.0) * zoom[:, :, None, None]
    return _Peaks(place, weight / np.where(highest > 0, highest, 1.0), zoom)


def _best_hypothesis(peaks: _Peaks, cameras: Cameras, pairs: np.ndarray) -> np.ndarray:
    """Return the hypothesis with the highest score, (F, P, 3) mm; NaN where there is none."""
    points, possible = _midpoints(peaks, cameras, pairs)  # (F, P, H, 3), (F, P, H)
    num_frames, num_points, num_pairs = possible.shape
    place, depth = _project(points.reshape(num_frames, -1, 3), peaks.zoom, cameras)
    shape = (num_frames, -1, num_points, num_pairs)
    gain = _gain(place.reshape(*shape, 2), depth.reshape(shape), peaks)  # (F, V, P, H, K)
    score = np.where(possible, gain.max(-1).sum(1), -1.0)
    best = score.argmax(-1)[..., None]  # (F, P, 1)
    found = np.take_along_axis(possible, best, -1)
    return np.where(found, np.take_along_axis(points, best[..., None], 2)[:, :, 0], np.nan)


def _midpoints(peaks: _Peaks, cameras: Cameras, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the points nearest to both rays of each pair, (F, P, H, 3) mm, and where they exist, (F, P, H)."""
    num_frames, num_views, num_points, num_peaks = peaks.weight.shape
    plane = peaks.place / peaks.zoom[:, :, None, None]
    ray = np.concatenate([plane, np.ones((*plane.shape[:-1], 1))], -1)
    ray = (ray / np.linalg.norm(ray, axis=-1, keepdims=True)).reshape(num_frames, num_views, -1, 3) @ cameras.R
    ray = ray.reshape(num_frames, num_views, num_points, num_peaks, 3).swapaxes(1, 2)
    ray = ray.reshape(num_frames, num_points, -1, 3)  # (F, P, V*K, 3), world frame
    exists = peaks.weight.swapaxes(1, 2).reshape(num_frames, num_points, -1) > 0
    one, other = pairs.T
    ray_one, ray_other = ray[:, :, one], ray[:, :, other]  # (F, P, H, 3)
    center_one, center_other = (cameras.T[:, None, side // num_peaks] for side in (one, other))  # (F, 1, H, 3)
    baseline = center_other - center_one
    cosine = (ray_one * ray_other).sum(-1)
    along_one, along_other = (ray_one * baseline).sum(-1), (ray_other * baseline).sum(-1)
    sine2 = 1 - cosine**2
    scale = 1 / np.maximum(sine2, _MIN_SIN2)
    depth_one = (along_one - cosine * along_other) * scale
    depth_other = (cosine * along_one - along_other) * scale
    points = (center_one + depth_one[..., None] * ray_one + center_other + depth_other[..., None] * ray_other) / 2
    possible = exists[:, :, one] & exists[:, :, other] & (sine2 > _MIN_SIN2) & (depth_one > 0) & (depth_other > 0)
    return points, possible


def _project(points_world: np.ndarray, zoom: np.ndarray, cameras: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """(F, N, 3) mm -> (F, V, N, 2) on the image planes, in tolerances, and (F, V, N) depth, mm."""
    points_cam = world_to_camera(points_world[:, None], cameras)
    depth = points_cam[..., 2]
    return points_cam[..., :2] / depth.clip(MIN_DEPTH_MM)[..., None] * zoom[:, :, None], depth


def _gain(place: np.ndarray, depth: np.ndarray, peaks: _Peaks) -> np.ndarray:
    """Return what each peak adds to the score of places (F, V, P, H, 2): (F, V, P, H, K)."""
    x = place[..., 0, None] - peaks.place[:, :, :, None, :, 0]
    y = place[..., 1, None] - peaks.place[:, :, :, None, :, 1]
    gain = (1 - x * x - y * y).clip(0) * peaks.weight[:, :, :, None]
    return gain * (depth >= MIN_DEPTH_MM)[..., None]


def _refit(points_world: np.ndarray, peaks: _Peaks, cameras: Cameras) -> np.ndarray:
    """Move points (F, P, 3) to the weighted least-squares fit of the peaks that agree; NaN where fewer than two do."""
    found = np.isfinite(points_world).all(-1)
    points = np.where(found[..., None], points_world, cameras.T.mean(1)[:, None])
    for _ in range(_REFITS):
        place, depth, chosen, weight = _agreeing_peaks(points, peaks, cameras)
        # d place / d point = zoom / depth * (R rows 0 and 1 - place / zoom * R row 2)
        plane = place / peaks.zoom[:, :, None]
        slope = cameras.R[:, :, None, :2] - plane[..., None] * cameras.R[:, :, None, 2:]  # (F, V, P, 2, 3)
        slope = slope * (peaks.zoom[:, :, None] / depth.clip(MIN_DEPTH_MM)[..., None])[..., None]
        normal = np.einsum("fvpci,fvpcj->fpij", slope * weight[..., None, None], slope)
        pull = np.einsum("fvpci,fvpc->fpi", slope, (chosen - place) * weight[..., None])
        damping = _DAMPING * np.trace(normal, axis1=-2, axis2=-1) + np.finfo(float).tiny
        points = points + np.linalg.solve(normal + damping[..., None, None] * np.eye(3), pull[..., None])[..., 0]
    agreeing = (_agreeing_peaks(points, peaks, cameras)[3] > 0).sum(1)
    return np.where((found & (agreeing >= 2))[..., None], points, np.nan)


def _agreeing_peaks(
    points_world: np.ndarray, peaks: _Peaks, cameras: Cameras
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Choose the peak per view that adds most to a point's score.

    Args:
        points_world: (F, P, 3) mm.
        peaks: of the F frames.
        cameras: leading axes (F, V).

    Returns:
        (F, V, P, 2) the points' own places and (F, V, P) their depth; (F, V, P, 2) the places of the chosen peaks;
        (F, V, P) their weights, 0 where no peak agrees.
    """
    place, depth = _project(points_world, peaks.zoom, cameras)
    gain = _gain(place[:, :, :, None], depth[..., None], peaks)[:, :, :, 0]  # (F, V, P, K)
    best = gain.argmax(-1)[..., None]
    weight = np.where(np.take_along_axis(gain, best, -1) > 0, np.take_along_axis(peaks.weight, best, -1), 0.0)
    return place, depth, np.take_along_axis(peaks.place, best[..., None], 3)[:, :, :, 0], weight[..., 0]
