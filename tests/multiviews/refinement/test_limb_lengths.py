"""Measures of a person from noisy frames."""

from __future__ import annotations

import numpy as np
import pytest

from lib.multiviews.body import H36M_BODY, HumanBody
from lib.multiviews.refinement.limb_lengths import Distances, person_distances, second_neighbor_pairs

ARM = HumanBody.from_names(("sho", "elb", "wri"), {"elb": "sho", "wri": "elb"})
TRUE = np.array([300.0, 250.0])
EXPECTED = np.array([280.0, 260.0])


def bent_arms(num_frames: int, rng: np.random.Generator, angle_std: float) -> np.ndarray:
    """Return (F, 3, 3) arms with the lengths TRUE, mm."""
    angle = 1.5 + rng.normal(0, angle_std, num_frames)
    zero = np.zeros(num_frames)
    upper = np.stack([TRUE[0] * np.cos(zero), TRUE[0] * np.sin(zero), zero], -1)
    lower = np.stack([TRUE[1] * np.cos(angle), TRUE[1] * np.sin(angle), zero], -1)
    return np.stack([np.zeros((num_frames, 3)), upper, upper + lower], 1)


def measure(num_frames: int, noise_mm: float, angle_std: float = 0.3, person=None, seed: int = 0) -> Distances:
    rng = np.random.default_rng(seed)
    points = bent_arms(num_frames, rng, angle_std) + rng.normal(0, noise_mm, (num_frames, 3, 3))
    covariance = np.broadcast_to(np.eye(3) * noise_mm**2, (num_frames, 3, 3, 3))
    limbs = Distances(ARM.edges, np.tile(EXPECTED, (num_frames, 1)), np.tile(0.05 * EXPECTED, (num_frames, 1)))
    return person_distances(points, covariance, np.zeros(num_frames) if person is None else person, limbs, ARM)


def test_second_neighbor_pairs_h36m():
    assert second_neighbor_pairs(ARM) == ((0, 2),)
    names = {frozenset(H36M_BODY.joint_names[joint] for joint in pair) for pair in second_neighbor_pairs(H36M_BODY)}
    kept = (("rhip", "lhip"), ("lsho", "rsho"), ("neck", "head"), ("root", "lkne"))
    assert {frozenset(pair) for pair in kept} < names
    assert not {frozenset(pair) for pair in (("root", "rhip"), ("root", "lank"), ("rkne", "lkne"))} & names
    assert len(second_neighbor_pairs(H36M_BODY)) == len(names) == 19


def test_person_distances_unbiased():
    """40 mm of noise make a limb of 250 mm some 12 mm longer on average."""
    found = measure(400, 40.0)
    np.testing.assert_allclose(found.mean[:, :2], np.tile(TRUE, (400, 1)), atol=5)
    assert (found.std[:, :2] < 5).all()


def test_person_distances_std_is_calibrated():
    deviation = [measure(12, 25.0, seed=seed).mean[0, :2] - TRUE for seed in range(200)]
    stated = np.mean([measure(12, 25.0, seed=seed).std[0, :2] for seed in range(50)], 0)
    assert (np.sqrt(np.mean(np.square(deviation), 0)) < 1.3 * stated).all()
    assert (stated < 0.75 * 0.05 * EXPECTED).all()  # sharper than what was expected


def test_person_distances_exclude_own_frame():
    person = np.array([0, 1, 1, 2])
    points = bent_arms(4, np.random.default_rng(0), 0.3) * np.array([1, 1.05, 0.85, 1])[:, None, None]
    covariance = np.broadcast_to(np.eye(3), (4, 3, 3, 3))
    limbs = Distances(ARM.edges, np.tile(EXPECTED, (4, 1)), np.tile(0.05 * EXPECTED, (4, 1)))
    found = person_distances(points, covariance, person, limbs, ARM)
    np.testing.assert_allclose(found.mean[[0, 3], :2], [EXPECTED] * 2)
    np.testing.assert_allclose(found.std[[0, 3], :2], [0.05 * EXPECTED] * 2)
    assert (found.mean[1, :2] < EXPECTED - 5).all()  # the other frame's arm is short
    assert (found.mean[2, :2] > EXPECTED).all()
    assert (found.mean[2, :2] < 1.05 * TRUE + 0.1).all()


def test_person_distances_spread_of_second_neighbors():
    stiff, loose = measure(100, 5.0, angle_std=0.02), measure(100, 5.0, angle_std=0.5)
    straight = np.linalg.norm(bent_arms(1, np.random.default_rng(0), 0.0)[0, 2])
    assert stiff.mean[0, 2] == pytest.approx(straight, abs=5)
    assert stiff.std[0, 2] < 10
    spread = np.linalg.norm(bent_arms(5000, np.random.default_rng(1), 0.5)[:, 2], axis=-1).std()
    assert loose.std[0, 2] == pytest.approx(spread, rel=0.25)
    assert (loose.std[:, :2] < 5).all()  # the limbs are as precise as before


def test_person_distances_few_frames():
    assert (measure(4, 5.0).std[:, 2] > 1e5).all()
    assert (measure(5, 5.0).std[:, 2] < 1e3).all()


def test_person_distances_unseen_joints():
    rng = np.random.default_rng(0)
    points = bent_arms(20, rng, 0.3)
    covariance = np.broadcast_to(np.eye(3) * 4.0, (20, 3, 3, 3)).copy()
    points[::2, 2] += 5000
    covariance[::2, 2] = np.eye(3) * 1e9
    limbs = Distances(ARM.edges, np.tile(EXPECTED, (20, 1)), np.tile(0.05 * EXPECTED, (20, 1)))
    found = person_distances(points, covariance, np.zeros(20), limbs, ARM)
    np.testing.assert_allclose(found.mean[:, :2], np.tile(TRUE, (20, 1)), atol=3)
    assert np.isfinite(found.std).all()


def test_person_distances_outlier_limb():
    points = bent_arms(20, np.random.default_rng(0), 0.3)
    points[:5, 2] += [400, 0, 0]
    covariance = np.broadcast_to(np.eye(3) * 4.0, (20, 3, 3, 3))
    limbs = Distances(ARM.edges, np.tile(EXPECTED, (20, 1)), np.tile(0.05 * EXPECTED, (20, 1)))
    found = person_distances(points, covariance, np.zeros(20), limbs, ARM)
    np.testing.assert_allclose(found.mean[:, :2], np.tile(TRUE, (20, 1)), atol=3)
