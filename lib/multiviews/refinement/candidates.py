"""Selection of joint candidates from several peaks per view.

The candidates of a joint are the midpoints of pairs of peak rays, and the joint of an initial pose. A candidate scores
the sum of view_scores(), so a single high peak cannot outvote the other views. Limbs of a wrong length have a bounded
cost. The best combination over the skeleton is found exactly, by the tree search of RPSM.
"""

from dataclasses import dataclass

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.peak_rays import PeakRays, frame_blocks, midpoints, tolerance_mm, view_pairs, view_scores
from lib.multiviews.pictorial.backend_numpy import Backend
from lib.multiviews.pictorial.tree_search import search_own_grids


@dataclass(frozen=True)
class CandidateSettings:
    """Costs and limits of the selection."""

    max_limb_cost: float = 8.0  # cost cap of a limb, 4 standard deviations; a view contributes at most 2.4
    midpoint_std: float = 0.6  # standard deviation of a midpoint, tolerances; 1.8 px in the original heatmaps
    num_candidates: int = 24  # midpoints per joint in the tree search; limits its time
    num_distinct: int = 8  # further candidates per joint of the learned choice
    min_distance_mm: float = 60.0  # between them
    max_distance_mm: float = 2000.0  # of them from the root; nearly parallel rays meet anywhere
    block_tests: int = 2**20  # midpoints times peaks per block; limits memory


CANDIDATE_SETTINGS = CandidateSettings()


def select_candidates(
    rays: PeakRays,
    cameras: Cameras,
    start_world: np.ndarray,
    limb_lengths: np.ndarray,
    limb_std: np.ndarray,
    body: HumanBody,
    backend: Backend,
) -> np.ndarray:
    """Select the best combination of joint candidates.

    Args:
        rays: (F, V, J, K) peaks with weights up to 1.
        cameras: numpy cameras with leading axes (F, V).
        start_world: (F, J, 3) initial pose, mm; its joints are candidates too.
        limb_lengths: (F, E) mm, in the order of `body.edges`.
        limb_std: (F, E) standard deviations of `limb_lengths`, mm.
        body: skeleton.
        backend: runs the tree search.

    Returns:
        (F, J, 3) mm.
    """
    if backend.select_candidates is not None:
        return backend.select_candidates(rays, cameras, start_world, limb_lengths, limb_std, body)
    num_frames, num_views, num_joints, num_peaks = rays.weight.shape
    pairs = view_pairs(num_views, num_peaks)
    tests_per_frame = num_joints * (len(pairs) + 1) * num_views * num_peaks
    pose = np.empty(start_world.shape)
    for f in frame_blocks(num_frames, tests_per_frame, CANDIDATE_SETTINGS.block_tests):
        pose[f] = _choose(rays[f], cameras[f], start_world[f], limb_lengths[f], limb_std[f], pairs, body, backend)
    return pose


def distinct_candidates(
    rays: PeakRays, cameras: Cameras, start_world: np.ndarray, root: int, backend: Backend | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List the start of each joint, and the best midpoints that keep a distance from it and from each other.

    Args:
        rays: (F, V, J, K) peaks with weights up to 1.
        cameras: numpy cameras with leading axes (F, V).
        start_world: (F, J, 3) initial pose, mm.
        root: index of the root joint.
        backend: its kernel is used if it has one; None = numpy.

    Returns:
        points (F, J, n, 3), mm, and their scores (F, J, n), the start first; number of candidates (F, J). Those beyond
        the number have no meaning.
    """
    if backend is not None and backend.distinct_candidates is not None:
        return backend.distinct_candidates(rays, cameras, start_world, root)
    num_frames, num_views, num_joints, num_peaks = rays.weight.shape
    pairs = view_pairs(num_views, num_peaks)
    most = CANDIDATE_SETTINGS.num_distinct + 1
    points, score = np.zeros((num_frames, num_joints, most, 3)), np.zeros((num_frames, num_joints, most))
    count = np.ones((num_frames, num_joints), np.int64)
    tests_per_frame = num_joints * (len(pairs) + 1) * num_views * num_peaks
    for f in frame_blocks(num_frames, tests_per_frame, CANDIDATE_SETTINGS.block_tests):
        places, possible = midpoints(rays[f], cameras[f], pairs)
        height = np.where(possible, view_scores(places, rays[f], cameras[f]).sum(1), -np.inf)
        start = start_world[f, :, None]
        points[f, :, :1], score[f, :, :1] = start, view_scores(start, rays[f], cameras[f]).sum(1)
        height[_near(places, start)] = -np.inf
        height[~_near(places, start_world[f, root, None, None], CANDIDATE_SETTINGS.max_distance_mm)] = -np.inf
        for n in range(1, most):
            best = height.argmax(-1)[..., None]
            points[f, :, n] = np.take_along_axis(places, best[..., None], 2)[:, :, 0]
            score[f, :, n] = np.take_along_axis(height, best, 2)[..., 0]
            count[f] += np.isfinite(score[f, :, n])
            height[_near(places, points[f, :, n, None])] = -np.inf
    return points, score, count


def _near(places: np.ndarray, point: np.ndarray, limit_mm: float = CANDIDATE_SETTINGS.min_distance_mm) -> np.ndarray:
    """Return whether places (F, J, H, 3) are closer to a point (F, J, 1, 3) than a limit: (F, J, H)."""
    return ((places - point) ** 2).sum(-1) < limit_mm**2


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
    """Select candidates for a block of frames."""
    points, possible = midpoints(rays, cameras, pairs)  # (F, J, H, 3), (F, J, H)
    score = np.where(possible, view_scores(points, rays, cameras).sum(1), -np.inf)
    best = np.argsort(-score, -1, kind="stable")[..., : CANDIDATE_SETTINGS.num_candidates]
    points = np.take_along_axis(points, best[..., None], 2)
    score = np.take_along_axis(score, best, 2)
    found = np.isfinite(score)
    start = start_world[:, :, None]
    points = np.concatenate([start, np.where(found[..., None], points, start)], 2)  # (F, J, n, 3)
    score = np.concatenate([view_scores(start, rays, cameras).sum(1), np.where(found, score, 0.0)], 2)  # (F, J, n)

    midpoint_std = (
        CANDIDATE_SETTINGS.midpoint_std * tolerance_mm(start_world[:, body.root], rays, cameras)[:, None]
    )  # (F, 1)
    bins = search_own_grids(
        backend.floats(score),
        backend.floats(-_limb_costs(points, limb_lengths, np.hypot(limb_std, midpoint_std), body)),
        body,
        backend,
    )
    return np.take_along_axis(points, backend.numpy(bins)[..., None, None], 2)[:, :, 0]


def _limb_costs(points: np.ndarray, limb_lengths: np.ndarray, std: np.ndarray, body: HumanBody) -> np.ndarray:
    """Return the costs (F, E, n_parent, n_child) of the limbs between candidates (F, J, n, 3)."""
    parents, children = (list(side) for side in zip(*body.edges, strict=True))
    start = points[:, parents, :, None]
    end = points[:, children, None]
    length2 = sum((end[..., axis] - start[..., axis]) ** 2 for axis in range(3))
    deviation = (np.sqrt(length2) - limb_lengths[..., None, None]) / std[..., None, None]
    return np.minimum(deviation**2 / 2, CANDIDATE_SETTINGS.max_limb_cost)
