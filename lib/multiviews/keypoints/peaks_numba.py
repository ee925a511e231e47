"""Heatmap peaks, compiled by numba, map by map. peaks.py describes and tests define the result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lib.multiviews.compiled import compiled, inner
from lib.multiviews.keypoints.peaks import MIN_CURVATURE, PEAK_MODES, RADIUS_PX

if TYPE_CHECKING:
    from lib.multiviews.pictorial.backend_numba import NumbaBackend

_QUARTER, _LOG_QUADRATIC = PEAK_MODES.index("quarter"), PEAK_MODES.index("log_quadratic")
_TINY = np.finfo(np.float32).tiny


def find_peaks_compiled(
    heatmaps: np.ndarray, num_peaks: int, mode: str, min_share: float, backend: NumbaBackend
) -> tuple[np.ndarray, np.ndarray]:
    """Do as find_peaks() with checked arguments, for float32 maps (F, ..., H, W)."""
    axes = heatmaps.shape[:-2]
    position = np.empty((*axes, num_peaks, 2))
    value = np.empty((*axes, num_peaks))

    def find(frames: slice) -> None:
        maps = np.require(heatmaps[frames], np.float32, "CW").reshape(-1, *heatmaps.shape[-2:])
        places, values = position[frames].reshape(-1, num_peaks, 2), value[frames].reshape(-1, num_peaks)
        _find_in_maps(maps, PEAK_MODES.index(mode), np.float32(min_share), places, values)

    backend.for_each(find, backend.shares(len(heatmaps)))
    return position, value


@compiled()
def _find_in_maps(maps, mode, min_share, position, value):
    """Write the peaks of maps (M, H, W) to position (M, K, 2) and value (M, K)."""
    height, width = maps.shape[1:]
    num_peaks = value.shape[1]
    row_highest = np.empty(height, np.float32)
    rows, columns = np.empty(num_peaks, np.int64), np.empty(num_peaks, np.int64)
    for m in range(len(maps)):
        values = value[m]
        heatmap = maps[m]
        highest = _row_maxima(heatmap, row_highest)
        lowest = max(np.float32(highest * min_share), _TINY)
        count = 0
        for y in range(height):
            if row_highest[y] < lowest:
                continue
            for x in range(width):
                height_here = heatmap[y, x]
                if height_here < lowest or not _is_peak(heatmap, y, x):
                    continue
                # Insert by height; of equal peaks the first comes first.
                if count == num_peaks and height_here <= values[count - 1]:
                    continue
                at = min(count, num_peaks - 1)
                while at > 0 and values[at - 1] < height_here:
                    values[at], rows[at], columns[at] = values[at - 1], rows[at - 1], columns[at - 1]
                    at -= 1
                values[at], rows[at], columns[at] = height_here, y, x
                count = min(count + 1, num_peaks)
        for k in range(num_peaks):
            if k < count:
                step_x, step_y = _subpixel_step(heatmap, rows[k], columns[k], mode)
                position[m, k, 0], position[m, k, 1] = columns[k] + step_x, rows[k] + step_y
            else:
                values[k] = 0.0
                position[m, k, 0] = position[m, k, 1] = np.nan


@inner({"nnan", "nsz"})
def _row_maxima(heatmap, row_highest):
    """Write the maximum of each row, and return the maximum of the map."""
    highest = heatmap[0, 0]
    for y in range(heatmap.shape[0]):
        row = heatmap[y]
        best = row[0]
        for x in range(row.size):
            best = row[x] if row[x] > best else best
        row_highest[y] = best
        highest = best if best > highest else highest
    return highest


@inner()
def _is_peak(heatmap, y, x):
    """Return whether a pixel is the highest of its neighborhood. Of equal pixels the first counts."""
    height, width = heatmap.shape
    value = heatmap[y, x]
    for v in range(max(y - RADIUS_PX, 0), min(y + RADIUS_PX + 1, height)):
        for u in range(max(x - RADIUS_PX, 0), min(x + RADIUS_PX + 1, width)):
            other = heatmap[v, u]
            if other > value or (other == value and (v < y or (v == y and u < x))):
                return False
    return True


@inner()
def _subpixel_step(heatmap, y, x, mode):
    """Return the step from a pixel to the peak, see refine_peaks()."""
    height, width = heatmap.shape
    inside_x, inside_y = 0 < x < width - 1, 0 < y < height - 1
    step_x = step_y = 0.0
    if mode == _QUARTER:
        if inside_x:
            step_x = 0.25 * np.sign(np.float64(heatmap[y, x + 1]) - np.float64(heatmap[y, x - 1]))
        if inside_y:
            step_y = 0.25 * np.sign(np.float64(heatmap[y + 1, x]) - np.float64(heatmap[y - 1, x]))
    elif mode == _LOG_QUADRATIC and inside_x and inside_y:
        log = np.empty((3, 3))
        for v in range(3):
            for u in range(3):
                value = np.float64(heatmap[y + v - 1, x + u - 1])
                if value <= 0:
                    return 0.0, 0.0
                log[v, u] = np.log(value)
        return _fitted_step(log)
    return step_x, step_y


@inner()
def _fitted_step(log):
    """Return the step to the maximum of the quadratic through log values (3, 3), see _log_quadratic_step()."""
    left, right = log[0, 0] + log[1, 0] + log[2, 0], log[0, 2] + log[1, 2] + log[2, 2]
    top, bottom = log[0, 0] + log[0, 1] + log[0, 2], log[2, 0] + log[2, 1] + log[2, 2]
    total = left + right + log[0, 1] + log[1, 1] + log[2, 1]
    gradient_x, gradient_y = (right - left) / 6, (bottom - top) / 6
    curve_xx, curve_yy = left + right - total * (2 / 3), top + bottom - total * (2 / 3)
    curve_xy = (log[0, 0] + log[2, 2] - log[0, 2] - log[2, 0]) / 4
    determinant = curve_xx * curve_yy - curve_xy * curve_xy
    if not (curve_xx < -MIN_CURVATURE and determinant > MIN_CURVATURE**2):
        return 0.0, 0.0
    step_x = (curve_xy * gradient_y - curve_yy * gradient_x) / determinant
    step_y = (curve_xy * gradient_x - curve_xx * gradient_y) / determinant
    return min(max(step_x, -1.0), 1.0), min(max(step_y, -1.0), 1.0)
