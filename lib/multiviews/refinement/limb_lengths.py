"""Limb lengths and other joint distances of a person, estimated from several frames (numpy)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.multiviews.body import HumanBody

JointPairs = tuple[tuple[int, int], ...]  # pairs of joints


@dataclass(frozen=True)
class LengthSettings:
    """Robustness of the estimated distances. Shares are relative to the distance."""

    outlier_std: float = 4.0  # standard deviations; limbs farther from the expected length are outliers
    max_noise: float = 0.5  # share; noisier measurements are ignored
    frame_error: float = 0.02  # share; error of a frame in addition to the noise of its peaks
    min_std: float = 0.005  # share; smallest standard deviation of a limb length
    min_frames: int = 4  # other frames needed to measure the spread of a distance
    unknown_std_mm: float = 1e6  # standard deviation of unknown distances, which then have no effect


_SETTINGS = LengthSettings()


@dataclass(frozen=True)
class Distances:
    """Expected distances between L pairs of joints in F frames.

    Attributes:
        pairs: joint indices.
        mean: (F, L) mm.
        std: (F, L) mm.
    """

    pairs: JointPairs
    mean: np.ndarray
    std: np.ndarray

    def __getitem__(self, frames: Any) -> Distances:
        return Distances(self.pairs, self.mean[frames], self.std[frames])


@dataclass(frozen=True)
class _Measurements:
    """Distances measured in the other frames of the same person, (F, L) each.

    Attributes:
        mean: root mean square of the distance, corrected for noise, mm.
        information: inverse variance of `mean`, 1 / mm^2.
        variance: upper estimate of the variance of the distance without noise, mm^2.
        count: number of frames.
    """

    mean: np.ndarray
    information: np.ndarray
    variance: np.ndarray
    count: np.ndarray


def second_neighbor_pairs(body: HumanBody) -> JointPairs:
    """Return the pairs of joints two limbs apart, e.g. both hips, neck and head, root and knee."""
    neighbors = [{*children} for children in body.children]
    for parent, child in body.edges:
        neighbors[child].add(parent)
    return tuple(
        (one, other)
        for one in range(body.num_joints)
        for other in range(one + 1, body.num_joints)
        if neighbors[one] & neighbors[other]
    )


def person_distances(
    points_world: np.ndarray, covariance: np.ndarray, person: np.ndarray, limbs: Distances, body: HumanBody
) -> Distances:
    """Estimate limb lengths and second-neighbor distances of each frame from the other frames of the same person.

    The frame itself is excluded, because the result is used to refine it. Limb lengths are constant, so measurements
    are combined with the expected length. Second-neighbor distances vary with the posture, so their standard deviation
    includes the spread over the frames.

    Args:
        points_world: (F, J, 3) joints estimated without using distances, mm.
        covariance: (F, J, 3, 3) covariance of the joints, mm^2.
        person: (F,) person ids.
        limbs: expected limb lengths.
        body: skeleton.

    Returns:
        Distances of the limbs, then of the second-neighbor pairs.
    """
    trace = np.trace(covariance, axis1=-2, axis2=-1)  # (F, J)
    measured = _measure(points_world, trace, person, limbs.pairs, limbs)
    prior_information = 1 / limbs.std**2
    information = measured.information + prior_information
    mean = (measured.mean * measured.information + limbs.mean * prior_information) / information
    std = np.maximum(1 / np.sqrt(information), _SETTINGS.min_std * limbs.mean)

    more = second_neighbor_pairs(body)
    others = _measure(points_world, trace, person, more)
    known = others.count >= _SETTINGS.min_frames
    others_std = np.sqrt(others.variance + 1 / np.where(known, others.information, 1.0))
    return Distances(
        limbs.pairs + more,
        np.concatenate([mean, others.mean], 1),
        np.concatenate([std, np.where(known, others_std, _SETTINGS.unknown_std_mm)], 1),
    )


def _measure(
    points_world: np.ndarray,
    trace: np.ndarray,
    person: np.ndarray,
    pairs: JointPairs,
    expected: Distances | None = None,
) -> _Measurements:
    """Measure distances, without outliers.

    Noise increases distances, E[d^2] = D^2 + variance of the difference of both joints. So squared distances are
    averaged and the variance is subtracted.
    """
    ones, others = (list(side) for side in zip(*pairs, strict=True))
    difference2 = ((points_world[:, ones] - points_world[:, others]) ** 2).sum(-1)
    variance = trace[:, ones] + trace[:, others]  # (F, L), sum over the axes
    square = difference2 - variance
    length = np.sqrt(np.maximum(square, 0.0))
    size = np.sqrt(difference2) if expected is None else expected.mean
    noise = variance / 3 + (_SETTINGS.frame_error * size) ** 2
    usable = noise < (_SETTINGS.max_noise * size) ** 2
    if expected is not None:
        usable &= (length - expected.mean) ** 2 < _SETTINGS.outlier_std**2 * (noise + expected.std**2)
    weight = np.where(usable, 1 / noise, 0.0)

    count = _sum_over_others(usable.astype(np.float64), person)
    total = np.maximum(_sum_over_others(weight, person), np.finfo(float).tiny)
    mean = np.sqrt(np.maximum(_sum_over_others(weight * square, person) / total, 0.0))
    # The scatter over the frames relative to the noise: 1 if the noise explains it.
    first, second = (_sum_over_others(weight * length**power, person) for power in (1, 2))
    scatter = np.maximum(second - 2 * mean * first + mean**2 * total, 0.0) / np.maximum(count, 1)
    mean_noise = np.where(count > 0, count / total, 0.0)
    beyond_noise = np.maximum(scatter - 1, 0.0) + np.sqrt(2 / np.maximum(count, 1))
    information = np.where(count > 0, total / np.maximum(scatter, 1.0), 0.0)
    return _Measurements(mean, information, mean_noise * beyond_noise, count)


def _sum_over_others(values: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Sum values (F, L) over the other frames of the same person."""
    _, group = np.unique(person, return_inverse=True)
    sums = np.zeros((group.max(initial=0) + 1, values.shape[1]))
    np.add.at(sums, group, values)
    return np.maximum(sums[group] - values, 0.0)
