"""Pairs of joints at a constant distance in a recording: limbs, and joints two limbs apart such as both hips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.recording.pixel_terms import robust_weight
from lib.multiviews.refinement.limb_lengths import second_neighbor_pairs

_MAX_STD = 0.05  # share of the distance; joints whose distance varies more are not a rigid pair
_MIN_STD = 0.001  # share of the distance
_MIN_FRAMES = 20  # frames in which both joints must be seen
_OUTLIER_STD = 3.0  # deviation of the distance in a frame at which its weight is half, standard deviations
_QUANTILE = 0.9  # of the deviations, which measures their variance; people rest, so the median says little
_CHI_SQUARED = 2.706  # the same quantile of the chi-squared distribution with one degree of freedom
_OF_MEDIAN = np.pi / 2  # variance of the median / variance of the mean


@dataclass(frozen=True)
class RigidPairs:
    """E pairs of joints.

    Attributes:
        one, other: (E,) joints.
        length: (E,) mm.
        std: (E, F) standard deviation of the distance in each frame, mm; large where the distance is another one.
    """

    one: np.ndarray
    other: np.ndarray
    length: np.ndarray
    std: np.ndarray

    def difference(self, trajectories: np.ndarray) -> np.ndarray:
        """Return the vectors (E, F, 3) from the first to the second joints of trajectories (J, F, 3)."""
        return trajectories[self.other] - trajectories[self.one]


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
    found = []
    for one, other in (*body.edges, *second_neighbor_pairs(body)):
        duration = (correlation[one] + correlation[other]) / 2
        difference = trajectories[other] - trajectories[one]
        distance = np.maximum(np.linalg.norm(difference, axis=-1), 1.0)
        direction = difference / distance[:, None]
        both = covariance[one] + covariance[other]
        along = np.maximum(np.einsum("fa,fab,fb->f", direction, both, direction), 0.0)
        across = np.trace(both, axis1=-2, axis2=-1) - along
        measured = distance - np.minimum(across / (2 * distance), np.sqrt(along))  # Noise across a pair lengthens it.
        length, std = _constant_distance(measured, along, seen[one] & seen[other], duration)
        if std < _MAX_STD * length:
            weight = robust_weight((measured - length) ** 2 / (std**2 + along), _OUTLIER_STD, 2)
            found.append((one, other, length, (std * np.sqrt(duration / weight)).astype(np.float32)))
    one, other, length, std = zip(*found, strict=True) if found else ((),) * 4
    return RigidPairs(np.array(one, int), np.array(other, int), np.array(length), np.array(std))


def _constant_distance(
    measured: np.ndarray, variance: np.ndarray, seen: np.ndarray, duration: float
) -> tuple[float, float]:
    """Return length and standard deviation of a distance, mm; the latter is infinite if too few frames show it.

    It includes what `measured`, with errors of the `variance` that last for `duration` frames, leaves uncertain.
    """
    count = seen.sum()
    if count < _MIN_FRAMES:
        return 0.0, np.inf
    length = np.median(measured[seen])
    excess = (measured[seen] - length) ** 2 / _CHI_SQUARED - variance[seen]
    variation = max(np.quantile(excess, _QUANTILE), 0.0)
    independent = count / duration
    uncertain = (variation + variance[seen].mean()) * (np.sqrt(2 / independent) + _OF_MEDIAN / independent)
    return float(length), float(np.sqrt(variation + uncertain + (_MIN_STD * length) ** 2))
