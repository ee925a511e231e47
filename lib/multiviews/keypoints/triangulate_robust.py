"""Robust triangulation from several peaks per view."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.peak_rays import (
    PeakRays,
    frame_blocks,
    midpoints,
    peak_rays,
    peak_scores,
    plane_slopes,
    project_to_planes,
    view_pairs,
)
from lib.utils.errors import InputError, check_shape

if TYPE_CHECKING:
    from lib.multiviews.pictorial.backend_numpy import Backend

REFITS = 5  # Gauss-Newton steps
DAMPING = 1e-9  # relative to the trace of the normal matrix; fixes directions that no view constrains
_BLOCK_TESTS = 2**20  # hypotheses times peaks per block; limits memory


def triangulate_robust(
    peaks_img: np.ndarray,
    values: np.ndarray,
    cameras: Cameras,
    tolerance_img: np.ndarray,
    backend: Backend | None = None,
) -> np.ndarray:
    """Triangulate points from K candidate peaks per view, some of them wrong.

    The hypotheses are the midpoints of the rays of all pairs of peaks of different views. The score of a point is the
    sum over the views of value * (1 - (distance / tolerance)^2) of the best peak within the tolerance. The best
    hypothesis is refined by Gauss-Newton, which selects the peaks again at each step. Outliers have no influence.

    Args:
        peaks_img: (F, V, P, K, 2) image px, with lens distortion; NaN = missing.
        values: (F, V, P, K) heights of the peaks, relative to each other within a point; peaks <= 0 are ignored.
        cameras: cameras with leading axes (F, V).
        tolerance_img: (F, V) image px.
        backend: its kernel is used if it has one; None = numpy.

    Returns:
        (F, P, 3) world frame, mm; NaN where no two views agree.

    Raises:
        InputError: shapes disagree, fewer than two views, or a tolerance that is not positive.

    Source: RANSAC over all pairs with the MSAC score (Torr and Zisserman, MLESAC, 2000).
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
    if backend is not None and backend.triangulate_robust is not None:
        return backend.triangulate_robust(peaks_img, values, cameras, tolerance_img)
    pairs = view_pairs(num_views, num_peaks)
    tests_per_frame = num_points * len(pairs) * num_views * num_peaks
    points_world = np.empty((num_frames, num_points, 3))
    for frames in frame_blocks(num_frames, tests_per_frame, _BLOCK_TESTS):
        rays = _normalized(peak_rays(peaks_img[frames], values[frames], cameras[frames], tolerance_img[frames]))
        first_guess = _best_hypothesis(rays, cameras[frames], pairs)
        points_world[frames] = _refit(first_guess, rays, cameras[frames])
    return points_world


def _normalized(rays: PeakRays) -> PeakRays:
    """Scale the weights so that the largest of each point is 1."""
    highest = rays.weight.max((1, 3), keepdims=True)
    return replace(rays, weight=rays.weight / np.where(highest > 0, highest, 1.0))


def _best_hypothesis(rays: PeakRays, cameras: Cameras, pairs: np.ndarray) -> np.ndarray:
    """Return the hypothesis with the highest score, (F, P, 3) mm; NaN without hypotheses."""
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
    """Fit points (F, P, 3) to their inlier peaks by weighted least squares; NaN with fewer than two inliers."""
    found = np.isfinite(points_world).all(-1)
    points = np.where(found[..., None], points_world, cameras.T.mean(1)[:, None])
    for _ in range(REFITS):
        place, depth, chosen, weight = _select_peaks(points, rays, cameras)
        slope = plane_slopes(place, depth, rays.zoom, cameras)  # (F, V, P, 2, 3)
        normal = np.einsum("fvpci,fvpcj->fpij", slope * weight[..., None, None], slope)
        pull = np.einsum("fvpci,fvpc->fpi", slope, (chosen - place) * weight[..., None])
        damping = DAMPING * np.trace(normal, axis1=-2, axis2=-1) + np.finfo(float).tiny
        points = points + np.linalg.solve(normal + damping[..., None, None] * np.eye(3), pull[..., None])[..., 0]
    inliers = (_select_peaks(points, rays, cameras)[3] > 0).sum(1)
    return np.where((found & (inliers >= 2))[..., None], points, np.nan)


def _select_peaks(
    points_world: np.ndarray, rays: PeakRays, cameras: Cameras
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Select the peak per view with the highest score for points (F, P, 3), mm.

    Returns:
        Projections (F, V, P, 2) and depths (F, V, P) of the points; places (F, V, P, 2) and weights (F, V, P) of the
        selected peaks, weight 0 without an inlier.
    """
    place, depth = project_to_planes(points_world, rays.zoom, cameras)
    gain = peak_scores(place[:, :, :, None], depth[..., None], rays)[:, :, :, 0]  # (F, V, P, K)
    best = gain.argmax(-1)[..., None]
    weight = np.where(np.take_along_axis(gain, best, -1) > 0, np.take_along_axis(rays.weight, best, -1), 0.0)
    return place, depth, np.take_along_axis(rays.place, best[..., None], 3)[:, :, :, 0], weight[..., 0]
