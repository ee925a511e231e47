"""Peaks of heatmaps, placed between the pixels; numpy only."""

from __future__ import annotations

import numpy as np

from lib.utils.errors import InputError, unknown_name

PEAK_MODES = ("argmax", "quarter", "log_quadratic")

_FLAT = 1e-6  # 1 / px^2: the log of a Gaussian with a standard deviation of 1000 px is curved as little
_RADIUS_PX = 2  # a peak is the highest pixel within this distance along both axes
_BLOCK_PIXELS = 2**20  # pixels searched together: bounds the memory and stays in the cache


def refine_peaks(maps: np.ndarray, which: np.ndarray, x: np.ndarray, y: np.ndarray, mode: str) -> np.ndarray:
    """Place peaks between the pixels.

    Args:
        maps: (M, H, W) heatmaps.
        which: (P,) the map of each peak.
        x: (P,) its highest pixel's column.
        y: (P,) and row.
        mode: "argmax" stays on the pixel; "quarter" goes 1/4 px toward the larger neighbour, per axis, where both
            exist; "log_quadratic" goes to the maximum of the quadratic that fits the logarithms of the 3x3 pixels
            best, at most 1 px per axis, which is exact for a Gaussian. It stays on the pixel at the border of the map,
            beside values that are not positive and where the fit has no maximum.

    Returns:
        (P, 2) positions (x, y), px.

    Raises:
        InputError: unknown mode.

    Source: quarter: the released code. log_quadratic: the Taylor step of Zhang et al., Distribution-Aware Coordinate
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
    patch = maps[which[:, None, None], rows[:, :, None], columns[:, None, :]].astype(np.float64)  # (P, 3, 3)
    inside = np.stack([(x > 0) & (x < width - 1), (y > 0) & (y < height - 1)], -1)  # (P, 2)
    if mode == "quarter":
        gain = np.stack([patch[:, 1, 2] - patch[:, 1, 0], patch[:, 2, 1] - patch[:, 0, 1]], -1)
        return position + 0.25 * np.sign(gain) * inside
    return position + _log_quadratic_step(patch) * inside.all(-1)[:, None]


def _log_quadratic_step(patch: np.ndarray) -> np.ndarray:
    """(P, 3, 3) pixels around peaks -> (P, 2) steps (x, y) to the maximum of the fit, px; 0 where there is none."""
    positive = (patch > 0).all((1, 2))
    log = np.log(np.where(positive[:, None, None], patch, 1.0))
    by_column = log.sum(1)  # (P, 3), (P, 3), (P,)
    by_row = log.sum(2)
    total = log.sum((1, 2))
    # Least squares over x, y in {-1, 0, 1}: gradient and Hessian at the middle pixel.
    gradient_x, gradient_y = (by_column[:, 2] - by_column[:, 0]) / 6, (by_row[:, 2] - by_row[:, 0]) / 6
    curve_xx = by_column[:, 0] + by_column[:, 2] - total * (2 / 3)
    curve_yy = by_row[:, 0] + by_row[:, 2] - total * (2 / 3)
    curve_xy = (log[:, 0, 0] + log[:, 2, 2] - log[:, 0, 2] - log[:, 2, 0]) / 4
    determinant = curve_xx * curve_yy - curve_xy**2
    has_maximum = positive & (curve_xx < -_FLAT) & (determinant > _FLAT**2)
    scale = np.where(has_maximum, -1.0, 0.0) / np.where(has_maximum, determinant, 1.0)
    step = np.stack([curve_yy * gradient_x - curve_xy * gradient_y, curve_xx * gradient_y - curve_xy * gradient_x], -1)
    return (step * scale[:, None]).clip(-1, 1)


def find_peaks(
    heatmaps: np.ndarray, num_peaks: int = 3, mode: str = "log_quadratic", min_share: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Find the highest local maxima of each heatmap.

    Args:
        heatmaps: (..., H, W).
        num_peaks: peaks kept per map, K.
        mode: as in refine_peaks.
        min_share: lowest value of a peak, as a share of the map's highest value.

    Returns:
        (..., K, 2) positions (x, y), px, from the highest peak down, NaN where a map has fewer; (..., K) their pixels'
        values, 0 there. Values that are not positive are no peaks.

    Raises:
        InputError: unknown mode, or no peak asked for.
    """
    if num_peaks < 1:
        raise InputError(f"peaks: expected at least 1 per map, received {num_peaks}")
    *axes, height, width = heatmaps.shape
    maps = heatmaps.reshape(-1, height, width)
    position = np.full((len(maps), num_peaks, 2), np.nan)
    value = np.zeros((len(maps), num_peaks))
    size = max(_BLOCK_PIXELS // (height * width), 1)
    for start in range(0, len(maps), size):
        block = maps[start : start + size]
        which, y, x = _local_maxima(block, min_share)
        height_of_peak = block[which, y, x]
        order = np.lexsort((-height_of_peak, which))
        which = which[order]
        y = y[order]
        x = x[order]
        height_of_peak = height_of_peak[order]
        rank = np.arange(len(which)) - np.searchsorted(which, which)
        kept = rank < num_peaks
        which = which[kept]
        y = y[kept]
        x = x[kept]
        rank = rank[kept]
        position[start + which, rank] = refine_peaks(block, which, x, y, mode)
        value[start + which, rank] = height_of_peak[kept]
    return position.reshape(*axes, num_peaks, 2), value.reshape(*axes, num_peaks)


def _local_maxima(maps: np.ndarray, min_share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return map, row and column of all peaks of (M, H, W) maps, in the order of the maps; of equals the first."""
    radius = _RADIUS_PX
    padded = np.full((len(maps), *(size + 2 * radius for size in maps.shape[1:])), -np.inf, maps.dtype)
    padded[:, radius:-radius, radius:-radius] = maps
    lowest = np.maximum(maps.max((1, 2)) * min_share, np.finfo(maps.dtype).tiny)  # (M,)
    values = padded.reshape(-1)
    pixels = np.flatnonzero(padded >= lowest[:, None, None])
    along = np.arange(-radius, radius + 1)
    offsets = (along[:, None] * padded.shape[2] + along).ravel()
    near = np.maximum(abs(along[:, None]), abs(along)).ravel()
    for distance in range(1, radius + 1):  # the nearest neighbours first: few pixels are left for the others
        ring = offsets[near == distance]
        neighbours = values[pixels[:, None] + ring]
        own = values[pixels][:, None]
        pixels = pixels[np.where(ring < 0, own > neighbours, own >= neighbours).all(1)]
    which, row, column = np.unravel_index(pixels, padded.shape)
    return which, row - radius, column - radius
