"""Peaks of heatmaps with subpixel positions. Heatmaps may be tensors on a device; few values are copied from it."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.multiviews.keypoints.heatmap_values import on_host, take_values
from lib.utils.errors import InputError, unknown_name

if TYPE_CHECKING:
    from lib.multiviews.pictorial.backend_numpy import Backend

PEAK_MODES = ("argmax", "quarter", "log_quadratic")

MIN_CURVATURE = 1e-6  # 1 / px^2, of the log heatmap; as for a Gaussian with a standard deviation of 1000 px
RADIUS_PX = 2  # a peak is the highest pixel within this distance along both axes
_BLOCK_PIXELS = 2**20  # pixels per block; limits memory and fits the cache


def refine_peaks(maps: Any, which: np.ndarray, x: np.ndarray, y: np.ndarray, mode: str) -> np.ndarray:
    """Refine the positions of peaks to subpixel accuracy.

    Args:
        maps: (M, H, W) heatmaps, numpy or torch.
        which: (P,) map index of each peak.
        x, y: (P,) column and row of each peak's pixel.
        mode: "argmax": the pixel. "quarter": 1/4 px toward the larger neighbor, per axis, if the pixel has both.
            "log_quadratic": the maximum of the least-squares quadratic through the log values of the 3x3 pixels, at
            most 1 px per axis; exact for a Gaussian. It is the pixel at the border of the map, next to values that are
            not positive, and if the fit has no maximum.

    Returns:
        (P, 2) positions (x, y), px.

    Raises:
        InputError: unknown mode.

    Source: quarter: the original code. log_quadratic: the Taylor step of Zhang et al., Distribution-Aware Coordinate
    Representation (CVPR 2020), on a least-squares fit.
    """
    if mode not in PEAK_MODES:
        raise unknown_name("peak mode", mode, PEAK_MODES)
    position = np.stack([x, y], -1).astype(np.float64)  # (P, 2)
    if mode == "argmax":
        return position
    height, width = maps.shape[1:]
    columns = (x[:, None] + [-1, 0, 1]).clip(0, width - 1)
    rows = (y[:, None] + [-1, 0, 1]).clip(0, height - 1)
    pixels = (which[:, None, None] * height + rows[:, :, None]) * width + columns[:, None, :]
    patch = take_values(maps, pixels).astype(np.float64)  # (P, 3, 3)
    inside = np.stack([(x > 0) & (x < width - 1), (y > 0) & (y < height - 1)], -1)  # (P, 2)
    return position + subpixel_step(patch, inside, mode, np)


def subpixel_step(patch: Any, inside: Any, mode: str, xp: ModuleType) -> Any:
    """Return the step (P, 2), px, from the pixels of peaks to their refined positions; see refine_peaks().

    Args:
        patch: (P, 3, 3) float64 values around each pixel.
        inside: (P, 2) whether the pixel has both neighbors along x and y.
        mode: "quarter" or "log_quadratic".
        xp: numpy or torch.
    """
    if mode == "quarter":
        gain = xp.stack([patch[:, 1, 2] - patch[:, 1, 0], patch[:, 2, 1] - patch[:, 0, 1]], -1)
        return 0.25 * xp.sign(gain) * inside
    return _log_quadratic_step(patch, xp) * inside.all(-1)[:, None]


def _log_quadratic_step(patch: Any, xp: ModuleType) -> Any:
    """Return the steps (P, 2), px, from the center of patches (P, 3, 3) to the maximum of the fit; 0 without one."""
    positive = (patch > 0).all(-1).all(-1)
    log = xp.log(xp.where(positive[:, None, None], patch, 1.0))
    by_column = log.sum(1)  # (P, 3)
    by_row = log.sum(2)  # (P, 3)
    total = log.sum((1, 2))  # (P,)
    # Gradient and Hessian at the center pixel, by least squares over x, y in {-1, 0, 1}.
    gradient_x, gradient_y = (by_column[:, 2] - by_column[:, 0]) / 6, (by_row[:, 2] - by_row[:, 0]) / 6
    curve_xx = by_column[:, 0] + by_column[:, 2] - total * (2 / 3)
    curve_yy = by_row[:, 0] + by_row[:, 2] - total * (2 / 3)
    curve_xy = (log[:, 0, 0] + log[:, 2, 2] - log[:, 0, 2] - log[:, 2, 0]) / 4
    determinant = curve_xx * curve_yy - curve_xy**2
    has_maximum = positive & (curve_xx < -MIN_CURVATURE) & (determinant > MIN_CURVATURE**2)
    scale = xp.where(has_maximum, -1.0, 0.0) / xp.where(has_maximum, determinant, 1.0)
    step = xp.stack([curve_yy * gradient_x - curve_xy * gradient_y, curve_xx * gradient_y - curve_xy * gradient_x], -1)
    return (step * scale[:, None]).clip(-1, 1)


def find_peaks(
    heatmaps: Any,
    num_peaks: int = 3,
    mode: str = "log_quadratic",
    min_share: float = 0.1,
    backend: Backend | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the highest local maxima of each heatmap.

    Args:
        heatmaps: (..., H, W), numpy or torch.
        num_peaks: number of peaks per map, K.
        mode: see refine_peaks().
        min_share: minimum value of a peak relative to the maximum of the map. Only positive values are peaks.
        backend: its kernel is used if it has one; None = numpy.

    Returns:
        (..., K, 2) positions (x, y), px, in descending order of height, NaN for missing peaks; (..., K) values of their
        pixels, 0 for missing peaks.

    Raises:
        InputError: unknown mode, or `num_peaks` below 1.
    """
    if num_peaks < 1:
        raise InputError(f"peaks: expected at least 1 per map, received {num_peaks}")
    if mode not in PEAK_MODES:
        raise unknown_name("peak mode", mode, PEAK_MODES)
    heatmaps = on_host(heatmaps)
    if backend is not None and backend.find_peaks is not None:
        return backend.find_peaks(heatmaps, num_peaks, mode, min_share)
    if not isinstance(heatmaps, np.ndarray):
        from lib.multiviews.keypoints.peaks_torch import find_peaks_on_device

        return find_peaks_on_device(heatmaps, num_peaks, mode, min_share)
    *axes, height, width = heatmaps.shape
    maps = heatmaps.reshape(-1, height, width)
    position = np.full((len(maps), num_peaks, 2), np.nan)
    value = np.zeros((len(maps), num_peaks))
    size = max(_BLOCK_PIXELS // (height * width), 1)
    for start in range(0, len(maps), size):
        block = maps[start : start + size]
        which, y, x = _local_maxima(block, min_share)
        order = np.lexsort((-block[which, y, x], which))
        rank = np.arange(len(which)) - np.searchsorted(which, which)  # `which` is sorted
        order = order[rank < num_peaks]
        rank = rank[rank < num_peaks]
        which, y, x = which[order], y[order], x[order]
        position[start + which, rank] = refine_peaks(block, which, x, y, mode)
        value[start + which, rank] = block[which, y, x]
    return position.reshape(*axes, num_peaks, 2), value.reshape(*axes, num_peaks)


def stacked_peaks(heatmaps: Any, num_peaks: int, mode: str, backend: Backend | None = None) -> np.ndarray:
    """Return the peaks of find_peaks() as one array (..., K, 3) float32: x, y, value; NaN, NaN, 0 = missing."""
    position, value = find_peaks(heatmaps, num_peaks, mode, backend=backend)
    return np.concatenate([position, value[..., None]], -1).astype(np.float32)


def _local_maxima(maps: np.ndarray, min_share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return map, row and column of all peaks of (M, H, W) maps, sorted by map. Of equal neighbors the first counts."""
    radius = RADIUS_PX
    padded = np.full((len(maps), *(size + 2 * radius for size in maps.shape[1:])), -np.inf, maps.dtype)
    padded[:, radius:-radius, radius:-radius] = maps
    lowest = np.maximum(maps.max((1, 2)) * min_share, np.finfo(maps.dtype).tiny)  # (M,)
    values = padded.reshape(-1)
    pixels = np.flatnonzero(padded >= lowest[:, None, None])
    along = np.arange(-radius, radius + 1)
    offsets = (along[:, None] * padded.shape[2] + along).ravel()
    near = np.maximum(abs(along[:, None]), abs(along)).ravel()
    for distance in range(1, radius + 1):  # near neighbors first: they rule out most pixels
        ring = offsets[near == distance]
        neighbors = values[pixels[:, None] + ring]
        centers = values[pixels][:, None]
        pixels = pixels[np.where(ring < 0, centers > neighbors, centers >= neighbors).all(1)]
    which, row, column = np.unravel_index(pixels, padded.shape)
    return which, row - radius, column - radius
