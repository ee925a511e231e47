"""Smooth trajectories of joints that are coupled within a frame: exact solution and covariance.

The matrices are small on purpose: BLAS multiplies larger ones in several threads, which takes several times longer.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from lib.multiviews.recording.jerk_smoother import ORDER, RIDGE, jerk_bands


class PoseSmoother:
    """Factorized normal equations of N coordinates in F frames.

    Minimizes sum_f (x_f - y_f)' W_f (x_f - y_f) + sum_f,n (jerk of x_n in f)^2 / variance_n,f over x. The matrix has
    blocks of N x N up to three frames off the diagonal, and is factorized frame by frame (block Cholesky).
    """

    def __init__(self, weights: np.ndarray, jerk_variance: np.ndarray) -> None:
        """Factorize.

        Args:
            weights: W, (F, N, N), 1/mm^2, positive definite.
            jerk_variance: (N, F - 3) mm^2.

        Raises:
            numpy.linalg.LinAlgError: a weight is not positive definite.
        """
        num_frames, num_coords, _ = weights.shape
        bands = jerk_bands(num_frames, 1 / jerk_variance).transpose(2, 1, 0)  # (F, 4, N)
        diagonal = np.arange(num_coords)
        self.ridge = RIDGE * float(weights[:, diagonal, diagonal].max() + bands[:, 0].max())
        # Of each column of blocks the inverse of the factor's diagonal block, and the factor's blocks below it.
        self._columns = np.zeros((num_frames + ORDER, ORDER + 1, num_coords, num_coords))
        for frame, column in enumerate(self._columns[:num_frames]):
            column[0] += weights[frame]
            column[0, diagonal, diagonal] += self.ridge
            column[:, diagonal, diagonal] += bands[frame]
            factor, failed = lapack.dpotrf(column[0].T, lower=1)
            if failed:
                raise np.linalg.LinAlgError("the weights of the trajectories are not positive definite")
            column[0], _ = lapack.dtrtri(factor, lower=1)
            below = column[1:] = column[1:] @ column[0].T
            for later in range(ORDER):
                self._columns[frame + 1 + later, : ORDER - later] -= below[later:] @ below[later].T

    def solve(self, right: np.ndarray) -> np.ndarray:
        """Solve for right sides (F, N)."""
        result = np.zeros((len(right) + ORDER, right.shape[1]))
        result[: len(right)] = right
        for frame, column in enumerate(self._columns[: len(right)]):
            inverse, below = column[0], column[1:]
            result[frame] = inverse @ result[frame]
            result[frame + 1 : frame + 1 + ORDER] -= below @ result[frame]
        result[len(right) :] = 0.0
        for frame in reversed(range(len(right))):
            inverse, below = self._columns[frame, 0], self._columns[frame, 1:]
            later = np.einsum("knm,kn->m", below, result[frame + 1 : frame + 1 + ORDER])
            result[frame] = inverse.T @ (result[frame] - later)
        return result[: len(right)]

    def covariance(self, axes: int) -> np.ndarray:
        """Return the covariance (F, N / axes, axes, axes), mm^2, of every `axes` consecutive coordinates."""
        num_frames, num_coords = len(self._columns) - ORDER, self._columns.shape[-1]
        num_points = num_coords // axes
        result = np.empty((num_frames, num_points, axes, axes))
        point = np.arange(num_points)
        later = np.zeros((ORDER, ORDER, num_coords, num_coords))  # covariance of the three later frames
        for frame in reversed(range(num_frames)):
            inverse, below = self._columns[frame, 0], self._columns[frame, 1:]
            gain = below @ inverse  # (3, N, N)
            cross = -(later @ gain).sum(1)  # of the later frames and this one
            own = inverse.T @ inverse - (gain.swapaxes(1, 2) @ cross).sum(0)
            result[frame] = own.reshape(num_points, axes, num_points, axes)[point, :, point]
            later[1:, 1:] = later[:-1, :-1].copy()
            later[0, 0] = (own + own.T) / 2  # Asymmetry would grow from frame to frame.
            later[1:, 0] = cross[:-1]
            later[0, 1:] = cross[:-1].swapaxes(1, 2)
        return result
