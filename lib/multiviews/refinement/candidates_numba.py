"""Joint candidates and their selection, compiled by numba. candidates.py describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.cameras import Cameras
from lib.multiviews.compiled import compiled, inner
from lib.multiviews.keypoints.peak_rays import PeakRays, tolerance_mm
from lib.multiviews.keypoints.rays_numba import best_peak, log_score, midpoint, project_to_plane, ray_arrays, world_ray
from lib.multiviews.refinement.candidates import CANDIDATE_SETTINGS

if TYPE_CHECKING:
    from lib.multiviews.pictorial.backend_numba import NumbaBackend

_MAX_LIMB_COST = CANDIDATE_SETTINGS.max_limb_cost
_NUM_CANDIDATES = CANDIDATE_SETTINGS.num_candidates
_MIN_DISTANCE2 = CANDIDATE_SETTINGS.min_distance_mm**2
_MAX_DISTANCE2 = CANDIDATE_SETTINGS.max_distance_mm**2


def select_candidates_compiled(
    rays: PeakRays,
    cameras: Cameras,
    start_world: np.ndarray,
    limb_lengths: np.ndarray,
    limb_std: np.ndarray,
    body: HumanBody,
    backend: NumbaBackend,
) -> np.ndarray:
    """Do as select_candidates()."""
    arrays = ray_arrays(rays, cameras)
    midpoint_std = CANDIDATE_SETTINGS.midpoint_std * tolerance_mm(start_world[:, body.root], rays, cameras)[:, None]
    std = np.hypot(limb_std, midpoint_std)
    start, lengths = (np.require(array, np.float64, "CW") for array in (start_world, limb_lengths))
    edges = np.array(body.edges, np.int64).reshape(-1, 2)
    pose = np.empty(start.shape)

    def select(frames: slice) -> None:
        views = (array[frames] for array in arrays)
        _select_in_frames(*views, start[frames], lengths[frames], std[frames], edges, body.root, pose[frames])

    backend.for_each(select, backend.shares(len(pose)))
    return pose


def distinct_candidates_compiled(
    rays: PeakRays, cameras: Cameras, start_world: np.ndarray, root: int, backend: NumbaBackend
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Do as distinct_candidates()."""
    arrays = ray_arrays(rays, cameras)
    start = np.require(start_world, np.float64, "CW")
    most = CANDIDATE_SETTINGS.num_distinct + 1
    points, score = np.zeros((*start.shape[:2], most, 3)), np.zeros((*start.shape[:2], most))
    count = np.empty(start.shape[:2], np.int64)

    def find(frames: slice) -> None:
        views = (array[frames] for array in arrays)
        _distinct_in_frames(*views, start[frames], root, points[frames], score[frames], count[frames])

    backend.for_each(find, backend.shares(len(start)))
    return points, score, count


@compiled()
def _distinct_in_frames(place, weight, zoom, R, T, start, root, points, score, count):
    """Write the candidates (F, J, n, 3), their scores (F, J, n) and numbers (F, J)."""
    num_frames, num_views, num_joints, num_peaks = weight.shape
    flat = num_views * num_peaks
    places, heights = np.empty((flat * flat, 3)), np.empty(flat * flat)
    rays = np.empty((num_views, num_peaks, 3))
    for f in range(num_frames):
        for j in range(num_joints):
            at, around, zooms = place[f, :, j], weight[f, :, j], zoom[f]
            for v in range(num_views):
                for k in range(num_peaks):
                    world_ray(at[v, k], R[f, v], zooms[v], rays[v, k])
            found = 0
            for one in range(flat):
                v, k = one // num_peaks, one % num_peaks
                for other in range((v + 1) * num_peaks, flat):
                    w, m = other // num_peaks, other % num_peaks
                    if not (around[v, k] > 0 and around[w, m] > 0):
                        continue
                    if not midpoint(rays[v, k], T[f, v], rays[w, m], T[f, w], places[found]):
                        continue
                    if _distance2(places[found], start[f, root]) < _MAX_DISTANCE2:
                        heights[found] = _score(places[found], at, around, zooms, R[f], T[f])
                        found += 1
            points[f, j, 0] = start[f, j]
            score[f, j, 0] = _score(start[f, j], at, around, zooms, R[f], T[f])
            number = 1
            while True:
                last, best, index = points[f, j, number - 1], -np.inf, -1
                for h in range(found):
                    if _distance2(places[h], last) < _MIN_DISTANCE2:
                        heights[h] = -np.inf
                    elif heights[h] > best:
                        best, index = heights[h], h
                if index < 0 or number == score.shape[2]:
                    break
                points[f, j, number], score[f, j, number] = places[index], best
                number += 1
            count[f, j] = number


@compiled()
def _select_in_frames(place, weight, zoom, R, T, start, lengths, std, edges, root, pose):
    """Write the poses (F, J, 3)."""
    num_frames, num_views, num_joints, num_peaks = weight.shape
    num_edges, most = len(edges), _NUM_CANDIDATES + 1
    points, scores = np.empty((num_joints, most, 3)), np.empty((num_joints, most))
    counts, chosen = np.empty(num_joints, np.int64), np.empty(num_joints, np.int64)
    best_child = np.empty((num_edges, most), np.int64)
    rays = np.empty((num_views, num_peaks, 3))
    for f in range(num_frames):
        for j in range(num_joints):
            counts[j] = _find_candidates(
                place[f, :, j], weight[f, :, j], zoom[f], R[f], T[f], start[f, j], rays, points[j], scores[j]
            )
        for e in range(num_edges - 1, -1, -1):
            parent, child = edges[e]
            for p in range(counts[parent]):
                best, index = -np.inf, 0
                for c in range(counts[child]):
                    length2 = 0.0
                    for axis in range(3):
                        difference = points[child, c, axis] - points[parent, p, axis]
                        length2 += difference * difference
                    deviation = (np.sqrt(length2) - lengths[f, e]) / std[f, e]
                    total = scores[child, c] - min(deviation * deviation / 2, _MAX_LIMB_COST)
                    if total > best:
                        best, index = total, c
                best_child[e, p] = index
                scores[parent, p] += best
        chosen[root] = 0
        for p in range(counts[root]):
            if scores[root, p] > scores[root, chosen[root]]:
                chosen[root] = p
        for e in range(num_edges):
            chosen[edges[e, 1]] = best_child[e, chosen[edges[e, 0]]]
        for j in range(num_joints):
            for axis in range(3):
                pose[f, j, axis] = points[j, chosen[j], axis]


@inner()
def _distance2(one, other):
    """Return the squared distance of two points."""
    distance2 = 0.0
    for axis in range(3):
        difference = one[axis] - other[axis]
        distance2 += difference * difference
    return distance2


@inner()
def _find_candidates(place, weight, zoom, R, T, start, rays, points, scores):
    """Write the start and the best midpoints in descending order of their scores; return their number."""
    num_views, num_peaks = weight.shape
    for v in range(num_views):
        for k in range(num_peaks):
            world_ray(place[v, k], R[v], zoom[v], rays[v, k])
    for axis in range(3):
        points[0, axis] = start[axis]
    scores[0] = _score(start, place, weight, zoom, R, T)
    count = 1
    point = np.empty(3)
    for v in range(num_views):
        for k in range(num_peaks):
            for w in range(v + 1, num_views):
                for m in range(num_peaks):
                    if not (weight[v, k] > 0 and weight[w, m] > 0):
                        continue
                    if not midpoint(rays[v, k], T[v], rays[w, m], T[w], point):
                        continue
                    score = _score(point, place, weight, zoom, R, T)
                    if count == len(scores) and score <= scores[count - 1]:
                        continue
                    at = min(count, len(scores) - 1)
                    while at > 1 and scores[at - 1] < score:
                        scores[at] = scores[at - 1]
                        for axis in range(3):
                            points[at, axis] = points[at - 1, axis]
                        at -= 1
                    scores[at] = score
                    for axis in range(3):
                        points[at, axis] = point[axis]
                    count = min(count + 1, len(scores))
    return count


@inner()
def _score(point, place, weight, zoom, R, T):
    """Return the sum of view_scores() of a point."""
    score = 0.0
    for v in range(len(weight)):
        x, y, depth = project_to_plane(point, R[v], T[v], zoom[v])
        score += log_score(best_peak(x, y, depth, place[v], weight[v])[0])
    return score
