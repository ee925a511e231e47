"""Left and right: which views take the two legs, or the two arms, for each other.

A detector that sees a person from behind may exchange the sides of a limb, in one view and not in another. Whether the
views fit together shows only when all are labelled alike, so the labels are found view by view, each exchange being
kept that makes more rays of a limb's joints meet. That leaves one question per limb pair, which side is left: the
fewer swapped views the better, and hips and shoulders face the same way.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.peak_rays import PeakRays, midpoints, view_pairs, view_scores

FlipPairs = Sequence[tuple[int, int]]  # (right, left) joints

_SWAP_COST = 2.7  # log odds against a view that exchanges sides: 6 % of them
_FACING = 5.0  # log odds for hips and shoulders that face the same way
_JUMP_MM = 200.0  # log odds against joints that move by so much, or more, from frame to frame
_JUMP_COST = 10.0
_BLOCK_TESTS = 2**21  # hypotheses times peaks that are tested together: bounds the memory


def limb_pairs(body: HumanBody, flip_pairs: FlipPairs) -> list[list[tuple[int, int]]]:
    """Group pairs of joints into pairs of limbs, e.g. hips, knees and ankles; each begins with the one at the trunk."""
    groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
    top = {}
    for level in body.levels:
        for right, left in flip_pairs:
            if right in level:
                above = (body.parents[right], body.parents[left])
                top[right, left] = top.get(above, (right, left))
                groups.setdefault(top[right, left], []).append((right, left))
    return list(groups.values())


def swapped_views(rays: PeakRays, cameras: Cameras, groups: Sequence[FlipPairs]) -> np.ndarray:
    """Find the views in which groups of pairs (right, left) are swapped, compared with the other views.

    Args:
        rays: (F, V, J, K) peaks.
        cameras: leading axes (F, V).
        groups: pairs that are swapped together.

    Returns:
        (F, V, groups) bool; never more than half of the views.
    """
    num_frames, num_views, _, num_peaks = rays.weight.shape
    pairs = view_pairs(num_views, 2 * num_peaks)
    swapped = np.zeros((num_frames, num_views, len(groups)), bool)
    size = max(_BLOCK_TESTS // max(num_views * len(pairs) * 2 * num_peaks * max(map(len, groups), default=1), 1), 1)
    for start, (number, group) in itertools.product(range(0, num_frames, size), enumerate(groups)):
        frames = slice(start, start + size)
        right, left = (list(side) for side in zip(*group, strict=True))
        said = _said_of_both_sides(rays[frames], cameras[frames], right, left, pairs)
        swapped[frames, :, number] = _best_labels(said)
    return swapped


def _said_of_both_sides(
    rays: PeakRays, cameras: Cameras, right: list[int], left: list[int], pairs: np.ndarray
) -> np.ndarray:
    """Return what each view's maps of the right and the left joint say for the places where rays of either meet.

    Returns:
        (2, F, V, pairs of joints, H).
    """
    sides = [rays.joints(right), rays.joints(left)]
    both = PeakRays(
        *(np.concatenate([getattr(side, name) for side in sides], 3) for name in ("place", "weight")), rays.zoom
    )
    points, possible = midpoints(both, cameras, pairs)
    return np.stack([view_scores(points, side, cameras) * possible[:, None] for side in sides])


def _best_labels(said: np.ndarray) -> np.ndarray:
    """Exchange views one by one as long as the rays meet better; (F, V) bool."""
    num_frames, num_views = said.shape[1:3]
    labels = np.zeros((num_frames, num_views), bool)
    score = _meeting(said, labels)
    for _ in range(num_views // 2):
        trials = labels[:, None] ^ np.eye(num_views, dtype=bool)  # (F, V, V): one view is swapped
        scores = np.stack([_meeting(said, trials[:, view]) for view in range(num_views)], 1)
        scores -= _SWAP_COST * (trials.sum(2) - labels.sum(1)[:, None])
        best = scores.argmax(1)
        better = scores[np.arange(num_frames), best] > score
        if not better.any():
            break
        labels = np.where(better[:, None], trials[np.arange(num_frames), best], labels)
        score = _meeting(said, labels)
    return labels ^ (labels.sum(1) * 2 > num_views)[:, None]


def _meeting(said: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how well the rays of all joints meet with views swapped as (F, V) labels say: (F,)."""
    swap = labels[:, :, None, None]
    right, left = np.where(swap, said[1], said[0]).sum(1), np.where(swap, said[0], said[1]).sum(1)
    return (right.max(-1) + left.max(-1)).sum(1)


def swapped_limbs(pose: np.ndarray, swapped: np.ndarray, groups: Sequence[FlipPairs]) -> np.ndarray:
    """Find pairs of limbs of which left and right are to be swapped in all views.

    Args:
        pose: (F, J, 3) mm.
        swapped: (F, V, groups) bool, views in which a pair of limbs was swapped before.
        groups: as from limb_pairs.

    Returns:
        (F, groups) bool.
    """
    num_swapped = swapped.sum(1)  # (F, groups)
    num_views = swapped.shape[1]
    across = np.zeros((len(pose), len(groups), 3))  # from right to left
    for number, ((right, left), *_) in enumerate(groups):
        across[:, number] = pose[:, left] - pose[:, right]
    across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1.0)
    choices = np.array(list(itertools.product((False, True), repeat=len(groups))), bool)  # the first turns nothing
    scores = []
    for choice in choices:
        cost = _SWAP_COST * np.where(choice, num_views - num_swapped, num_swapped).sum(1)
        direction = (across * np.where(choice, -1.0, 1.0)[:, None]).sum(1)
        # The sum over pairs of groups of their cosines, from the squared length of the sum of unit vectors.
        scores.append(_FACING * ((direction**2).sum(-1) - (across**2).sum((1, 2))) / 2 - cost)
    return choices[np.argmax(scores, 0)]


def swap(values: np.ndarray, swapped: np.ndarray, groups: Sequence[FlipPairs]) -> np.ndarray:
    """Exchange the right and left joints of groups in values (..., J, ...) where (..., groups) bool says so."""
    result = values.copy()
    for number, group in enumerate(groups):
        where = swapped[..., number]
        for right, left in group:
            result[where, right], result[where, left] = values[where, left], values[where, right]
    return result


def swap_rays(rays: PeakRays, swapped: np.ndarray, groups: Sequence[FlipPairs]) -> PeakRays:
    """Exchange the peaks of the right and left joints of groups where (F, V, groups) bool says so."""
    return replace(rays, place=swap(rays.place, swapped, groups), weight=swap(rays.weight, swapped, groups))


def swapped_limbs_over_time(pose: np.ndarray, swapped: np.ndarray, groups: Sequence[FlipPairs]) -> np.ndarray:
    """Find pairs of limbs of which left and right are to be swapped in all views, for consecutive frames.

    The fewer swapped views the better, and limbs do not jump; so half of the views may be swapped, one of two
    even, as long as they are not most of the time.

    Args:
        pose: (F, J, 3) mm, consecutive frames; NaN = unknown.
        swapped: (F, V, groups) bool, views in which a pair of limbs was swapped before.
        groups: as from limb_pairs.

    Returns:
        (F, groups) bool.

    Source: the path of least cost through the frames (Viterbi).
    """
    num_frames, num_views, num_groups = swapped.shape
    turned = np.zeros((num_frames, num_groups), bool)
    for number, group in enumerate(groups):
        right, left = (list(side) for side in zip(*group, strict=True))
        as_is, other = pose[:, right + left], pose[:, left + right]
        jumps = [_jumps(as_is[1:], as_is[:-1]), _jumps(other[1:], as_is[:-1])]  # the side stays, the side changes
        num_swapped = swapped[..., number].sum(1)
        cost = _SWAP_COST * np.stack([num_swapped, num_views - num_swapped], 1).astype(float)  # (F, 2)
        came_from = np.zeros((num_frames, 2), int)
        for frame in range(1, num_frames):
            ways = cost[frame - 1] + np.where(np.eye(2, dtype=bool), jumps[0][frame - 1], jumps[1][frame - 1])
            came_from[frame] = ways.argmin(1)  # (state now)
            cost[frame] += ways.min(1)
        state = int(cost[-1].argmin()) if num_frames else 0
        for frame in range(num_frames - 1, -1, -1):
            turned[frame, number] = state
            state = came_from[frame, state]
    return turned


def _jumps(points: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return what it costs that joints (F, K, 3) move from where they were before, (F,); unknown ones cost nothing."""
    distance = np.linalg.norm(points - before, axis=-1)
    known = np.isfinite(distance)
    mean = np.where(known, np.minimum(distance / _JUMP_MM, 1.0), 0.0).sum(1) / np.maximum(known.sum(1), 1)
    return _JUMP_COST * mean
