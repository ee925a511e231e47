"""The recursive pictorial structure model (RPSM) over a batch of frames, for any array library.

The pose maximises the product of unary terms (a joint's heatmap values, summed over the views) and pairwise terms
(1 where a limb has an acceptable length) over the tree of joints. Level 0 places all joints on one grid around the
root; every later level gives each joint a smaller grid around its current place.

We maximise the sum of *scores* instead, so that products of many small numbers cannot underflow:
- evidence: log2 of the unary over the joint's largest one on its grid;
- a bin without evidence, of a joint that has evidence elsewhere on its grid, costs `missing_cost`; a joint without
  any evidence scores 0 everywhere, so the limbs alone place it;
- a pair of bins that the limb's length forbids costs `broken_cost`.
Both costs outweigh every sum of lesser terms. So where all joints have compatible evidence the result is the maximum
of the product, exactly as without them. Elsewhere, where the product is 0 for every pose, as few limbs as possible
are broken, then as few joints as possible are without evidence, and the rest of the tree keeps its evidence.

Ties go to the lowest bin index. Scores are rounded to multiples of 2^-20, so that their sums are exact in float64:
numpy and torch, whose last bits differ, see the same ties.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.cameras import Cameras
from lib.multiviews.grid import cube_points
from lib.multiviews.kernels import Array, Kernel
from lib.multiviews.limb_offsets import PriorGrid
from lib.multiviews.limb_prior import LimbPrior
from lib.multiviews.sampling import Views, bilinear_taps
from lib.utils.checks import InputError, check_shape

_SCORE_STEPS = 2.0**20  # per unit of log2: 7e-7 of a unary
_LOWEST_EVIDENCE = -512.0  # log2; float32 heatmaps span 277
_MAX_BINS_AT_ONCE = 2**16  # frames * bins of a block on the first grid, and
_MAX_PAIRS_AT_ONCE = 2**21  # frames * limbs * pairs of bins on later grids: bound the memory


@dataclass(frozen=True)
class PictorialSettings:
    """Grids and tolerance of the model; the defaults are the paper's.

    Attributes:
        grid_size: edge of the first grid, mm.
        first_nbins: bins per axis of the first grid.
        recur_nbins: bins per axis of the later grids.
        recur_depth: number of later grids.
        limb_length_tolerance: allowed deviation of a limb length, mm.
    """

    grid_size: float = 2000.0
    first_nbins: int = 16
    recur_nbins: int = 2
    recur_depth: int = 10
    limb_length_tolerance: float = 150.0

    @property
    def first_grid(self) -> PriorGrid:
        """The grid and tolerance that the limb prior must be for."""
        return PriorGrid(float(self.grid_size), self.first_nbins, float(self.limb_length_tolerance))

    def recursion_edge(self, level: int) -> float:
        """Return the edge of a joint's grid at level 1, 2, ..., mm."""
        return self.grid_size / self.first_nbins / self.recur_nbins ** (level - 1)


@dataclass(frozen=True)
class _Costs:
    """Scores of what should not be, each above any sum of lesser terms."""

    missing: float
    broken: float

    @classmethod
    def of(cls, body: HumanBody) -> _Costs:
        missing = -_LOWEST_EVIDENCE * (body.num_joints + 1)
        return cls(missing, missing * (body.num_joints + 1))


def rpsm(
    heatmaps: np.ndarray,
    cameras: Cameras,
    image_to_heatmap: np.ndarray,
    root_world: np.ndarray,
    limb_lengths: np.ndarray,
    prior: LimbPrior,
    settings: PictorialSettings,
    kernel: Kernel,
) -> np.ndarray:
    """Estimate the 3D poses of F frames from the heatmaps of V views.

    Args:
        heatmaps: (F, V, J, H, W) in the joint order of `prior.body`; values below 0 count as 0.
        cameras: numpy cameras with leading axes (F, V).
        image_to_heatmap: (F, V, 2, 3) image px -> heatmap px.
        root_world: (F, 3) centre of the first grid, mm.
        limb_lengths: (F, E) or (E,) the persons' limb lengths in the order of `prior.body.edges`, mm.
        prior: compatible bins of the first grid.
        settings: grids and tolerance.
        kernel: NumpyKernel or TorchKernel.

    Returns:
        (F, J, 3) joints, world frame, mm.

    Raises:
        InputError: shapes disagree, a value is not finite, or the prior is for another grid.

    Source: paper section 4.
    """
    body = prior.body
    heatmaps, root_world = np.asarray(heatmaps), np.asarray(root_world, np.float64)
    num_edges = len(body.edges)
    if np.ndim(limb_lengths) == 1:
        limb_lengths = np.broadcast_to(limb_lengths, (len(heatmaps), num_edges))
    sizes = check_shape("heatmaps", heatmaps.shape, ("F", "V", body.num_joints, "H", "W"))
    num_frames, num_views = sizes["F"], sizes["V"]
    check_shape("image_to_heatmap", np.shape(image_to_heatmap), (num_frames, num_views, 2, 3))
    check_shape("cameras.T", cameras.T.shape, (num_frames, num_views, 3))
    check_shape("root_world", root_world.shape, (num_frames, 3))
    check_shape("limb_lengths", np.shape(limb_lengths), (num_frames, num_edges))
    for name, values in (("heatmaps", heatmaps), ("root_world", root_world), ("limb_lengths", limb_lengths)):
        _check_finite(name, values)
    if prior.grid != settings.first_grid:
        raise InputError(f"limb prior: it is for {prior.grid}, the settings ask for {settings.first_grid}")

    views = Views(kernel.padded_maps(heatmaps), cameras.map(kernel.floats), kernel.floats(image_to_heatmap))
    center, lengths = kernel.floats(root_world), kernel.floats(limb_lengths)
    positions = kernel.floats(np.empty((num_frames, body.num_joints, 3)))
    for frames in _blocks(num_frames, min(kernel.block_frames, _MAX_BINS_AT_ONCE // settings.first_nbins**3)):
        positions[frames] = _first_level(views[frames], center[frames], prior, kernel)
    pairs = num_edges * settings.recur_nbins**6
    for level in range(1, settings.recur_depth + 1):
        grid = kernel.floats(cube_points(settings.recursion_edge(level), settings.recur_nbins))
        for frames in _blocks(num_frames, _MAX_PAIRS_AT_ONCE // max(pairs, 1)):
            positions[frames] = _later_level(
                views[frames], positions[frames], grid, lengths[frames], settings.limb_length_tolerance, body, kernel
            )
    return kernel.numpy(positions)


def _blocks(num_frames: int, size: int) -> Iterator[slice]:
    size = max(size, 1)
    for start in range(0, num_frames, size):
        yield slice(start, min(start + size, num_frames))


def _check_finite(name: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        frame = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[0])
        raise InputError(f"{name}: frame {frame} of the batch has values that are not finite")


def _scores(unary: Array, costs: _Costs, kernel: Kernel) -> Array:
    """Turn unaries into scores.

    Args:
        unary: (..., bins, ...) with the bins on axis 1, not negative.
        costs: the cost of a bin without evidence.
        kernel: array operations.

    Returns:
        Scores of the same shape.
    """
    xp = kernel.xp
    best = xp.amax(unary, 1)[:, None]
    has_evidence = best > 0
    ratio = unary / xp.where(has_evidence, best, 1.0)
    evidence = xp.log2(xp.where(ratio > 0, ratio, 1.0)).clip(_LOWEST_EVIDENCE, 0.0)
    evidence = xp.round(evidence * _SCORE_STEPS) / _SCORE_STEPS
    return xp.where(ratio > 0, evidence, has_evidence * -costs.missing)


def _first_level(views: Views, center: Array, prior: LimbPrior, kernel: Kernel) -> Array:
    """Place all joints on the shared grid; (F, J, 3) mm."""
    num_bins, body, costs = prior.grid.num_bins, prior.body, _Costs.of(prior.body)
    grid = kernel.floats(cube_points(prior.grid.edge, num_bins))
    pixels, weights = bilinear_taps(center[:, None] + grid, views, kernel)
    unary = kernel.sample_shared(views.maps, pixels, weights)  # (J, N, F)
    belief = _scores(unary, costs, kernel)
    volumes = belief.reshape(body.num_joints, num_bins, num_bins, num_bins, -1)  # shares the memory of belief
    best = [None] * body.num_joints
    for edge in reversed(range(len(body.edges))):
        parent, child = body.edges[edge]
        best[child] = kernel.xp.amax(belief[child], 0)  # (F,)
        message = kernel.shift_max(volumes[child], prior.programs[edge])
        volumes[parent] += kernel.xp.maximum(message, best[child] - costs.broken)

    bins = [None] * body.num_joints
    bins[body.root] = kernel.xp.argmax(belief[body.root], 0)  # (F,)
    for edge, (parent, child) in enumerate(body.edges):
        bins[child] = _best_partner(
            belief[child], bins[parent], prior.offsets[edge], num_bins, best[child] - costs.broken, kernel
        )
    return center[:, None] + grid[kernel.xp.stack(bins, 1)]


def _best_partner(
    belief: Array, parent_bin: Array, offsets: np.ndarray, num_bins: int, broken: Array, kernel: Kernel
) -> Array:
    """Find the child's best bin given the parent's.

    Args:
        belief: (N, F) the child's scores with its subtree.
        parent_bin: (F,) bins.
        offsets: (K, 3) compatible offsets, ascending.
        num_bins: bins per axis.
        broken: (F,) score of the best child bin if the limb is broken.
        kernel: array operations.

    Returns:
        (F,) bins.
    """
    xp = kernel.xp
    frame = kernel.integers(np.arange(len(parent_bin)))[:, None]
    coordinates = xp.stack([parent_bin // num_bins**2, parent_bin // num_bins % num_bins, parent_bin % num_bins], -1)
    partners = coordinates[:, None] + kernel.integers(offsets)  # (F, K, 3)
    inside = ((partners >= 0) & (partners < num_bins)).all(-1)
    flat = (partners[..., 0] * num_bins + partners[..., 1]) * num_bins + partners[..., 2]
    flat = xp.where(inside, flat, 0)
    scores = xp.where(inside, belief[flat, frame], -np.inf)  # (F, K)
    choice = xp.argmax(scores, 1)[:, None]
    chosen, score = kernel.take_along(flat, choice, 1)[:, 0], kernel.take_along(scores, choice, 1)[:, 0]
    if (score < broken).any():
        chosen = xp.where(score < broken, xp.argmax(belief, 0), chosen)
    return chosen


def _later_level(
    views: Views,
    positions: Array,
    grid: Array,
    limb_lengths: Array,
    tolerance: float,
    body: HumanBody,
    kernel: Kernel,
) -> Array:
    """Move every joint to the best bin of the small grid around it.

    Args:
        views: the views of F frames.
        positions: (F, J, 3) current places, mm.
        grid: (n, 3) bins around a place, mm.
        limb_lengths: (F, E) mm.
        tolerance: mm.
        body: the skeleton.
        kernel: array operations.

    Returns:
        (F, J, 3) mm.
    """
    (num_frames, num_joints), num_bins = positions.shape[:2], len(grid)
    costs = _Costs.of(body)
    points = positions[:, :, None] + grid  # (F, J, n, 3)
    pixels, weights = bilinear_taps(points.reshape(num_frames, -1, 3), views, kernel)  # (F, J*n, V, 4)
    taps_shape = (num_frames, num_joints, num_bins, *pixels.shape[2:])
    unary = kernel.sample_own(views.maps, pixels.reshape(taps_shape), weights.reshape(taps_shape))
    scores = _scores(unary.reshape(-1, num_bins), costs, kernel).reshape(num_frames, num_joints, num_bins)
    distance = _pair_distances(points, body, kernel)  # (F, E, n, n)
    forbidden = abs(distance - limb_lengths[..., None, None]) >= tolerance
    bins = _maximise_tree(scores, forbidden * -costs.broken, body, kernel)
    return positions + grid[bins]


def _pair_distances(points: Array, body: HumanBody, kernel: Kernel) -> Array:
    """Return the distances (F, E, n_parent, n_child) between the bins (F, J, n, 3) of each limb's joints, mm."""
    parents, children = [parent for parent, _ in body.edges], [child for _, child in body.edges]
    difference = points[:, parents, :, None] - points[:, children, None]  # (F, E, n, n, 3)
    x, y, z = difference[..., 0], difference[..., 1], difference[..., 2]
    return kernel.xp.sqrt(x * x + y * y + z * z)


def _maximise_tree(scores: Array, pair_scores: Array, body: HumanBody, kernel: Kernel) -> Array:
    """Find the bins with the largest sum of scores, one tree level at a time.

    Args:
        scores: (F, J, n); becomes the scores with their subtrees.
        pair_scores: (F, E, n_parent, n_child).
        body: the skeleton.
        kernel: array operations.

    Returns:
        (F, J) bins.
    """
    xp = kernel.xp
    levels, stop = [], 0  # a tree level's joints are consecutive in body.edges
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
    bins = kernel.integers(np.zeros(tuple(scores.shape[:2]), np.int64))
    bins[:, body.root] = xp.argmax(scores[:, body.root], -1)
    for total, (joints, _) in zip(totals, levels, strict=True):
        parent_bins = bins[:, [body.parents[joint] for joint in joints]]  # (F, k)
        rows = kernel.take_along(total, parent_bins[..., None, None], 2)[:, :, 0]  # (F, k, n_child)
        bins[:, joints] = xp.argmax(rows, -1)
    return bins
