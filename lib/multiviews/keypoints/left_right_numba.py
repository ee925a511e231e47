"""Detection of left/right swaps between views, compiled by numba. left_right.py describes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lib.multiviews.cameras import Cameras
from lib.multiviews.compiled import compiled, inner
from lib.multiviews.keypoints.left_right import SWAP_SETTINGS, FlipPairs
from lib.multiviews.keypoints.peak_rays import PeakRays
from lib.multiviews.keypoints.rays_numba import best_peak, log_score, midpoint, project_to_plane, ray_arrays, world_ray

if TYPE_CHECKING:
    from lib.multiviews.pictorial.backend_numba import NumbaBackend

_SWAP_COST = SWAP_SETTINGS.swap_cost


def swapped_views_compiled(
    rays: PeakRays, cameras: Cameras, groups: Sequence[FlipPairs], backend: NumbaBackend
) -> np.ndarray:
    """Do as swapped_views()."""
    arrays = ray_arrays(rays, cameras)
    pairs = np.array([pair for group in groups for pair in group], np.int64).reshape(-1, 2)
    starts = np.cumsum([0, *map(len, groups)])
    swapped = np.zeros((*rays.weight.shape[:2], len(groups)), bool)

    def find(frames: slice) -> None:
        _find_swaps(*(array[frames] for array in arrays), pairs, starts, swapped[frames])

    backend.for_each(find, backend.shares(len(swapped)))
    return swapped


@compiled()
def _find_swaps(place, weight, zoom, R, T, pairs, starts, swapped):
    """Write swapped (F, V, groups); the joint pairs of group g are pairs[starts[g]:starts[g + 1]]."""
    num_frames, num_views, _, num_peaks = weight.shape
    num_places = num_views * (num_views - 1) // 2 * (2 * num_peaks) ** 2
    most_pairs = 0
    for group in range(len(starts) - 1):
        most_pairs = max(most_pairs, starts[group + 1] - starts[group])
    scores = np.empty((2, num_views, most_pairs, num_places))
    counts = np.empty(most_pairs, np.int64)
    rays, exists = np.empty((num_views, 2 * num_peaks, 3)), np.empty((num_views, 2 * num_peaks), np.bool_)
    sums = np.empty(num_places)
    for f in range(num_frames):
        for group in range(len(starts) - 1):
            num_pairs = starts[group + 1] - starts[group]
            for i in range(num_pairs):
                pair = pairs[starts[group] + i]
                counts[i] = _side_scores(place[f], weight[f], zoom[f], R[f], T[f], pair, rays, exists, scores[:, :, i])
            _best_swaps(scores, counts[:num_pairs], sums, swapped[f, :, group])


@inner()
def _side_scores(place, weight, zoom, R, T, pair, rays, exists, scores):
    """Write scores (2, V, places) of the midpoints by each view's right and left peaks; return their number."""
    num_views, _, num_peaks = weight.shape
    for v in range(num_views):
        for side in range(2):
            for k in range(num_peaks):
                at = side * num_peaks + k
                exists[v, at] = weight[v, pair[side], k] > 0
                world_ray(place[v, pair[side], k], R[v], zoom[v], rays[v, at])
    point = np.empty(3)
    count = 0
    for v in range(num_views):
        for k in range(2 * num_peaks):
            for w in range(v + 1, num_views):
                for m in range(2 * num_peaks):
                    if not (exists[v, k] and exists[w, m]):
                        continue
                    if not midpoint(rays[v, k], T[v], rays[w, m], T[w], point):
                        continue
                    for u in range(num_views):
                        x, y, depth = project_to_plane(point, R[u], T[u], zoom[u])
                        for side in range(2):
                            best, _ = best_peak(x, y, depth, place[u, pair[side]], weight[u, pair[side]])
                            scores[side, u, count] = log_score(best)
                    count += 1
    return count


@inner()
def _best_swaps(scores, counts, sums, swapped):
    """Swap views greedily as long as the total score improves, in swapped (V)."""
    num_views = len(swapped)
    for v in range(num_views):
        swapped[v] = False
    score = _total_score(scores, counts, sums, swapped)
    for _ in range(num_views // 2):
        best, best_view = -np.inf, 0
        for v in range(num_views):
            change = -1 if swapped[v] else 1
            swapped[v] = not swapped[v]
            trial = _total_score(scores, counts, sums, swapped) - _SWAP_COST * change
            swapped[v] = not swapped[v]
            if trial > best:
                best, best_view = trial, v
        if not best > score:
            break
        swapped[best_view] = not swapped[best_view]
        score = _total_score(scores, counts, sums, swapped)
    num_swapped = 0
    for v in range(num_views):
        num_swapped += swapped[v]
    if num_swapped * 2 > num_views:
        for v in range(num_views):
            swapped[v] = not swapped[v]


@inner()
def _total_score(scores, counts, sums, swapped):
    """Return the score of the best midpoints of all joints, with views swapped as given."""
    total = 0.0
    for i in range(len(counts)):
        both_sides = 0.0  # summed first, so that swapping the other views instead gives exactly the same total
        for side in range(2):
            for h in range(counts[i]):
                sums[h] = 0.0
            for v in range(len(swapped)):
                row = scores[1 - side if swapped[v] else side, v, i]
                for h in range(counts[i]):
                    sums[h] += row[h]
            best = 0.0
            for h in range(counts[i]):
                best = max(best, sums[h])
            both_sides += best
        total += both_sides
    return total
