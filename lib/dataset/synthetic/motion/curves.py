"""Smooth functions of time, and rotations.

Axes of body and world: x forward, y left, z up. Times are in s; every function is vectorized over F times.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def smoothstep(fraction: np.ndarray) -> np.ndarray:
    """Rise from 0 to 1 over fraction 0..1 with zero speed and acceleration at both ends; constant outside."""
    x = np.clip(fraction, 0.0, 1.0)
    return x * x * x * (x * (6.0 * x - 15.0) + 10.0)


def lerp(start: np.ndarray, end: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Blend (F,) or (F, D) values with weights (F,)."""
    weight = np.asarray(weight)
    end = np.asarray(end)
    weight = weight.reshape(weight.shape + (1,) * (max(end.ndim, np.ndim(start)) - weight.ndim))
    return start + (end - start) * weight


@dataclass(frozen=True)
class Timeline:
    """States 0, 1, 2, ... in sequence, with smooth changes between them."""

    starts: np.ndarray  # (K-1,) start of the change from state k to k+1, ascending, s
    durations: np.ndarray  # (K-1,) length of each change, s; changes do not overlap

    @classmethod
    def random(
        cls, rng: np.random.Generator, length_s: float, hold_s: tuple[float, float], change_s: tuple[float, float]
    ) -> Timeline:
        """Draw states that cover `length_s`, with hold and change times in the given ranges."""
        starts = []
        durations = []
        now = -hold_s[1] * rng.random()
        while now < length_s:
            hold, change = rng.uniform(*hold_s), rng.uniform(*change_s)
            starts.append(now + hold)
            durations.append(change)
            now += hold + change
        return cls(np.array(starts), np.array(durations))

    @property
    def num_states(self) -> int:
        """Number of states K."""
        return len(self.starts) + 1

    def phase(self, times: np.ndarray) -> np.ndarray:
        """Return the state as a real number, (F,); an integer while a state is held."""
        fraction = (np.asarray(times)[:, None] - self.starts) / self.durations  # (F, K-1)
        return smoothstep(fraction).sum(1)

    def weights(self, times: np.ndarray) -> np.ndarray:
        """Return the weight of every state, (F, K); at most two are positive, and their sum is 1."""
        return np.clip(1.0 - np.abs(self.phase(times)[:, None] - np.arange(self.num_states)), 0.0, 1.0)

    def blend(self, values: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Blend one value per state: (K, ...) -> (F, ...)."""
        return np.tensordot(self.weights(times), np.asarray(values, float), 1)


def wobble(rng: np.random.Generator, times: np.ndarray, amplitude: float, period_s: float = 3.0) -> np.ndarray:
    """Return a small motion (F,): three sines of random phase and period around `period_s`."""
    periods = period_s * rng.uniform(0.55, 1.6, 3)
    phases = rng.uniform(0, 2 * np.pi, 3)
    waves = np.sin(2 * np.pi * np.asarray(times)[:, None] / periods + phases)
    return amplitude * (waves @ np.array([0.5, 0.3, 0.2]))


def rotation(axis: str, angle: np.ndarray) -> np.ndarray:
    """Rotate about a coordinate axis.

    Args:
        axis: "x" (positive raises the left side), "y" (positive leans forward) or
            "z" (positive turns to the left).
        angle: (...) radians.

    Returns:
        (..., 3, 3) matrices.
    """
    angle = np.asarray(angle, float)
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.zeros((*angle.shape, 3, 3))
    i, j, k = {"x": (1, 2, 0), "y": (2, 0, 1), "z": (0, 1, 2)}[axis]
    matrix[..., i, i] = matrix[..., j, j] = cos
    matrix[..., i, j], matrix[..., j, i] = -sin, sin
    matrix[..., k, k] = 1.0
    return matrix


def apply(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Multiply matrices (..., 3, 3) with vectors (..., 3), broadcasting the leading axes."""
    return (matrices @ np.asarray(vectors, float)[..., None])[..., 0]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors (..., 3) to length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
