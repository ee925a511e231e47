"""Correction of left/right swaps between views.

A detector may swap the legs or the arms of a person in some views. A swap of one view is accepted if more rays of the
limb's joints then intersect. The remaining ambiguity per limb pair, a swap in all views, is resolved by the number of
swapped views and by the directions of hips and shoulders, or by the motion between frames.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.peak_rays import PeakRays, frame_blocks, midpoints, view_pairs, view_scores

if TYPE_CHECKING:
    from lib.multiviews.pictorial.backend_numpy import Backend

FlipPairs = Sequence[tuple[int, int]]  # (right, left) joints


@dataclass(frozen=True)
class SwapSettings:
    """Costs of left/right swaps, as log odds."""

    swap_cost: float = 2.7  # of a swapped view; a prior of 6 %
    lasting_swap_cost: float = 0.3  # of a view that was swapped one frame before too
    facing: float = 5.0  # gain if hips and shoulders face the same direction
    jump_cost: float = 10.0  # of joints that move by jump_mm or more between two frames
    jump_mm: float = 200.0
    block_tests: int = 2**21  # hypotheses times peaks per block; limits memory


SWAP_SETTINGS = SwapSettings()


def limb_pairs(body: HumanBody, flip_pairs: FlipPairs) -> list[list[tuple[int, int]]]:
    """Group joint pairs into limb pairs, e.g. hips, knees and ankles, in the order from the trunk."""
    groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
    top = {}
    for level in body.levels:
        for right, left in flip_pairs:
            if right in level:
                parents = (body.parents[right], body.parents[left])
                top[right, left] = top.get(parents, (right, left))
                groups.setdefault(top[right, left], []).append((right, left))
    return list(groups.values())


def swapped_views(
    rays: PeakRays, cameras: Cameras, groups: Sequence[FlipPairs], backend: Backend | None = None
) -> np.ndarray:
    """Find the views in which limb pairs are swapped relative to the other views.

    Args:
        rays: (F, V, J, K) peaks.
        cameras: leading axes (F, V).
        groups: limb pairs from limb_pairs(); the joints of a group are swapped together.
        backend: its kernel is used if it has one; None = numpy.

    Returns:
        (F, V, groups) bool; at most half of the views.
    """
    if backend is not None and backend.swapped_views is not None:
        return backend.swapped_views(rays, cameras, groups)
    num_frames, num_views, _, num_peaks = rays.weight.shape
    pairs = view_pairs(num_views, 2 * num_peaks)
    swapped = np.zeros((num_frames, num_views, len(groups)), bool)
    tests_per_frame = num_views * len(pairs) * 2 * num_peaks * max(map(len, groups), default=1)
    blocks = frame_blocks(num_frames, tests_per_frame, SWAP_SETTINGS.block_tests)
    for frames, (number, group) in itertools.product(blocks, enumerate(groups)):
        right, left = (list(side) for side in zip(*group, strict=True))
        scores = _side_scores(rays[frames], cameras[frames], right, left, pairs)
        swapped[frames, :, number] = _best_swaps(scores)
    return swapped


def _side_scores(rays: PeakRays, cameras: Cameras, right: list[int], left: list[int], pairs: np.ndarray) -> np.ndarray:
    """Score the midpoints of both joints' rays by each view's right and left peaks: (2, F, V, joint pairs, H)."""
    sides = [rays.joints(right), rays.joints(left)]
    both = PeakRays(
        *(np.concatenate([getattr(side, name) for side in sides], 3) for name in ("place", "weight")), rays.zoom
    )
    points, possible = midpoints(both, cameras, pairs)
    return np.stack([view_scores(points, side, cameras) * possible[:, None] for side in sides])


def _best_swaps(side_scores: np.ndarray) -> np.ndarray:
    """Swap views greedily as long as the total score improves; (F, V) bool."""
    num_frames, num_views = side_scores.shape[1:3]
    swapped = np.zeros((num_frames, num_views), bool)
    score = _total_score(side_scores, swapped)
    for _ in range(num_views // 2):
        trials = swapped[:, None] ^ np.eye(num_views, dtype=bool)  # (F, V, V), one more view changed
        scores = np.stack([_total_score(side_scores, trials[:, view]) for view in range(num_views)], 1)
        scores -= SWAP_SETTINGS.swap_cost * (trials.sum(2) - swapped.sum(1)[:, None])
        best = scores.argmax(1)
        better = scores[np.arange(num_frames), best] > score
        if not better.any():
            break
        swapped = np.where(better[:, None], trials[np.arange(num_frames), best], swapped)
        score = _total_score(side_scores, swapped)
    return swapped ^ (swapped.sum(1) * 2 > num_views)[:, None]


def _total_score(side_scores: np.ndarray, swapped: np.ndarray) -> np.ndarray:
    """Return the score (F,) of the best midpoints of all joints, with views swapped as given, (F, V) bool."""
    where = swapped[:, :, None, None]
    right = np.where(where, side_scores[1], side_scores[0]).sum(1)
    left = np.where(where, side_scores[0], side_scores[1]).sum(1)
    return (right.max(-1) + left.max(-1)).sum(1)


def swapped_limbs(pose: np.ndarray, swapped: np.ndarray, groups: Sequence[FlipPairs]) -> np.ndarray:
    """Find limb pairs that have to be swapped in all views, for independent frames.

    Args:
        pose: (F, J, 3) mm.
        swapped: (F, V, groups) bool, the swaps already applied.
        groups: limb pairs from limb_pairs().

    Returns:
        (F, groups) bool.
    """
    num_swapped = swapped.sum(1)  # (F, groups)
    num_views = swapped.shape[1]
    across = np.zeros((len(pose), len(groups), 3))  # from right to left
    for number, ((right, left), *_) in enumerate(groups):
        across[:, number] = pose[:, left] - pose[:, right]
    across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1.0)
    choices = np.array(list(itertools.product((False, True), repeat=len(groups))), bool)  # the first swaps nothing
    scores = []
    for choice in choices:
        cost = SWAP_SETTINGS.swap_cost * np.where(choice, num_views - num_swapped, num_swapped).sum(1)
        direction = (across * np.where(choice, -1.0, 1.0)[:, None]).sum(1)
        # Sum of the cosines between all pairs of groups, from the squared length of the sum of unit vectors.
        scores.append(SWAP_SETTINGS.facing * ((direction**2).sum(-1) - (across**2).sum((1, 2))) / 2 - cost)
    return choices[np.argmax(scores, 0)]


def swap(values: np.ndarray, swapped: np.ndarray, groups: Sequence[FlipPairs]) -> np.ndarray:
    """Swap right and left joints in values (..., J, ...) where `swapped` (..., groups) is True."""
    result = values.copy()
    for number, group in enumerate(groups):
        where = swapped[..., number]
        for right, left in group:
            result[where, right], result[where, left] = values[where, left], values[where, right]
    return result


def swap_rays(rays: PeakRays, swapped: np.ndarray, groups: Sequence[FlipPairs]) -> PeakRays:
    """Swap the peaks of right and left joints where `swapped` (F, V, groups) is True."""
    return replace(rays, place=swap(rays.place, swapped, groups), weight=swap(rays.weight, swapped, groups))


def swapped_limbs_over_time(pose: np.ndarray, swapped: np.ndarray, groups: Sequence[FlipPairs]) -> np.ndarray:
    """Find limb pairs that have to be swapped in all views, for consecutive frames.

    The cost is the number of swapped views plus the motion of the joints, so even a swap in one of two views is
    resolved if most frames are correct. Detectors swap for several frames in a row: a view whose swap goes on costs
    less than a new swap.

    Args:
        pose: (F, J, 3) mm, consecutive frames; NaN = missing.
        swapped: (F, V, groups) bool, the swaps already applied.
        groups: limb pairs from limb_pairs().

    Returns:
        (F, groups) bool.

    Source: the Viterbi algorithm.
    """
    num_frames, _, num_groups = swapped.shape
    result = np.zeros((num_frames, num_groups), bool)
    for number, group in enumerate(groups):
        right, left = (list(side) for side in zip(*group, strict=True))
        as_is, other = pose[:, right + left], pose[:, left + right]
        jumps = [_jumps(as_is[1:], as_is[:-1]), _jumps(other[1:], as_is[:-1])]  # state kept, state changed
        views = np.stack([swapped[..., number], ~swapped[..., number]])  # (2, F, V) by the state of the limb pair
        begun = (views[None, :, 1:] & ~views[:, None, :-1]).sum(-1)  # (2, 2, F - 1): state before, state after
        lasting = SWAP_SETTINGS.lasting_swap_cost * views.sum(-1)
        step = lasting[:, 1:] + (SWAP_SETTINGS.swap_cost - SWAP_SETTINGS.lasting_swap_cost) * begun
        for before, after in itertools.product((0, 1), repeat=2):
            step[before, after] += jumps[before != after]
        cost = SWAP_SETTINGS.swap_cost * views[:, :1].sum((1, 2))
        came_from = np.zeros((num_frames, 2), int)
        for frame in range(1, num_frames):
            paths = cost[:, None] + step[..., frame - 1]
            came_from[frame] = paths.argmin(0)
            cost = paths.min(0)
        state = int(cost.argmin()) if num_frames else 0
        for frame in range(num_frames - 1, -1, -1):
            result[frame, number] = state
            state = came_from[frame, state]
    return result


def _jumps(points: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return the cost (F,) of the motion of joints (F, K, 3) between two frames; missing joints cost nothing."""
    distance = np.linalg.norm(points - before, axis=-1)
    known = np.isfinite(distance)
    mean = np.where(known, np.minimum(distance / SWAP_SETTINGS.jump_mm, 1.0), 0.0).sum(1) / np.maximum(known.sum(1), 1)
    return SWAP_SETTINGS.jump_cost * mean
