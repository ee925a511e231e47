"""Points from ambiguous peaks in several views: the place in space on which the views agree most."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.peak_rays import (
    PeakRays,
    midpoints,
    peak_rays,
    peak_scores,
    plane_slopes,
    project_to_planes,
    view_pairs,
)
from lib.utils.errors import InputError, check_shape

_REFITS = 5
_DAMPING = 1e-9  # share of the normal matrix' trace: a direction that no view sees does not move
_BLOCK_TESTS = 2**20  # hypotheses times peaks that are tested together: bounds the memory


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
    pairs = view_pairs(num_views, num_peaks)
    tests_per_frame = num_points * len(pairs) * num_views * num_peaks
    size = max(_BLOCK_TESTS // max(tests_per_frame, 1), 1)
    points_world = np.empty((num_frames, num_points, 3))
    for start in range(0, num_frames, size):
        frames = slice(start, start + size)
        rays = _normalised(peak_rays(peaks_img[frames], values[frames], cameras[frames], tolerance_img[frames]))
        first_guess = _best_hypothesis(rays, cameras[frames], pairs)
        points_world[frames] = _refit(first_guess, rays, cameras[frames])
    return points_world


def _normalised(rays: PeakRays) -> PeakRays:
    """Scale the weights of each point's peaks so that the largest is 1."""
    highest = rays.weight.max((1, 3), keepdims=True)
    return replace(rays, weight=rays.weight / np.where(highest > 0, highest, 1.0))


def _best_hypothesis(rays: PeakRays, cameras: Cameras, pairs: np.ndarray) -> np.ndarray:
    """Return the hypothesis with the highest score, (F, P, 3) mm; NaN where there is none."""
    points, possible = midpoints(rays, cameras, pairs)  # (F, P, H, 3), (F, P, H)
    num_frames, num_points, num_pairs = possible.shape
    place, depth = project_to_planes(points.reshape(num_frames, -1, 3), rays.zoom, cameras)
    shape = (num_frames, -1, num_points, num_pairs)
    gain = peak_scores(place.reshape(*shape, 2), depth.reshape(shape), rays)  # (F, V, P, H, K)
    score = np.where(possible, gain.max(-1).sum(1), -1.0)
    best = score.argmax(-1)[..., None]  # (F, P, 1)
    found = np.take_along_axis(possible, best, -1)
    return np.where(found, np.take_along_axis(points, best[..., None], 2)[:, :, 0], np.nan)


def _refit(points_world: np.ndarray, rays: PeakRays, cameras: Cameras) -> np.ndarray:
    """Move points (F, P, 3) to the weighted least-squares fit of the peaks that agree; NaN where fewer than two do."""
    found = np.isfinite(points_world).all(-1)
    points = np.where(found[..., None], points_world, cameras.T.mean(1)[:, None])
    for _ in range(_REFITS):
        place, depth, chosen, weight = _agreeing_peaks(points, rays, cameras)
        slope = plane_slopes(place, depth, rays.zoom, cameras)  # (F, V, P, 2, 3)
        normal = np.einsum("fvpci,fvpcj->fpij", slope * weight[..., None, None], slope)
        pull = np.einsum("fvpci,fvpc->fpi", slope, (chosen - place) * weight[..., None])
        damping = _DAMPING * np.trace(normal, axis1=-2, axis2=-1) + np.finfo(float).tiny
        points = points + np.linalg.solve(normal + damping[..., None, None] * np.eye(3), pull[..., None])[..., 0]
    agreeing = (_agreeing_peaks(points, rays, cameras)[3] > 0).sum(1)
    return np.where((found & (agreeing >= 2))[..., None], points, np.nan)


def _agreeing_peaks(
    points_world: np.ndarray, rays: PeakRays, cameras: Cameras
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Choose the peak per view that adds most to a point's score.

    Args:
        points_world: (F, P, 3) mm.
        rays: of the F frames.
        cameras: leading axes (F, V).

    Returns:
        (F, V, P, 2) the points' own places and (F, V, P) their depth; (F, V, P, 2) the places of the chosen peaks;
        (F, V, P) their weights, 0 where no peak agrees.
    """
    place, depth = project_to_planes(points_world, rays.zoom, cameras)
    gain = peak_scores(place[:, :, :, None], depth[..., None], rays)[:, :, :, 0]  # (F, V, P, K)
    best = gain.argmax(-1)[..., None]
    weight = np.where(np.take_along_axis(gain, best, -1) > 0, np.take_along_axis(rays.weight, best, -1), 0.0)
    return place, depth, np.take_along_axis(rays.place, best[..., None], 3)[:, :, :, 0], weight[..., 0]
