"""Heatmap peaks of several views as rays: intersections of pairs, and scores of 3D points."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, undistort, world_to_camera

if TYPE_CHECKING:
    from lib.multiviews.pictorial.backend_numpy import Backend

FLOOR = 0.1  # score of a view without a peak near a point, relative to a full peak
MIN_SIN2 = 1e-6  # squared sine of the angle between two rays, below which their depth is undetermined


@dataclass(frozen=True)
class PeakRays:
    """K peaks per map of F frames, V views and P points, on the undistorted image planes, in units of the tolerance.

    Attributes:
        place: (F, V, P, K, 2) = (x/z, y/z) times `zoom`; 0 for missing peaks.
        weight: (F, V, P, K) positive; 0 for missing peaks.
        zoom: (F, V, 2) focal lengths, in tolerances.
    """

    place: Any
    weight: Any
    zoom: Any

    def map(self, function: Callable) -> PeakRays:
        """Apply a function to every array."""
        return PeakRays(function(self.place), function(self.weight), function(self.zoom))

    def __getitem__(self, frames: Any) -> PeakRays:
        return self.map(lambda array: array[frames])

    def joints(self, index: list[int]) -> PeakRays:
        """Select points."""
        return PeakRays(self.place[:, :, index], self.weight[:, :, index], self.zoom)


def peak_rays(
    peaks_img: np.ndarray,
    weights: np.ndarray,
    cameras: Cameras,
    tolerance_img: np.ndarray,
    backend: Backend | None = None,
) -> PeakRays:
    """Undistort peaks and express them in units of the tolerance.

    Args:
        peaks_img: (F, V, P, K, 2) image px, with lens distortion; NaN = missing.
        weights: (F, V, P, K); peaks with weight <= 0 are ignored.
        cameras: cameras with leading axes (F, V).
        tolerance_img: (F, V) image px.
        backend: its kernel is used if it has one; None = numpy.
    """
    if backend is not None and backend.peak_rays is not None:
        return backend.peak_rays(peaks_img, weights, cameras, tolerance_img)
    exists = np.isfinite(peaks_img).all(-1) & (weights > 0)  # (F, V, P, K)
    flat = peaks_img.reshape(*peaks_img.shape[:2], -1, 2)
    place = undistort(np.where(exists.reshape(flat.shape[:3])[..., None], flat, cameras.c[:, :, None]), cameras)
    place = place.reshape(peaks_img.shape)
    exists &= np.isfinite(place).all(-1)
    zoom = cameras.f / tolerance_img[..., None]
    place = np.where(exists[..., None], place, 0.0) * zoom[:, :, None, None]
    return PeakRays(place, np.where(exists, weights, 0.0), zoom)


def view_pairs(num_views: int, num_peaks: int) -> np.ndarray:
    """Return all pairs (H, 2) of peaks of different views, as indices into the flattened axes (V, K)."""
    flat = range(num_views * num_peaks)
    pairs = [pair for pair in itertools.combinations(flat, 2) if pair[0] // num_peaks != pair[1] // num_peaks]
    return np.array(pairs, np.int64).reshape(-1, 2)


def frame_blocks(num_frames: int, tests_per_frame: int, max_tests: int) -> Iterator[slice]:
    """Split frames into blocks of at most `max_tests` tests, or one frame; limits memory."""
    size = max(max_tests // max(tests_per_frame, 1), 1)
    return (slice(start, start + size) for start in range(0, num_frames, size))


def midpoints(rays: PeakRays, cameras: Cameras, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the midpoints (F, P, H, 3), mm, between the rays of each pair, and whether they exist, (F, P, H)."""
    num_frames, num_views, num_points, num_peaks = rays.weight.shape
    plane = rays.place / rays.zoom[:, :, None, None]
    ray = np.concatenate([plane, np.ones((*plane.shape[:-1], 1))], -1)
    ray = (ray / np.linalg.norm(ray, axis=-1, keepdims=True)).reshape(num_frames, num_views, -1, 3) @ cameras.R
    ray = ray.reshape(num_frames, num_views, num_points, num_peaks, 3).swapaxes(1, 2)
    ray = ray.reshape(num_frames, num_points, -1, 3)  # (F, P, V*K, 3), world frame
    exists = rays.weight.swapaxes(1, 2).reshape(num_frames, num_points, -1) > 0
    one, other = pairs.T
    ray_one, ray_other = ray[:, :, one], ray[:, :, other]  # (F, P, H, 3)
    center_one, center_other = (cameras.T[:, None, side // num_peaks] for side in (one, other))  # (F, 1, H, 3)
    baseline = center_other - center_one
    cosine = (ray_one * ray_other).sum(-1)
    along_one, along_other = (ray_one * baseline).sum(-1), (ray_other * baseline).sum(-1)
    sine2 = 1 - cosine**2
    scale = 1 / np.maximum(sine2, MIN_SIN2)
    depth_one = (along_one - cosine * along_other) * scale
    depth_other = (cosine * along_one - along_other) * scale
    points = (center_one + depth_one[..., None] * ray_one + center_other + depth_other[..., None] * ray_other) / 2
    possible = exists[:, :, one] & exists[:, :, other] & (sine2 > MIN_SIN2) & (depth_one > 0) & (depth_other > 0)
    return points, possible


def project_to_planes(points_world: Any, zoom: Any, cameras: Cameras) -> tuple[Any, Any]:
    """Project points (F, N, 3), mm: (F, V, N, 2) in tolerances, and depth (F, V, N), mm (numpy or torch)."""
    points_cam = world_to_camera(points_world[:, None], cameras)
    depth = points_cam[..., 2]
    return points_cam[..., :2] / depth.clip(MIN_DEPTH_MM)[..., None] * zoom[:, :, None], depth


def plane_slopes(place: Any, depth: Any, zoom: Any, cameras: Cameras) -> Any:
    """Return the derivatives (F, V, N, 2, 3), 1/mm, of places (F, V, N, 2) by their 3D points (numpy or torch).

    d place / d point = zoom / depth * (rows 0 and 1 of R - place / zoom * row 2 of R)
    """
    plane = place / zoom[:, :, None]
    slope = cameras.R[:, :, None, :2] - plane[..., None] * cameras.R[:, :, None, 2:]
    return slope * (zoom[:, :, None] / depth.clip(MIN_DEPTH_MM)[..., None])[..., None]


def tolerance_mm(points_world: np.ndarray, rays: PeakRays, cameras: Cameras) -> np.ndarray:
    """Return the length (F,), mm, of the tolerance at points (F, 3); median over the views."""
    depth = project_to_planes(points_world[:, None], rays.zoom, cameras)[1][..., 0]  # (F, V)
    return np.median(depth.clip(MIN_DEPTH_MM) / rays.zoom.mean(-1), 1)


def squared_distances(place: Any, rays: PeakRays) -> Any:
    """Return the squared distances (F, V, P, H, K), in tolerances, between places (F, V, P, H, 2) and the peaks."""
    x = place[..., 0, None] - rays.place[:, :, :, None, :, 0]
    y = place[..., 1, None] - rays.place[:, :, :, None, :, 1]
    return x * x + y * y


def peak_scores(place: np.ndarray, depth: np.ndarray, rays: PeakRays) -> np.ndarray:
    """Score places by each peak: weight * (1 - distance^2), 0 beyond the tolerance and behind the camera.

    Args:
        place: (F, V, P, H, 2) in tolerances.
        depth: (F, V, P, H) mm.
        rays: peaks.

    Returns:
        (F, V, P, H, K).

    Source: MSAC (Torr and Zisserman, MLESAC, 2000).
    """
    gain = (1 - squared_distances(place, rays)).clip(0) * rays.weight[:, :, :, None]
    return gain * (depth >= MIN_DEPTH_MM)[..., None]


def view_scores(points_world: np.ndarray, rays: PeakRays, cameras: Cameras) -> np.ndarray:
    """Score points by each view: the log of the best peak score, with a floor so that a wrong view has limited effect.

    Args:
        points_world: (F, P, H, 3) mm.
        rays: peaks with weights up to 1.
        cameras: leading axes (F, V).

    Returns:
        (F, V, P, H), from 0 to 2.4.
    """
    num_frames, num_points, num_places = points_world.shape[:3]
    place, depth = project_to_planes(points_world.reshape(num_frames, -1, 3), rays.zoom, cameras)
    shape = (num_frames, -1, num_points, num_places)
    best = peak_scores(place.reshape(*shape, 2), depth.reshape(shape), rays).max(-1)
    return np.log1p(best / FLOOR)
