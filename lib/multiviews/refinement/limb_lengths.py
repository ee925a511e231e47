"""A person's own measures from several frames: limb lengths, and distances that posture hardly changes; numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.multiviews.body import HumanBody

JointPairs = tuple[tuple[int, int], ...]  # pairs of joints

_GATE = 4.0  # standard deviations; a limb farther from its expected length is a mistake
_USABLE_STD = 0.5  # share of a length; noisier measurements of it say nothing
_LENGTH_ERROR = 0.02  # share of a length that a frame is wrong by whatever its peaks' noise is
_SMALLEST_STD = 0.005  # share of a length
_MIN_FRAMES = 4  # other frames behind the spread of a distance
_UNKNOWN_STD_MM = 1e6


@dataclass(frozen=True)
class Distances:
    """Expected distances of pairs of joints in F frames.

    Attributes:
        pairs: the L pairs.
        mean: (F, L) mm.
        std: (F, L) mm.
    """

    pairs: JointPairs
    mean: np.ndarray
    std: np.ndarray

    def __getitem__(self, frames: Any) -> Distances:
        return Distances(self.pairs, self.mean[frames], self.std[frames])


@dataclass(frozen=True)
class _Others:
    """What the other frames of each frame's person show of L pairs, all (F, L).

    Attributes:
        mean: root mean square of the distance without the noise's share, mm.
        information: of the mean, 1 / mm^2.
        variance: of the distance beyond its noise, mm^2, with the uncertainty of that.
        count: frames.
    """

    mean: np.ndarray
    information: np.ndarray
    variance: np.ndarray
    count: np.ndarray


def second_neighbor_pairs(body: HumanBody) -> JointPairs:
    """Return the pairs of joints two limbs apart, such as hip and hip, neck and head, root and knee."""
    neighbours = [{*children} for children in body.children]
    for parent, child in body.edges:
        neighbours[child].add(parent)
    return tuple(
        (one, other)
        for one in range(body.num_joints)
        for other in range(one + 1, body.num_joints)
        if neighbours[one] & neighbours[other]
    )


def person_distances(
    points_world: np.ndarray, covariance: np.ndarray, person: np.ndarray, limbs: Distances, body: HumanBody
) -> Distances:
    """Measure each person's limbs and second_neighbor_pairs in the *other* frames of the same person.

    A frame's own joints do not count: they would be used twice. A limb keeps its length, so its measurements sharpen
    the expected length; a brace changes with the posture, so its spread over the frames counts too.

    Args:
        points_world: (F, J, 3) joints placed without any regard to distances, mm.
        covariance: (F, J, 3, 3) of their noise, mm^2.
        person: (F,) equal numbers are one person.
        limbs: what is expected of the limbs.
        body: the skeleton.

    Returns:
        The limbs and the second_neighbor_pairs.
    """
    trace = np.trace(covariance, axis1=-2, axis2=-1)  # (F, J)
    shown = _measure(points_world, trace, person, limbs.pairs, limbs)
    prior_information = 1 / limbs.std**2
    information = shown.information + prior_information
    mean = (shown.mean * shown.information + limbs.mean * prior_information) / information
    std = np.maximum(1 / np.sqrt(information), _SMALLEST_STD * limbs.mean)

    more = second_neighbor_pairs(body)
    others = _measure(points_world, trace, person, more)
    known = others.count >= _MIN_FRAMES
    brace_std = np.sqrt(others.variance + 1 / np.where(known, others.information, 1.0))
    return Distances(
        limbs.pairs + more,
        np.concatenate([mean, others.mean], 1),
        np.concatenate([std, np.where(known, brace_std, _UNKNOWN_STD_MM)], 1),
    )


def _measure(
    points_world: np.ndarray,
    trace: np.ndarray,
    person: np.ndarray,
    pairs: JointPairs,
    expected: Distances | None = None,
) -> _Others:
    """Measure distances; those far from what is expected do not count.

    Noise makes a distance longer on average, E[d^2] = D^2 + the variance of the joints' difference, so squares are
    averaged and the variance is taken off.
    """
    ones, others = (list(side) for side in zip(*pairs, strict=True))
    difference2 = ((points_world[:, ones] - points_world[:, others]) ** 2).sum(-1)
    variance = trace[:, ones] + trace[:, others]  # (F, L), sum over the axes
    square = difference2 - variance
    length = np.sqrt(np.maximum(square, 0.0))
    size = np.sqrt(difference2) if expected is None else expected.mean
    noise = variance / 3 + (_LENGTH_ERROR * size) ** 2
    usable = noise < (_USABLE_STD * size) ** 2
    if expected is not None:
        usable &= (length - expected.mean) ** 2 < _GATE**2 * (noise + expected.std**2)
    weight = np.where(usable, 1 / noise, 0.0)

    count = _sum_over_others(usable.astype(np.float64), person)
    total = np.maximum(_sum_over_others(weight, person), np.finfo(float).tiny)
    mean = np.sqrt(np.maximum(_sum_over_others(weight * square, person) / total, 0.0))
    # 1 where the noise explains the distances' scatter over the frames, more where something else adds to it.
    first, second = (_sum_over_others(weight * length**power, person) for power in (1, 2))
    scatter = np.maximum(second - 2 * mean * first + mean**2 * total, 0.0) / np.maximum(count, 1)
    mean_noise = np.where(count > 0, count / total, 0.0)
    beyond_noise = np.maximum(scatter - 1, 0.0) + np.sqrt(2 / np.maximum(count, 1))
    information = np.where(count > 0, total / np.maximum(scatter, 1.0), 0.0)
    return _Others(mean, information, mean_noise * beyond_noise, count)


def _sum_over_others(values: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Sum (F, L) values over the other frames of each frame's person."""
    _, group = np.unique(person, return_inverse=True)
    sums = np.zeros((group.max(initial=0) + 1, values.shape[1]))
    np.add.at(sums, group, values)
    return np.maximum(sums[group] - values, 0.0)
