"""Geometry of peak rays for compiled functions. cameras.py and peak_rays.py describe it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, UndistortSettings, lens_reach
from lib.multiviews.compiled import compiled, inner
from lib.multiviews.keypoints.peak_rays import FLOOR, MIN_SIN2, PeakRays

if TYPE_CHECKING:
    from lib.multiviews.pictorial.backend_numba import NumbaBackend

_MAX_ERROR_PX = UndistortSettings.max_error_px
_LAST_STEP_ERROR = UndistortSettings.last_step_error
_MAX_STEPS = UndistortSettings.max_steps
_MIN_AREA_RATIO = UndistortSettings.min_area_ratio


def ray_arrays(rays: PeakRays, cameras: Cameras) -> tuple[np.ndarray, ...]:
    """Return place (F, V, P, K, 2), weight, zoom, R and T as compiled functions take them."""
    arrays = (rays.place, rays.weight, rays.zoom, cameras.R, cameras.T)
    return tuple(np.require(array, np.float64, "CW") for array in arrays)


def peak_rays_compiled(
    peaks_img: np.ndarray, weights: np.ndarray, cameras: Cameras, tolerance_img: np.ndarray, backend: NumbaBackend
) -> PeakRays:
    """Do as peak_rays()."""
    reach = np.sqrt(lens_reach(cameras))
    zoom = cameras.f / tolerance_img[..., None]
    numbers = np.concatenate([cameras.f, cameras.c, cameras.k, cameras.p, reach[..., None], zoom], -1)  # (F, V, 12)
    place, weight = np.empty(peaks_img.shape), np.empty(weights.shape)
    peaks_img, weights = (np.require(values, np.float64, "CW") for values in (peaks_img, weights))

    def undistort(frames: slice) -> None:
        _fill_rays(peaks_img[frames], weights[frames], numbers[frames], place[frames], weight[frames])

    backend.for_each(undistort, backend.shares(len(place)))
    return PeakRays(place, weight, zoom)


@compiled()
def _fill_rays(peaks_img, weights, numbers, place, weight):
    num_frames, num_views, num_points, num_peaks = weights.shape
    for f in range(num_frames):
        for v in range(num_views):
            camera = numbers[f, v]
            for p in range(num_points):
                for k in range(num_peaks):
                    place[f, v, p, k, 0] = place[f, v, p, k, 1] = weight[f, v, p, k] = 0.0
                    px, py, w = peaks_img[f, v, p, k, 0], peaks_img[f, v, p, k, 1], weights[f, v, p, k]
                    if not (w > 0 and np.isfinite(px) and np.isfinite(py)):
                        continue
                    x, y, found = _undistort((px - camera[2]) / camera[0], (py - camera[3]) / camera[1], camera)
                    if found:
                        place[f, v, p, k, 0], place[f, v, p, k, 1] = x * camera[10], y * camera[11]
                        weight[f, v, p, k] = w


@inner()
def _undistort(distorted_x, distorted_y, camera):
    """Return the point without lens distortion (x/z, y/z) and whether a ray leads to it, as undistort()."""
    limit = camera[9]
    x, y = _within(distorted_x, distorted_y, limit)
    step_x, step_y, error = _newton_step(x, y, distorted_x, distorted_y, camera)
    for _ in range(_MAX_STEPS):
        if not error > _LAST_STEP_ERROR:
            break
        new_x, new_y = _within(x + step_x, y + step_y, limit)
        new_step_x, new_step_y, new_error = _newton_step(new_x, new_y, distorted_x, distorted_y, camera)
        if new_error < error:
            x, y, step_x, step_y, error = new_x, new_y, new_step_x, new_step_y, new_error
        else:
            step_x, step_y = step_x / 2, step_y / 2
    x, y = _within(x + step_x, y + step_y, limit)
    return x, y, error * (camera[0] + camera[1]) / 2 <= _MAX_ERROR_PX


@inner()
def _within(x, y, limit):
    """Limit the distance of a point from the optical axis."""
    share = limit / max(np.sqrt(x * x + y * y), limit)
    return x * share, y * share


@inner()
def _newton_step(x, y, distorted_x, distorted_y, camera):
    """Return Newton's step (x, y) and the error of the distorted image."""
    k0, k1, k2, p0, p1 = camera[4], camera[5], camera[6], camera[7], camera[8]
    r2 = x * x + y * y
    factor = 1 + r2 * (k0 + r2 * (k1 + r2 * k2)) + 2 * (p0 * y + p1 * x)
    error_x = distorted_x - x * factor - p1 * r2
    error_y = distorted_y - y * factor - p0 * r2
    bend = 2 * (k0 + r2 * (2 * k1 + r2 * 3 * k2))
    xx, yy = factor + x * (x * bend + 4 * p1), factor + y * (y * bend + 4 * p0)
    xy = x * y * bend + 2 * (p0 * x + p1 * y)
    scale = 1 / max(xx * yy - xy * xy, _MIN_AREA_RATIO)
    step_x, step_y = (yy * error_x - xy * error_y) * scale, (xx * error_y - xy * error_x) * scale
    return step_x, step_y, abs(error_x) + abs(error_y)


@inner()
def project_to_plane(point, R, T, zoom):
    """Return the place of a point (3,), in tolerances, and its depth, mm; see project_to_planes()."""
    x, y, z = point[0] - T[0], point[1] - T[1], point[2] - T[2]
    depth = R[2, 0] * x + R[2, 1] * y + R[2, 2] * z
    scale = 1 / max(depth, MIN_DEPTH_MM)
    x_cam, y_cam = R[0, 0] * x + R[0, 1] * y + R[0, 2] * z, R[1, 0] * x + R[1, 1] * y + R[1, 2] * z
    return x_cam * scale * zoom[0], y_cam * scale * zoom[1], depth


@inner()
def world_ray(place, R, zoom, ray):
    """Write the direction (3,) of the ray through a place (2,), world frame, length 1."""
    x, y = place[0] / zoom[0], place[1] / zoom[1]
    scale = 1 / np.sqrt(x * x + y * y + 1)
    for axis in range(3):
        ray[axis] = (x * R[0, axis] + y * R[1, axis] + R[2, axis]) * scale


@inner()
def midpoint(ray_one, center_one, ray_other, center_other, point):
    """Write the midpoint (3,) between two rays and return whether it exists; see midpoints()."""
    cosine = along_one = along_other = 0.0
    for axis in range(3):
        baseline = center_other[axis] - center_one[axis]
        cosine += ray_one[axis] * ray_other[axis]
        along_one += ray_one[axis] * baseline
        along_other += ray_other[axis] * baseline
    sine2 = 1 - cosine * cosine
    if not sine2 > MIN_SIN2:
        return False
    depth_one, depth_other = (along_one - cosine * along_other) / sine2, (cosine * along_one - along_other) / sine2
    for axis in range(3):
        one, other = center_one[axis] + depth_one * ray_one[axis], center_other[axis] + depth_other * ray_other[axis]
        point[axis] = (one + other) / 2
    return depth_one > 0 and depth_other > 0


@inner()
def best_peak(x, y, depth, place, weight):
    """Return the score of the best of K peaks for a place, and its index; see peak_scores()."""
    best, index = 0.0, 0
    if depth >= MIN_DEPTH_MM:
        for k in range(len(weight)):
            dx, dy = x - place[k, 0], y - place[k, 1]
            gain = (1 - (dx * dx + dy * dy)) * weight[k]
            if gain > best:
                best, index = gain, k
    return best, index


@inner()
def log_score(best):
    """Return the score of a view from the score of its best peak; see view_scores()."""
    return np.log1p(best / FLOOR)


@inner()
def solve_symmetric_3(xx, xy, xz, yy, yz, zz, x, y, z):
    """Solve a positive definite system of three equations by its LDL decomposition."""
    a, b = xy / xx, xz / xx
    dy, c = yy - a * xy, yz - a * xz
    d = c / dy
    dz = zz - b * xz - d * c
    y -= a * x
    z -= b * x + d * y
    z /= dz
    y = y / dy - d * z
    return x / xx - a * y - b * z, y, z
