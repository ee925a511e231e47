"""Exact search for the best bins of all joints: dynamic programming on the tree, over a batch of frames.

What is maximised is a sum of *scores*, so that products of many small numbers cannot underflow:
- evidence: log2 of the unary over the joint's largest one on its grid;
- a bin without evidence, of a joint that has evidence elsewhere on its grid, costs `Costs.missing`; a joint without
  any evidence scores 0 everywhere, so the limbs alone place it;
- a pair of bins that the limb's length forbids costs `Costs.broken`.
Both costs outweigh every sum of lesser terms. So where all joints have compatible evidence the result is the maximum
of the product, exactly as without them. Elsewhere, where the product is 0 for every pose, as few limbs as possible
are broken, then as few joints as possible are without evidence, and the rest of the tree keeps its evidence.

Ties go to the lowest bin index. Scores are whole numbers of steps of 2^-30, so that their sums are exact in float64:
numpy and torch, whose last bits differ, see the same ties.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.pictorial.backend_numpy import Array, Backend
from lib.multiviews.pictorial.limb_prior import LimbPrior

_STEPS = 2.0**30  # scores per unit of log2: a step is 7e-10 of a unary; 24 joints stay below 2^53
_LOWEST_EVIDENCE = -512.0  # log2; float32 heatmaps span 277


@dataclass(frozen=True)
class Costs:
    """Scores that are lost where something should not be, each above any sum of lesser terms."""

    missing: float
    broken: float

    @classmethod
    def of(cls, body: HumanBody) -> Costs:
        """Return the costs for a number of joints."""
        missing = -_LOWEST_EVIDENCE * _STEPS * (body.num_joints + 1)
        return cls(missing, missing * (body.num_joints + 1))


def evidence_scores(unary: Array, costs: Costs, backend: Backend) -> Array:
    """Turn unaries into scores.

    Args:
        unary: (..., bins, ...) with the bins on axis 1, not negative.
        costs: the cost of a bin without evidence.
        backend: array operations.

    Returns:
        Scores of the same shape.
    """
    xp = backend.xp
    best = largest(unary, 1, backend)[:, None]
    has_evidence = best > 0
    ratio = unary / xp.where(has_evidence, best, 1.0)
    evidence = xp.round(xp.log2(ratio.clip(2.0**_LOWEST_EVIDENCE)) * _STEPS)
    return xp.where(ratio > 0, evidence, has_evidence * -costs.missing)


def largest(values: Array, axis: int, backend: Backend) -> Array:
    """Return the maximum along an axis, by halves: a reduction with few frames beside the axis is slow."""
    while values.shape[axis] % 2 == 0:
        half = values.shape[axis] // 2
        lower = (slice(None),) * axis + (slice(half),)
        upper = (slice(None),) * axis + (slice(half, None),)
        values = backend.xp.maximum(values[lower], values[upper])
    return backend.xp.amax(values, axis)


def search_shared_grid(scores: Array, prior: LimbPrior, backend: Backend) -> Array:
    """Find the best bins where all joints share the first grid.

    Args:
        scores: (J, N, F) contiguous; the frames are last, so that a shift of a volume moves whole rows. Becomes the
            scores with their subtrees.
        prior: the skeleton, the grid and the compatible offsets.
        backend: array operations.

    Returns:
        (F, J) bins.
    """
    xp = backend.xp
    num_bins = prior.grid.num_bins
    body = prior.body
    broken = Costs.of(body).broken
    volumes = scores.reshape(body.num_joints, num_bins, num_bins, num_bins, -1)  # shares the memory of scores
    best = [None] * body.num_joints  # (F,) each
    for edge in reversed(range(len(body.edges))):
        parent, child = body.edges[edge]
        best[child] = largest(scores[child], 0, backend)
        message = backend.shift_max(volumes[child], prior.programs[edge])
        volumes[parent] += xp.maximum(message, best[child] - broken)
    bins = [None] * body.num_joints  # (F,) each
    bins[body.root] = xp.argmax(scores[body.root], 0)
    for edge, (parent, child) in enumerate(body.edges):
        bins[child] = _best_partner(
            scores[child], bins[parent], prior.offsets[edge], num_bins, best[child] - broken, backend
        )
    return xp.stack(bins, 1)


def _best_partner(
    scores: Array, parent_bin: Array, offsets: np.ndarray, num_bins: int, broken: Array, backend: Backend
) -> Array:
    """Find the child's best bin given the parent's.

    Args:
        scores: (N, F) the child's scores with its subtree.
        parent_bin: (F,) bins.
        offsets: (K, 3) compatible offsets, ascending.
        num_bins: bins per axis.
        broken: (F,) score of the best child bin if the limb is broken.
        backend: array operations.

    Returns:
        (F,) bins.
    """
    xp = backend.xp
    frame = backend.integers(np.arange(len(parent_bin)))[:, None]
    coordinates = xp.stack([parent_bin // num_bins**2, parent_bin // num_bins % num_bins, parent_bin % num_bins], -1)
    partners = coordinates[:, None] + backend.integers(offsets)  # (F, K, 3)
    inside = ((partners >= 0) & (partners < num_bins)).all(-1)
    flat = (partners[..., 0] * num_bins + partners[..., 1]) * num_bins + partners[..., 2]
    flat = xp.where(inside, flat, 0)
    candidates = xp.where(inside, scores[flat, frame], -np.inf)  # (F, K)
    choice = xp.argmax(candidates, 1)[:, None]
    chosen, score = backend.take_along(flat, choice, 1)[:, 0], backend.take_along(candidates, choice, 1)[:, 0]
    if (score < broken).any():
        chosen = xp.where(score < broken, xp.argmax(scores, 0), chosen)
    return chosen


def search_own_grids(scores: Array, pair_scores: Array, body: HumanBody, backend: Backend) -> Array:
    """Find the best bins where each joint has a grid of its own, one tree level at a time.

    Args:
        scores: (F, J, n); becomes the scores with their subtrees.
        pair_scores: (F, E, n_parent, n_child).
        body: the skeleton.
        backend: array operations.

    Returns:
        (F, J) bins.
    """
    xp = backend.xp
    levels = []  # a tree level's joints are consecutive in body.edges
    stop = 0
    for joints in body.levels[1:]:
        levels.append((list(joints), slice(stop, stop + len(joints))))
        stop += len(joints)
    totals = [None] * len(levels)
    for depth in reversed(range(len(levels))):
        joints, edges = levels[depth]
        totals[depth] = pair_scores[:, edges] + scores[:, joints, None]  # (F, k, n_parent, n_child)
        messages = xp.amax(totals[depth], -1)
        for i, joint in enumerate(joints):
            scores[:, body.parents[joint]] += messages[:, i]
    bins = backend.integers(np.zeros(tuple(scores.shape[:2]), np.int64))
    bins[:, body.root] = xp.argmax(scores[:, body.root], -1)
    for total, (joints, _) in zip(totals, levels, strict=True):
        parent_bins = bins[:, [body.parents[joint] for joint in joints]]  # (F, k)
        rows = backend.take_along(total, parent_bins[..., None, None], 2)[:, :, 0]  # (F, k, n_child)
        bins[:, joints] = xp.argmax(rows, -1)
    return bins
