from __future__ import annotations

import numpy as np
import pytest

from lib.multiviews.recording.jerk_smoother import ORDER
from lib.multiviews.recording.pose_smoother import PoseSmoother


def problem(num_frames, num_coords=6):
    """Return weights, jerk variances and the dense matrix (F * N, F * N)."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(num_frames, num_coords, num_coords))
    weights = root @ root.swapaxes(-1, -2) + 0.1 * np.eye(num_coords)
    variance = rng.uniform(0.5, 2, (num_coords, max(num_frames - ORDER, 0)))
    matrix = np.zeros((num_frames, num_coords, num_frames, num_coords))
    difference = np.diff(np.eye(num_frames), ORDER, 0)
    for coord in range(num_coords):
        matrix[:, coord, :, coord] = difference.T @ (difference / variance[coord][:, None])
    for frame in range(num_frames):
        matrix[frame, :, frame] += weights[frame]
    return weights, variance, matrix.reshape(num_frames * num_coords, -1)


@pytest.mark.parametrize("num_frames", [1, 3, 7, 200])
def test_pose_smoother_equals_dense_least_squares(num_frames):
    weights, variance, matrix = problem(num_frames)
    right = np.random.default_rng(1).normal(size=(num_frames, 6))
    smoother = PoseSmoother(weights, variance)
    expected = np.linalg.solve(matrix, right.ravel()).reshape(right.shape)
    np.testing.assert_allclose(smoother.solve(right), expected, rtol=1e-5, atol=1e-7)
    inverse = np.linalg.inv(matrix).reshape(num_frames, 2, 3, num_frames, 2, 3)
    frames = np.arange(num_frames)
    for point in range(2):
        expected = inverse[frames, point, :, frames, point]
        np.testing.assert_allclose(smoother.covariance(3)[:, point], expected, rtol=1e-5, atol=1e-7)


def test_pose_smoother_frames_without_weight():
    weights, variance, _ = problem(40)
    weights[10:20] = 0.0
    spread = np.trace(PoseSmoother(weights, variance).covariance(3), axis1=-2, axis2=-1)
    assert np.isfinite(spread).all()
    assert spread[14].min() > 10 * spread[:10].max()


def test_pose_smoother_negative_weight():
    weights, variance, _ = problem(10)
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        PoseSmoother(-weights, variance)
