from __future__ import annotations

import numpy as np
import pytest

from lib.multiviews.recording.jerk_smoother import (
    ORDER,
    JerkSmoother,
    jerk_variance_of_cutoff,
    measure_jerk_variance,
    noise_share,
)


def dense(weights, jerk_variance):
    """Return the normal matrix of one joint, (F * A, F * A)."""
    num_frames, axes = weights.shape[:2]
    difference = np.kron(np.diff(np.eye(num_frames), ORDER, 0), np.eye(axes))
    matrix = difference.T @ (difference / np.repeat(jerk_variance, axes)[:, None])
    for frame in range(num_frames):
        part = slice(axes * frame, axes * (frame + 1))
        matrix[part, part] += weights[frame]
    return matrix


@pytest.mark.parametrize(("num_frames", "axes"), [(9, 3), (5, 1), (3, 3), (1, 2)])
def test_jerk_smoother_equals_dense_least_squares(num_frames, axes):
    rng = np.random.default_rng(0)
    root = rng.normal(size=(2, num_frames, axes, axes))
    weights = root @ root.swapaxes(-1, -2) + 0.1 * np.eye(axes)
    variance = rng.uniform(0.5, 2, (2, max(num_frames - ORDER, 0)))
    right = rng.normal(size=(2, num_frames, axes))
    smoother = JerkSmoother(weights, variance)
    solved, covariance = smoother.solve(right), smoother.covariance()
    for joint in range(2):
        matrix = dense(weights[joint], variance[joint])
        np.testing.assert_allclose(solved[joint].ravel(), np.linalg.solve(matrix, right[joint].ravel()), rtol=1e-6)
        inverse = np.linalg.inv(matrix).reshape(num_frames, axes, num_frames, axes)
        expected = inverse[np.arange(num_frames), :, np.arange(num_frames)]
        np.testing.assert_allclose(covariance[joint], expected, rtol=1e-6, atol=1e-9)


def test_noise_share_is_the_trace_of_the_smoother():
    variance = jerk_variance_of_cutoff(0.1, np.array([4.0]))
    smoother = JerkSmoother(np.full((1, 400, 1, 1), 0.25), np.full((1, 397), variance[0]))
    assert 0.25 * smoother.covariance()[0, 100:300].mean() == pytest.approx(noise_share(variance, 4.0)[0], rel=0.01)


@pytest.mark.parametrize("factor", [1.0, 20.0])
def test_measure_jerk_variance_of_simulated_motion(factor):
    """Trajectories with known jerk and noise; the measured variance is a fixed point near it."""
    rng = np.random.default_rng(2)
    num_frames, noise = 4000, 25.0
    true = jerk_variance_of_cutoff(0.08, np.array([noise]))[0] * factor
    motion = rng.normal(0, np.sqrt(true), (1, num_frames, 3))
    motion = np.cumsum(np.cumsum(np.cumsum(motion, 1), 1), 1)
    measured = motion + rng.normal(0, np.sqrt(noise), motion.shape)
    weights = np.full((1, num_frames, 1, 1), 1 / noise)
    variance = np.full((1, num_frames - ORDER), 3 * true)
    for _ in range(8):
        smooth = JerkSmoother(weights, variance).solve(measured[:, :, None] / noise)[:, :, 0]
        variance = measure_jerk_variance(smooth, weights[..., 0, 0], np.array([noise]), variance)
    assert variance.mean() == pytest.approx(true, rel=0.35)
