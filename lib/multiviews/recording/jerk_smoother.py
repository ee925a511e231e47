"""Smooth trajectories: Gaussian prior on the third differences (jerk), whose variance is measured on the data.

Trajectories have the axes (J, F, 3): joints, consecutive frames, x y z in mm. The prior has one variance per joint and
frame, since people move and rest.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.linalg import cho_solve_banded, cholesky_banded
from scipy.ndimage import convolve1d

_STENCIL = (-1.0, 3.0, -3.0, 1.0)
ORDER = len(_STENCIL) - 1
MIN_FRAMES = 2 * ORDER  # shorter recordings are not smoothed
_WINDOW = 30  # frames over which the local variance of the jerk is measured
_JOINT_DOF = 10.0  # weight of the joint's variance over all frames in the local one, degrees of freedom
_MIN_CUTOFF = 0.01  # cycles per frame; bounds the variance from below, and the reach of the smoothing
_CHUNK = 2**17  # joints times frames that are measured at once; limits memory
RIDGE = 1e-10  # relative to the largest weight; keeps frames without data solvable


def jerk(trajectories: np.ndarray) -> np.ndarray:
    """Return the third differences (J, F - 3, ...) of trajectories (J, F, ...)."""
    return np.diff(trajectories, ORDER, 1)


@cache
def _shares() -> tuple[np.ndarray, np.ndarray]:
    """Tabulate the share of the noise that smoothing keeps by the log of the ratio noise / jerk variance."""
    frequency = np.pi * (np.arange(512) + 0.5) / 512
    response = (2 * np.sin(frequency / 2)) ** (2 * ORDER)
    ratio = np.linspace(-10, 40, 501)
    return ratio, np.array([np.mean(1 / (1 + np.exp(value) * response)) for value in ratio])


def noise_share(jerk_variance: np.ndarray, noise_variance: np.ndarray) -> np.ndarray:
    """Return the share of white noise that the smoothed trajectory keeps, 0 to 1, for equally spaced measurements.

    It is also the number of free parameters per frame and axis, and the share of the jerk that is left.
    """
    ratio, share = _shares()
    return np.interp(np.log(noise_variance / jerk_variance), ratio, share)


def jerk_variance_of_cutoff(cutoff: float, noise_variance: np.ndarray) -> np.ndarray:
    """Return the variance of the jerk at which a frequency, in cycles per frame, is damped by half."""
    return noise_variance * (2 * np.sin(np.pi * cutoff)) ** (2 * ORDER)


def measure_jerk_variance(
    trajectories: np.ndarray, information: np.ndarray, noise_variance: np.ndarray, previous: np.ndarray
) -> np.ndarray:
    """Measure the variance of the jerk of smoothed trajectories, corrected for the jerk that smoothing removed.

    Args:
        trajectories: (J, F, 3) mm, smoothed with `previous`.
        information: (J, F) of the measurements of each frame, 1/mm^2; frames with little do not count.
        noise_variance: (J,) variance of a frame's measurement per axis, mm^2.
        previous: (J, F - 3) variances, mm^2.

    Returns:
        (J, F - 3).

    Source: the fixed point of restricted maximum likelihood for stationary noise; see Fellner, Technometrics 1986.
    """
    result = np.empty_like(previous)
    count = max(1, _CHUNK // max(len(previous[0]), 1))
    for start in range(0, len(result) if previous.size else 0, count):
        joints = slice(start, start + count)
        result[joints] = _jerk_variance(
            trajectories[joints], information[joints], noise_variance[joints, None], previous[joints]
        )
    return result


def _jerk_variance(
    trajectories: np.ndarray, information: np.ndarray, noise: np.ndarray, previous: np.ndarray
) -> np.ndarray:
    """Return measure_jerk_variance() of some joints; `noise` is (J, 1)."""
    lowest = jerk_variance_of_cutoff(_MIN_CUTOFF, noise)
    share = noise_share(previous, noise)
    measured = np.minimum(information * noise, 1.0)
    count = sum(measured[:, shift : shift + previous.shape[1]] for shift in range(ORDER + 1)) / (ORDER + 1)
    energy = count * (jerk(trajectories) ** 2).mean(-1)  # (J, F - 3)
    whole = energy.sum(1, keepdims=True) / np.maximum((count * share).sum(1, keepdims=True), 1e-9)
    whole = np.maximum(whole, lowest)
    window = np.hanning(min(_WINDOW, previous.shape[1]) + 2)[1:-1]
    local, dof = (convolve1d(values, window, axis=1, mode="nearest") for values in (energy, 3 * count * share))
    return np.maximum((3 * local + _JOINT_DOF * whole) / (dof + _JOINT_DOF), lowest)


class JerkSmoother:
    """Factorized normal equations of trajectories with independent joints.

    Minimizes sum_f (x_f - y_f)' W_f (x_f - y_f) + sum_f |jerk_f|^2 / variance_f over x.
    """

    def __init__(self, weights: np.ndarray, jerk_variance: np.ndarray) -> None:
        """Factorize.

        Args:
            weights: W, (J, F, A, A), 1/mm^2; A axes are coupled.
            jerk_variance: (J, F - 3) mm^2.
        """
        num_joints, num_frames, axes = weights.shape[:3]
        bands = jerk_bands(num_frames, 1 / jerk_variance)  # (J, 4, F)
        diagonal = np.diagonal(weights, axis1=-2, axis2=-1)
        strongest = diagonal.max(initial=0.0) + bands[:, 0].max(initial=0.0)
        self.ridge = RIDGE * max(float(strongest), np.finfo(float).tiny)
        width = axes * ORDER + axes - 1
        matrix = np.zeros((width + 1, num_joints, num_frames, axes))  # upper form of cholesky_banded()
        for step in range(min(ORDER, num_frames - 1) + 1):
            matrix[width - axes * step, :, step:] = bands[:, step, : num_frames - step, None]
        matrix[width] += diagonal + self.ridge
        for offset in range(1, axes):
            matrix[width - offset, ..., offset:] += np.diagonal(weights, offset, -2, -1)
        self._shape = (num_joints, num_frames, axes)
        self._factor = cholesky_banded(matrix.reshape(width + 1, -1), overwrite_ab=True, check_finite=False)

    def solve(self, right: np.ndarray) -> np.ndarray:
        """Solve for right sides (J, F, A) or (J, F, A, N)."""
        size = int(np.prod(self._shape))
        flat = right.reshape(size, *right.shape[3:])
        return cho_solve_banded((self._factor, False), flat, check_finite=False).reshape(right.shape)

    def covariance(self) -> np.ndarray:
        """Return the covariance (J, F, A, A), mm^2, of each joint in each frame.

        Source: the entries of the inverse within the band, from the last row to the first; Takahashi et al. 1973.
        """
        num_joints, num_frames, axes = self._shape
        width = min(len(self._factor) - 1, num_frames * axes)
        factor = self._factor.reshape(-1, num_joints, num_frames * axes)
        inverse = 1 / factor[-1].T  # (F A, J), of the diagonal
        rows = np.zeros((num_frames * axes, num_joints, 1, width))  # of the unit triangle, right of the diagonal
        for step in range(1, min(width + 1, num_frames * axes)):
            rows[:-step, :, 0, step - 1] = factor[-1 - step, :, step:].T * inverse[:-step]
        result = np.empty((num_frames * axes, num_joints, axes))
        near = np.zeros((num_joints, width, width))  # covariance of the following coordinates
        for index in reversed(range(num_frames * axes)):
            row = rows[index]
            cross = -(row @ near)  # (J, 1, width)
            own = inverse[index] ** 2 - (row @ cross.swapaxes(1, 2))[:, 0, 0]
            near[:, 1:, 1:] = near[:, :-1, :-1].copy()
            near[:, 0, 1:] = near[:, 1:, 0] = cross[:, 0, :-1]
            near[:, 0, 0] = own
            result[index] = near[:, 0, :axes]
        return _symmetric(result.reshape(num_frames, axes, num_joints, axes).transpose(2, 0, 1, 3))


def jerk_bands(num_frames: int, weights: np.ndarray) -> np.ndarray:
    """Return bands (J, 4, F): entry [j, k, f] couples frames f and f + k of the penalty sum_f weights_f |jerk_f|^2."""
    bands = np.zeros((len(weights), ORDER + 1, num_frames))
    length = weights.shape[1]
    for one, a in enumerate(_STENCIL):
        for step, b in enumerate(_STENCIL[one:]):
            bands[:, step, one : one + length] += a * b * weights
    return bands


def _symmetric(rows: np.ndarray) -> np.ndarray:
    """Return matrices (..., A, A) of which row a holds the entries from the diagonal on: (a, a), (a, a + 1), ..."""
    axes = rows.shape[-1]
    result = np.empty(rows.shape)
    for one in range(axes):
        for other in range(one, axes):
            result[..., one, other] = result[..., other, one] = rows[..., one, other - one]
    return result
