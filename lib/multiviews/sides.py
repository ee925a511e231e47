"""Left and right: which views take the two legs, or the two arms, for each other.

A detector that sees a person from behind may exchange the sides of a limb, in one view and not in another. Whether the
views fit together shows only when all are labelled alike, so the labels are found view by view, each exchange being
kept that makes more rays of a limb's joints meet. That leaves one question per limb pair, which side is left: the
fewer exchanged views the better, and hips and shoulders face the same way.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.cameras import Cameras
from lib.multiviews.peak_rays import PeakRays, midpoints, support, view_pairs

FlipPairs = Sequence[tuple[int, int]]  # (right, left) joints

_EXCHANGE_COST = 2.7  # log odds against a view that exchanges sides: 6 % of them
_FACING = 5.0  # log odds for hips and shoulders that face the same way
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


def exchanged_views(rays: PeakRays, cameras: Cameras, groups: Sequence[FlipPairs]) -> np.ndarray:
    """Find the views in which groups of pairs (right, left) are exchanged, compared with the other views.

    Args:
        rays: (F, V, J, K) peaks.
        cameras: leading axes (F, V).
        groups: pairs that are exchanged together.

    Returns:
        (F, V, groups) bool; never more than half of the views.
    """
    num_frames, num_views, _, num_peaks = rays.weight.shape
    pairs = view_pairs(num_views, 2 * num_peaks)
    exchanged = np.zeros((num_frames, num_views, len(groups)), bool)
    size = max(_BLOCK_TESTS // max(num_views * len(pairs) * 2 * num_peaks * max(map(len, groups), default=1), 1), 1)
    for start, (number, group) in itertools.product(range(0, num_frames, size), enumerate(groups)):
        frames = slice(start, start + size)
        right, left = (list(side) for side in zip(*group, strict=True))
        said = _said_of_both_sides(rays[frames], cameras[frames], right, left, pairs)
        exchanged[frames, :, number] = _best_labels(said)
    return exchanged


def _said_of_both_sides(
    rays: PeakRays, cameras: Cameras, right: list[int], left: list[int], pairs: np.ndarray
) -> np.ndarray:
    """Return what each view's maps of the right and the left joint say for the places where rays of either meet.

    Returns:
        (2, F, V, pairs of joints, H).
    """
    sides = [rays.joints(right), rays.joints(left)]
    both = PeakRays(*(np.concatenate([getattr(side, name) for side in sides], 3) for name in ("place", "weight")),
                    rays.zoom)  # fmt: skip
    points, possible = midpoints(both, cameras, pairs)
    return np.stack([support(points, side, cameras) * possible[:, None] for side in sides])


def _best_labels(said: np.ndarray) -> np.ndarray:
    """Exchange views one by one as long as the rays meet better; (F, V) bool."""
    num_frames, num_views = said.shape[1:3]
    labels = np.zeros((num_frames, num_views), bool)
    score = _meeting(said, labels)
    for _ in range(num_views // 2):
        trials = labels[:, None] ^ np.eye(num_views, dtype=bool)  # (F, V, V): one view is exchanged
        scores = np.stack([_meeting(said, trials[:, view]) for view in range(num_views)], 1)
        scores -= _EXCHANGE_COST * (trials.sum(2) - labels.sum(1)[:, None])
        best = scores.argmax(1)
        better = scores[np.arange(num_frames), best] > score
        if not better.any():
            break
        labels = np.where(better[:, None], trials[np.arange(num_frames), best], labels)
        score = _meeting(said, labels)
    return labels ^ (labels.sum(1) * 2 > num_views)[:, None]


def _meeting(said: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how well the rays of all joints meet with views exchanged as (F, V) labels say: (F,)."""
    swap = labels[:, :, None, None]
    right, left = np.where(swap, said[1], said[0]).sum(1), np.where(swap, said[0], said[1]).sum(1)
    return (right.max(-1) + left.max(-1)).sum(1)


def turned_limbs(pose: np.ndarray, exchanged: np.ndarray, groups: Sequence[FlipPairs]) -> np.ndarray:
    """Find pairs of limbs of which left and right are to be exchanged in all views.

    Args:
        pose: (F, J, 3) mm.
        exchanged: (F, V, groups) bool, views in which a pair of limbs was exchanged before.
        groups: as from limb_pairs.

    Returns:
        (F, groups) bool.
    """
    num_exchanged, num_views = exchanged.sum(1), exchanged.shape[1]  # (F, groups)
    across = np.zeros((len(pose), len(groups), 3))  # from right to left
    for number, ((right, left), *_) in enumerate(groups):
        across[:, number] = pose[:, left] - pose[:, right]
    across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1.0)
    choices = np.array(list(itertools.product((False, True), repeat=len(groups))), bool)  # the first turns nothing
    scores = []
    for choice in choices:
        cost = _EXCHANGE_COST * np.where(choice, num_views - num_exchanged, num_exchanged).sum(1)
        direction = (across * np.where(choice, -1.0, 1.0)[:, None]).sum(1)
        # The sum over pairs of groups of their cosines, from the squared length of the sum of unit vectors.
        scores.append(_FACING * ((direction**2).sum(-1) - (across**2).sum((1, 2))) / 2 - cost)
    return choices[np.argmax(scores, 0)]


def exchange(values: np.ndarray, exchanged: np.ndarray, groups: Sequence[FlipPairs]) -> np.ndarray:
    """Exchange the right and left joints of groups in values (..., J, ...) where (..., groups) bool says so."""
    result = values.copy()
    for number, group in enumerate(groups):
        where = exchanged[..., number]
        for right, left in group:
            result[where, right], result[where, left] = values[where, left], values[where, right]
    return result


def exchange_rays(rays: PeakRays, exchanged: np.ndarray, groups: Sequence[FlipPairs]) -> PeakRays:
    """Exchange the peaks of the right and left joints of groups where (F, V, groups) bool says so."""
    return replace(rays, place=exchange(rays.place, exchanged, groups), weight=exchange(rays.weight, exchanged, groups))
