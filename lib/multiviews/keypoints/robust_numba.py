"""Robust triangulation compiled by numba, point by point. triangulate_robust.py describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras
from lib.multiviews.compiled import compiled, inner
from lib.multiviews.keypoints.rays_numba import (
    best_peak,
    midpoint,
    peak_rays_compiled,
    project_to_plane,
    ray_arrays,
    solve_symmetric_3,
    world_ray,
)
from lib.multiviews.keypoints.triangulate_robust import DAMPING, REFITS

if TYPE_CHECKING:
    from lib.multiviews.pictorial.backend_numba import NumbaBackend

_TINY = np.finfo(float).tiny


def triangulate_robust_compiled(
    peaks_img: np.ndarray, values: np.ndarray, cameras: Cameras, tolerance_img: np.ndarray, backend: NumbaBackend
) -> np.ndarray:
    """Do as triangulate_robust() with checked arguments."""
    arrays = ray_arrays(peak_rays_compiled(peaks_img, values, cameras, tolerance_img, backend), cameras)
    points = np.empty((len(values), values.shape[2], 3))

    def solve(frames: slice) -> None:
        _solve_frames(*(array[frames] for array in arrays), points[frames])

    backend.for_each(solve, backend.shares(len(points)))
    return points


@compiled()
def _solve_frames(place, weight, zoom, R, T, points):
    """Write the points (F, P, 3), mm. The weights (F, V, P, K) are scaled in place, to 1 at most."""
    num_frames, num_views, num_points, num_peaks = weight.shape
    rays = np.empty((num_views, num_peaks, 3))
    trial = np.empty(3)
    for f in range(num_frames):
        for p in range(num_points):
            highest = 0.0
            for v in range(num_views):
                for k in range(num_peaks):
                    highest = max(highest, weight[f, v, p, k])
            for v in range(num_views):
                for k in range(num_peaks):
                    if weight[f, v, p, k] > 0:
                        weight[f, v, p, k] /= highest
                        world_ray(place[f, v, p, k], R[f, v], zoom[f, v], rays[v, k])
            point = points[f, p]
            best = -1.0
            for v in range(num_views):
                for k in range(num_peaks):
                    for w in range(v + 1, num_views):
                        for m in range(num_peaks):
                            if not (weight[f, v, p, k] > 0 and weight[f, w, p, m] > 0):
                                continue
                            if not midpoint(rays[v, k], T[f, v], rays[w, m], T[f, w], trial):
                                continue
                            score = 0.0
                            for u in range(num_views):
                                x, y, depth = project_to_plane(trial, R[f, u], T[f, u], zoom[f, u])
                                score += best_peak(x, y, depth, place[f, u, p], weight[f, u, p])[0]
                            if score > best:
                                best = score
                                for axis in range(3):
                                    point[axis] = trial[axis]
            if best < 0 or not _refit(point, place[f, :, p], weight[f, :, p], zoom[f], R[f], T[f]):
                for axis in range(3):
                    point[axis] = np.nan


@inner()
def _refit(point, place, weight, zoom, R, T):
    """Fit a point (3,) to its inlier peaks in place; return whether two views agree."""
    for _ in range(REFITS):
        xx = xy = xz = yy = yz = zz = x = y = z = 0.0
        for v in range(len(weight)):
            px, py, depth = project_to_plane(point, R[v], T[v], zoom[v])
            gain, k = best_peak(px, py, depth, place[v], weight[v])
            if not gain > 0:
                continue
            near = 1 / max(depth, MIN_DEPTH_MM)
            for axis in range(2):
                plane = (px if axis == 0 else py) / zoom[v, axis]
                a = (R[v, axis, 0] - plane * R[v, 2, 0]) * zoom[v, axis] * near
                b = (R[v, axis, 1] - plane * R[v, 2, 1]) * zoom[v, axis] * near
                c = (R[v, axis, 2] - plane * R[v, 2, 2]) * zoom[v, axis] * near
                residual = (place[v, k, axis] - (px if axis == 0 else py)) * weight[v, k]
                xx += weight[v, k] * a * a
                xy += weight[v, k] * a * b
                xz += weight[v, k] * a * c
                yy += weight[v, k] * b * b
                yz += weight[v, k] * b * c
                zz += weight[v, k] * c * c
                x += a * residual
                y += b * residual
                z += c * residual
        damping = DAMPING * (xx + yy + zz) + _TINY
        x, y, z = solve_symmetric_3(xx + damping, xy, xz, yy + damping, yz, zz + damping, x, y, z)
        point[0] += x
        point[1] += y
        point[2] += z
    inliers = 0
    for v in range(len(weight)):
        x, y, depth = project_to_plane(point, R[v], T[v], zoom[v])
        if best_peak(x, y, depth, place[v], weight[v])[0] > 0:
            inliers += 1
    return inliers >= 2
