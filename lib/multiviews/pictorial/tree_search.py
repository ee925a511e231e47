"""Exact search for the best bins of all joints, by dynamic programming on the tree, for a batch of frames.

The search maximizes a sum of log scores, which cannot underflow:
- evidence: log2 of the unary relative to the joint's largest unary on its grid;
- a bin without evidence costs `Costs.missing`, if the joint has evidence in other bins. A joint without any evidence
  scores 0 everywhere, so its limbs alone place it;
- a pair of bins outside the limb's tolerance costs `Costs.broken`.
Each cost exceeds every sum of smaller terms. If a pose with a positive product exists, the result is the maximum of the
product, as in the paper. Otherwise the result has as few broken limbs as possible, then as few joints without evidence
as possible, and the remaining joints keep their evidence.

Ties are resolved by the lowest bin index. Scores are multiples of 2^-30, so sums are exact in float64, and numpy and
torch resolve ties equally.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.pictorial.backend_numpy import Array, Backend
from lib.multiviews.pictorial.limb_prior import LimbPrior

STEPS = 2.0**30  # steps per unit of log2; the sum for 24 joints stays below 2^53
LOWEST_EVIDENCE = -512.0  # log2; float32 heatmaps span 277


@dataclass(frozen=True)
class Costs:
    """Costs of a bin without evidence and of a broken limb; each exceeds any sum of smaller terms."""

    missing: float
    broken: float

    @classmethod
    def of(cls, body: HumanBody) -> Costs:
        """Return the costs for a skeleton."""
        missing = -LOWEST_EVIDENCE * STEPS * (body.num_joints + 1)
        return cls(missing, missing * (body.num_joints + 1))


def evidence_scores(unary: Array, costs: Costs, backend: Backend) -> Array:
    """Convert unaries, not negative and with the bins on axis 1, to scores of the same shape."""
    xp = backend.xp
    best = largest(unary, 1, backend)[:, None]
    has_evidence = best > 0
    ratio = unary / xp.where(has_evidence, best, 1.0)
    evidence = xp.round(xp.log2(ratio.clip(2.0**LOWEST_EVIDENCE)) * STEPS)
    return xp.where(ratio > 0, evidence, has_evidence * -costs.missing)


def largest(values: Array, axis: int, backend: Backend) -> Array:
    """Return the maximum along an axis, by halves: faster than amax for few frames."""
    while values.shape[axis] % 2 == 0:
        half = values.shape[axis] // 2
        lower = (slice(None),) * axis + (slice(half),)
        upper = (slice(None),) * axis + (slice(half, None),)
        values = backend.xp.maximum(values[lower], values[upper])
    return backend.xp.amax(values, axis)


def search_shared_grid(scores: Array, prior: LimbPrior, backend: Backend) -> Array:
    """Find the best bins if all joints share one grid.

    Args:
        scores: (J, N, F) contiguous; overwritten with the scores of the subtrees. Frames are the last axis, so that
            shifts of a volume move contiguous rows.
        prior: skeleton, grid and compatible offsets.
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
    """Find the best bin (F,) of a child, given the bin (F,) of its parent.

    `scores` (N, F) are the scores of the child's subtree; `broken` (F,) is the best score if the limb is broken.
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
    """Find the best bins if each joint has its own grid.

    Args:
        scores: (F, J, n); overwritten with the scores of the subtrees.
        pair_scores: (F, E, n_parent, n_child).
        body: skeleton.
        backend: array operations.

    Returns:
        (F, J) bins.
    """
    xp = backend.xp
    levels = []  # the joints of a tree level are consecutive in body.edges
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
