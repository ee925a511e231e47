"""Dynamic programming on the tree against all states of small problems."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from cvf_tests.scenes import make_backend

from lib.multiviews.body import HumanBody
from lib.multiviews.pictorial.limb_offsets import PriorGrid, cube_points
from lib.multiviews.pictorial.limb_prior import make_limb_prior
from lib.multiviews.pictorial.tree_search import Costs, evidence_scores, search_own_grids, search_shared_grid

LIBRARIES = ["numpy", "torch"]
FORK = HumanBody(("root", "knee", "ankle", "belly"), (-1, 0, 1, 0))
CHAIN = HumanBody(("ankle", "root", "knee"), (2, -1, 1))  # children before parents


def brute_force(unary, compatible, body):
    """Return (broken limbs, joints without evidence, -log of the product) of the best of all states.

    Args:
        unary: (J, N) of one frame.
        compatible: (E, N, N) bool.
        body: the skeleton.
    """
    num_joints, num_bins = unary.shape
    states = np.array(list(itertools.product(range(num_bins), repeat=num_joints)))
    return min(rate(states, unary, compatible, body))


def rate(states, unary, compatible, body):
    values = np.stack([unary[joint, states[:, joint]] for joint in range(len(unary))], 1)  # (S, J)
    missing = ((values == 0) & (unary > 0).any(1)).sum(1)
    share = values / np.maximum(unary.max(1), 1e-300)  # of the joint's best
    loss = -np.log(np.where(values > 0, share, 1)).sum(1)
    broken = sum(
        ~compatible[edge][states[:, parent], states[:, child]] for edge, (parent, child) in enumerate(body.edges)
    )
    return list(zip(broken.tolist(), missing.tolist(), loss.tolist(), strict=True))


def assert_best(bins, unary, compatible, body):
    found = rate(bins[None], unary, compatible, body)[0]
    best = brute_force(unary, compatible, body)
    assert found[:2] == best[:2]
    assert found[2] == pytest.approx(best[2], abs=1e-4)


def compatible_pairs(points, lengths, tolerance):
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1)
    return np.abs(distance - np.asarray(lengths)[:, None, None]) < tolerance


def shared_search(unary, prior, backend):
    """Search with unary (F, J, N)."""
    scores = evidence_scores(
        backend.floats(np.ascontiguousarray(unary.transpose(1, 2, 0))), Costs.of(prior.body), backend
    )
    return backend.numpy(search_shared_grid(scores, prior, backend))


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(("body", "num_bins"), [(CHAIN, 3), (FORK, 2)])
def test_search_shared_grid_equals_exhaustive_search(library, zeros, body, num_bins):
    rng = np.random.default_rng(0)
    grid = PriorGrid(400.0, num_bins, 90.0)
    lengths = np.array([330.0, 390.0, 500.0])[: len(body.edges)]
    prior = make_limb_prior(lengths, body, grid)
    unary = rng.random((6, body.num_joints, num_bins**3)) * (rng.random((6, body.num_joints, num_bins**3)) >= zeros)
    unary[0, 1] = 0  # a joint without any evidence
    bins = shared_search(unary, prior, make_backend(library))
    compatible = compatible_pairs(cube_points(400, num_bins), lengths, 90)
    for frame in range(len(unary)):
        assert_best(bins[frame], unary[frame], compatible, body)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("zeros", [0.0, 0.6])
@pytest.mark.parametrize("share_compatible", [0.6, 0.05, 0.0])
def test_search_own_grids_equals_exhaustive_search(library, zeros, share_compatible):
    rng = np.random.default_rng(1)
    backend = make_backend(library)
    num_frames = 8
    num_bins = 8
    unary = rng.random((num_frames, 4, num_bins)) * (rng.random((num_frames, 4, num_bins)) >= zeros)
    compatible = rng.random((num_frames, 3, num_bins, num_bins)) < share_compatible
    costs = Costs.of(FORK)
    scores = evidence_scores(backend.floats(unary.reshape(-1, num_bins)), costs, backend).reshape(unary.shape)
    pair_scores = backend.floats(np.where(compatible, 0.0, -costs.broken))
    bins = backend.numpy(search_own_grids(scores, pair_scores, FORK, backend))
    for frame in range(num_frames):
        assert_best(bins[frame], unary[frame], compatible[frame], FORK)


@pytest.mark.parametrize("library", LIBRARIES)
def test_search_shared_grid_broken_limb(library):
    """From the middle of 3 bins no bin is 400 mm away: the limb breaks where the root's evidence is strong."""
    prior = make_limb_prior(np.array([400.0]), HumanBody(("root", "knee"), (-1, 0)), PriorGrid(400.0, 3, 1.0))
    unary = np.zeros((1, 2, 27))
    unary[0, 0, 13] = 1.0  # the root's only evidence is in the middle
    unary[0, 1, 5] = 1.0
    bins = shared_search(unary, prior, make_backend(library))
    # one broken limb costs more than one joint without evidence: the root leaves the middle, or the knee its bin
    assert abs(np.linalg.norm(np.subtract(*cube_points(400, 3)[bins[0]])) - 400) < 1


@pytest.mark.parametrize("library", LIBRARIES)
def test_search_shared_grid_ties(library):
    backend = make_backend(library)
    prior = make_limb_prior(np.full(3, 200.0), FORK, PriorGrid(400.0, 3, 10.0))
    bins = shared_search(np.ones((2, 4, 27)), prior, backend)
    np.testing.assert_array_equal(bins, [[0, 1, 0, 1]] * 2)  # bin 1 is the first that is 200 mm from bin 0
    scores = backend.floats(np.zeros((2, 4, 8)))
    bins = backend.numpy(search_own_grids(scores, backend.floats(np.zeros((2, 3, 8, 8))), FORK, backend))
    np.testing.assert_array_equal(bins, 0)


@pytest.mark.parametrize("library", LIBRARIES)
def test_search_shared_grid_no_underflow(library):
    rng = np.random.default_rng(2)
    body = HumanBody(tuple("abcdefghijklmnopq"), tuple(range(-1, 16)))  # a chain of 17
    prior = make_limb_prior(np.full(16, 200.0), body, PriorGrid(400.0, 3, 10.0))
    unary = rng.random((2, 17, 27))
    backend = make_backend(library)
    expected = shared_search(unary, prior, backend)
    np.testing.assert_array_equal(shared_search(unary * 2.0**-120, prior, backend), expected)
    # and without rescaling by the joint's largest value: 17 factors of 1e-30 and one hopeless bin
    spread = unary * 1e-30
    spread[:, :, 26] = 1.0
    spread[:, 1::2, 26] = 0.0  # bin 26 cannot follow itself at 200 mm
    bins = shared_search(spread, prior, backend)
    compatible = compatible_pairs(cube_points(400, 3), np.full(16, 200.0), 10)
    assert all(compatible[edge][bins[frame, edge], bins[frame, edge + 1]] for frame in range(2) for edge in range(16))
