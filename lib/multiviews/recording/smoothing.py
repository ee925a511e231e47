"""Smoothing of trajectories and bridging of their gaps."""

import numpy as np
from scipy.linalg import solveh_banded

from lib.utils.errors import InputError

_GAP_WEIGHT = 1e-9  # weight of a frame without a position; nonzero keeps the system solvable
_BRIDGE_STRENGTH = 1e-6  # too weak to move known points


def smooth_trajectories(points: np.ndarray, cutoff: float | None) -> np.ndarray:
    """Smooth trajectories and bridge their gaps, by a cubic; ends are extrapolated linearly.

    Whittaker's smoother: least squares with a penalty on squared second differences. It has no lag.

    Args:
        points: (F, ...) positions at equal time steps; NaN = unknown.
        cutoff: frequency that is damped by half, cycles per frame, below 0.5; None = bridge gaps only.

    Returns:
        The same shape. A trajectory with fewer than two known points is returned as it is.

    Raises:
        InputError: the cutoff is out of range.

    Source: Eilers, A perfect smoother, Analytical Chemistry 2003.
    """
    if cutoff is not None and not 0 < cutoff < 0.5:
        raise InputError(f"smoothing: expected a cutoff between 0 and 0.5 cycles per frame, received {cutoff:g}")
    points = np.asarray(points, np.float64)
    flat = points.reshape(len(points), -1)
    known = np.isfinite(flat)
    # The gain at frequency w is 1 / (1 + strength (2 sin(w/2))^4).
    strength = _BRIDGE_STRENGTH if cutoff is None else (2 * np.sin(np.pi * cutoff)) ** -4.0
    penalty = strength * _roughness(len(flat))
    result = np.full_like(flat, np.nan)
    for column in np.flatnonzero(known.sum(0) >= 2):
        weight = np.where(known[:, column], 1.0, min(_GAP_WEIGHT, _GAP_WEIGHT * strength))
        values = np.where(known[:, column], flat[:, column], 0.0)
        mean = values[known[:, column]].mean()  # centered, since the weight of a gap pulls toward 0
        bands = penalty.copy()
        bands[2] += weight
        result[:, column] = solveh_banded(bands, weight * np.where(known[:, column], values - mean, 0.0)) + mean
    unchanged = known if cutoff is None else known & (known.sum(0) < 2)
    return np.where(unchanged, flat, result).reshape(points.shape)


def noise_gain(cutoff: float) -> float:
    """Return the share of the variance of white noise that smooth_trajectories() keeps, 0 to 1."""
    frequency = np.pi * (np.arange(512) + 0.5) / 512
    gain = 1 / (1 + (np.sin(frequency / 2) / np.sin(np.pi * cutoff)) ** 4)
    return float(np.mean(gain**2))


def _roughness(num: int) -> np.ndarray:
    """Return D'D for the second differences D of `num` points, in the upper form of solveh_banded(): (3, num)."""
    bands = np.zeros((3, num))
    stencil = (1.0, -2.0, 1.0)
    for row in range(3):
        for column in range(row, 3):
            bands[2 - (column - row), column : column + num - 2] += stencil[row] * stencil[column]
    return bands
