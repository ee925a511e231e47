"""Trajectories over time: smoothed, and gaps bridged."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solveh_banded

from lib.utils.errors import InputError

_GAP_WEIGHT = 1e-9  # of a frame without a position: its neighbours decide


def smooth_trajectories(points: np.ndarray, cutoff: float | None) -> np.ndarray:
    """Smooth trajectories, or only bridge their gaps; the ends and long gaps go on straight.

    The result has the least sum of squared distances from the points plus a penalty on the squared second differences
    (Whittaker's smoother), so it has no lag.

    Args:
        points: (F, ...) positions at equal distances in time; NaN = unknown.
        cutoff: frequency that keeps half of its amplitude, cycles per frame, below 0.5; None = known points stay as
            they are.

    Returns:
        The same shape; where a trajectory has fewer than two known points, nothing is bridged and the one stays.

    Raises:
        InputError: a cutoff out of range.

    Source: Eilers, A perfect smoother, Analytical Chemistry 2003.
    """
    if cutoff is not None and not 0 < cutoff < 0.5:
        raise InputError(f"smoothing: expected a cutoff between 0 and 0.5 cycles per frame, received {cutoff:g}")
    points = np.asarray(points, np.float64)
    flat = points.reshape(len(points), -1)
    known = np.isfinite(flat)
    # A frequency w is damped by 1 / (1 + strength (2 sin(w/2))^4); nearly no strength leaves known points in place.
    strength = 1e-6 if cutoff is None else (2 * np.sin(np.pi * cutoff)) ** -4.0
    penalty = strength * _roughness(len(flat))
    result = np.full_like(flat, np.nan)
    for column in np.flatnonzero(known.sum(0) >= 2):
        weight = np.where(known[:, column], 1.0, min(_GAP_WEIGHT, _GAP_WEIGHT * strength))
        values = np.where(known[:, column], flat[:, column], 0.0)
        middle = values[known[:, column]].mean()  # small numbers: the gaps pull to 0 by their tiny weight
        bands = penalty.copy()
        bands[2] += weight
        solved = solveh_banded(bands, weight * np.where(known[:, column], values - middle, 0.0))
        result[:, column] = solved + middle
    stays = known if cutoff is None else known & (known.sum(0) < 2)
    return np.where(stays, flat, result).reshape(points.shape)


def _roughness(num: int) -> np.ndarray:
    """Return D'D, D the second differences of `num` points, as solveh_banded() takes its upper bands: (3, num)."""
    bands = np.zeros((3, num))
    stencil = (1.0, -2.0, 1.0)
    for row in range(3):
        for column in range(row, 3):
            bands[2 - (column - row), column : column + num - 2] += stencil[row] * stencil[column]
    return bands
