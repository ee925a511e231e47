"""A pose from ambiguous peaks: each joint where rays of different views meet, chosen so that the limbs fit.

A joint's hypotheses are the places where two peaks of different views meet, and where a first pose puts it. A view
speaks for a place by the best of its peaks there; the logarithms of what the views say add up, with a floor for views
that are wrong, so one view cannot outvote the others however high its peak is. Limbs of a wrong length cost, up to a
bound. The best combination over the skeleton is found exactly, as in the pictorial structure.
"""

from __future__ import annotations

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.peak_rays import PeakRays, midpoints, tolerance_mm, view_pairs, view_scores
from lib.multiviews.pictorial.backend_numpy import Backend
from lib.multiviews.pictorial.tree_search import search_own_grids

_BROKEN = 8.0  # highest cost of a limb: 4 standard deviations; a view's word counts 2.4 at most
_PLACE_STD = 0.6  # of two rays' meeting point, tolerances: some 1.8 px of the published heatmaps
_KEPT = 24  # hypotheses of a joint that take part in the search over the skeleton: bounds its time
_BLOCK_TESTS = 2**20  # hypotheses times peaks that are tested together: bounds the memory


def select_candidates(
    rays: PeakRays,
    cameras: Cameras,
    start_world: np.ndarray,
    limb_lengths: np.ndarray,
    limb_std: np.ndarray,
    body: HumanBody,
    backend: Backend,
) -> np.ndarray:
    """Choose each joint's place.

    Args:
        rays: (F, V, J, K) peaks; weights near 1 are trustworthy.
        cameras: numpy cameras with leading axes (F, V).
        start_world: (F, J, 3) a first pose, mm; its joints are hypotheses too.
        limb_lengths: (F, E) mm, in the order of `body.edges`.
        limb_std: (F, E) their standard deviations, mm.
        body: the skeleton.
        backend: searches the skeleton.

    Returns:
        (F, J, 3) mm.
    """
    num_frames, num_views, num_joints, num_peaks = rays.weight.shape
    pairs = view_pairs(num_views, num_peaks)
    tests_per_frame = num_joints * (len(pairs) + 1) * num_views * num_peaks
    size = max(_BLOCK_TESTS // max(tests_per_frame, 1), 1)

    pose = np.empty(start_world.shape)
    for start in range(0, num_frames, size):
        f = slice(start, start + size)
        pose[f] = _choose(rays[f], cameras[f], start_world[f], limb_lengths[f], limb_std[f], pairs, body, backend)
    return pose


def _choose(
    rays: PeakRays,
    cameras: Cameras,
    start_world: np.ndarray,
    limb_lengths: np.ndarray,
    limb_std: np.ndarray,
    pairs: np.ndarray,
    body: HumanBody,
    backend: Backend,
) -> np.ndarray:
    """Find the best combination of hypotheses, (F, J, 3) mm; arguments as in select_candidates."""
    points, possible = midpoints(rays, cameras, pairs)  # (F, J, H, 3), (F, J, H)
    score = np.where(possible, view_scores(points, rays, cameras).sum(1), -np.inf)
    best = np.argsort(-score, -1, kind="stable")[..., :_KEPT]
    points = np.take_along_axis(points, best[..., None], 2)
    score = np.take_along_axis(score, best, 2)
    found = np.isfinite(score)
    start = start_world[:, :, None]
    points = np.concatenate([start, np.where(found[..., None], points, start)], 2)  # (F, J, n, 3)
    score = np.concatenate([view_scores(start, rays, cameras).sum(1), np.where(found, score, 0.0)], 2)  # (F, J, n)

    place_std = _PLACE_STD * tolerance_mm(start_world[:, body.root], rays, cameras)[:, None]  # (F, 1)
    bins = search_own_grids(
        backend.floats(score),
        backend.floats(-_limb_costs(points, limb_lengths, np.hypot(limb_std, place_std), body)),
        body,
        backend,
    )
    return np.take_along_axis(points, backend.numpy(bins)[..., None, None], 2)[:, :, 0]


def _limb_costs(points: np.ndarray, limb_lengths: np.ndarray, std: np.ndarray, body: HumanBody) -> np.ndarray:
    """Return the costs (F, E, n_parent, n_child) of joining hypotheses (F, J, n, 3), at most _BROKEN."""
    parents, children = (list(side) for side in zip(*body.edges, strict=True))
    start = points[:, parents, :, None]
    end = points[:, children, None]
    length2 = sum((end[..., axis] - start[..., axis]) ** 2 for axis in range(3))
    deviation = (np.sqrt(length2) - limb_lengths[..., None, None]) / std[..., None, None]
    return np.minimum(deviation**2 / 2, _BROKEN)
