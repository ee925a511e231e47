"""Pairs of joints at a constant distance in a recording: limbs, and joints two limbs apart such as both hips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.refinement.limb_lengths import second_neighbor_pairs

_MAX_STD = 0.05  # share of the distance; joints whose distance varies more are not a rigid pair
_MIN_STD = 0.005  # share of the distance
_MIN_FRAMES = 20  # frames in which both joints must be seen
_SIGMA_OF_MAD = 1.4826  # standard deviation / median absolute deviation of a normal variable


@dataclass(frozen=True)
class RigidPairs:
    """E pairs of joints.

    Attributes:
        one, other: (E,) joints.
        length: (E,) mm.
        std: (E,) standard deviation of the distance in a frame, mm.
    """

    one: np.ndarray
    other: np.ndarray
    length: np.ndarray
    std: np.ndarray

    def difference(self, trajectories: np.ndarray) -> np.ndarray:
        """Return the vectors (E, F, 3) from the first to the second joints of trajectories (J, F, 3)."""
        return trajectories[self.other] - trajectories[self.one]

    def add_to_joints(self, result: np.ndarray, values: np.ndarray, sign: float) -> None:
        """Add values (E, F, ...) to the second joints of `result` (J, F, ...), and `sign` times to the first joints."""
        for number, (one, other) in enumerate(zip(self.one, self.other, strict=True)):
            result[one] += sign * values[number]
            result[other] += values[number]


def measure_rigid_pairs(
    trajectories: np.ndarray, covariance: np.ndarray, seen: np.ndarray, body: HumanBody, correlation: np.ndarray
) -> RigidPairs:
    """Measure lengths and their variation, corrected for the noise of the joints.

    Args:
        trajectories: (J, F, 3) mm.
        covariance: (J, F, 3, 3) of the joints, mm^2.
        seen: (J, F) bool, frames to use.
        body: the skeleton.
        correlation: (J,) frames over which smoothing averages. A deviation of the length lasts about as long, so its
            standard deviation per frame counts sqrt(correlation) times.
    """
    one, other = np.array([*body.edges, *second_neighbor_pairs(body)]).T
    difference = trajectories[other] - trajectories[one]
    distance = np.maximum(np.linalg.norm(difference, axis=-1), 1.0)
    direction = difference / distance[..., None]
    both = covariance[one] + covariance[other]
    along = np.einsum("efa,efab,efb->ef", direction, both, direction)
    across = np.trace(both, axis1=-2, axis2=-1) - along
    length, std = np.zeros(len(one)), np.full(len(one), np.inf)
    for pair in range(len(one)):
        frames = seen[one[pair]] & seen[other[pair]]
        if frames.sum() < _MIN_FRAMES:
            continue
        # Noise across a pair lengthens it.
        measured = distance[pair, frames] - across[pair, frames] / (2 * distance[pair, frames])
        length[pair] = np.median(measured)
        spread = _SIGMA_OF_MAD * np.median(np.abs(measured - length[pair]))
        variance = max(spread**2 - along[pair, frames].mean(), 0.0)
        std[pair] = np.sqrt(variance + (_MIN_STD * length[pair]) ** 2)
    rigid = std < _MAX_STD * length
    one, other, length, std = (values[rigid] for values in (one, other, length, std))
    return RigidPairs(one, other, length, std * np.sqrt((correlation[one] + correlation[other]) / 2))
