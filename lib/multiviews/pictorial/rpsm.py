"""Recursive pictorial structure model (RPSM) for a batch of frames, on any backend.

The pose maximizes the product of unary terms (heatmap values, summed over the views) and pairwise terms (1 if the limb
length is within the tolerance, otherwise 0) over the tree of joints. The first level places all joints on one grid
around the root. Each later level places every joint on a smaller grid around its current position. tree_search.py
describes the result if no pose has a positive product.

Source: paper section 4.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.cameras import Cameras
from lib.multiviews.pictorial.backend_numpy import Array, Backend
from lib.multiviews.pictorial.heatmap_sampling import HeatmapViews, bin_taps
from lib.multiviews.pictorial.limb_offsets import PriorGrid, cube_points
from lib.multiviews.pictorial.limb_prior import LimbPrior
from lib.multiviews.pictorial.tree_search import Costs, evidence_scores, search_own_grids, search_shared_grid
from lib.utils.errors import InputError, check_finite, check_shape


@dataclass(frozen=True)
class PictorialSettings:
    """Grids and tolerance of RPSM; the defaults are from the paper.

    Attributes:
        grid_size: edge length of the first grid, mm.
        first_nbins: bins per axis of the first grid.
        recur_nbins: bins per axis of the later grids.
        recur_depth: number of later levels.
        limb_length_tolerance: allowed deviation of a limb length, mm.
    """

    grid_size: float = 2000.0
    first_nbins: int = 16
    recur_nbins: int = 2
    recur_depth: int = 10
    limb_length_tolerance: float = 150.0

    @property
    def first_grid(self) -> PriorGrid:
        """Grid and tolerance that the limb prior must have."""
        return PriorGrid(float(self.grid_size), self.first_nbins, float(self.limb_length_tolerance))

    def recursion_edge(self, level: int) -> float:
        """Return the edge length of the grids at level 1, 2, ..., mm."""
        return self.grid_size / self.first_nbins / self.recur_nbins ** (level - 1)


def rpsm(
    heatmaps: Array,
    cameras: Cameras,
    image_to_heatmap: np.ndarray,
    root_world: np.ndarray,
    limb_lengths: np.ndarray,
    prior: LimbPrior,
    settings: PictorialSettings,
    backend: Backend,
    check_heatmaps: bool = True,
) -> np.ndarray:
    """Estimate the 3D poses of F frames from the heatmaps of V views.

    Args:
        heatmaps: (F, V, J, H, W) in the joint order of `prior.body`, numpy or an array of the backend; values below 0
            count as 0.
        cameras: numpy cameras with leading axes (F, V).
        image_to_heatmap: (F, V, 2, 3) image px -> heatmap px.
        root_world: (F, 3) center of the first grid, mm.
        limb_lengths: (F, E) or (E,) limb lengths in the order of `prior.body.edges`, mm.
        prior: limb prior of the first grid.
        settings: grids and tolerance.
        backend: NumpyBackend, NumbaBackend or TorchBackend.
        check_heatmaps: False if the caller has checked that the heatmaps are finite; the check reads all of them.

    Returns:
        (F, J, 3) joints, world frame, mm.

    Raises:
        InputError: shapes disagree, a value is not finite, or the prior has another grid.
    """
    body = prior.body
    num_frames = len(heatmaps)
    heatmaps = backend.heatmaps(heatmaps)
    root_world = np.asarray(root_world, np.float64)
    limb_lengths = np.asarray(limb_lengths, np.float64)
    if limb_lengths.ndim == 1:
        limb_lengths = np.broadcast_to(limb_lengths, (num_frames, len(limb_lengths)))
    _check_inputs(heatmaps, cameras, image_to_heatmap, root_world, limb_lengths, prior, settings)
    if check_heatmaps:
        check_finite("heatmaps", heatmaps)
    if backend.rpsm is not None:
        return backend.rpsm(heatmaps, cameras, image_to_heatmap, root_world, limb_lengths, prior, settings)

    views = HeatmapViews.load(heatmaps, cameras, image_to_heatmap, backend)
    center, lengths = backend.floats(root_world), backend.floats(limb_lengths)
    positions = backend.floats(np.empty((num_frames, body.num_joints, 3)))

    def start(frames: slice) -> None:
        positions[frames] = _first_level(views[frames], center[frames], prior, backend)

    def refine(frames: slice) -> None:
        for level in range(1, settings.recur_depth + 1):
            grid = backend.floats(cube_points(settings.recursion_edge(level), settings.recur_nbins))
            positions[frames] = _later_level(
                views[frames], positions[frames], grid, lengths[frames], settings.limb_length_tolerance, body, backend
            )

    share = -(-num_frames // backend.num_threads)  # frames per block if each thread gets one block
    pairs = max(len(body.edges), 1) * settings.recur_nbins**6
    backend.for_each(start, _blocks(num_frames, min(share, backend.block_bins // settings.first_nbins**3)))
    backend.for_each(refine, _blocks(num_frames, min(share, backend.block_bins // pairs)))
    return backend.numpy(positions)


def _blocks(num_frames: int, size: int) -> Iterator[slice]:
    size = max(size, 1)
    for start in range(0, num_frames, size):
        yield slice(start, min(start + size, num_frames))


def _check_inputs(
    heatmaps: Array,
    cameras: Cameras,
    image_to_heatmap: np.ndarray,
    root_world: np.ndarray,
    limb_lengths: np.ndarray,
    prior: LimbPrior,
    settings: PictorialSettings,
) -> None:
    if prior.grid != settings.first_grid:
        raise InputError(f"limb prior: expected {settings.first_grid}, received {prior.grid}")
    sizes = check_shape("heatmaps", heatmaps.shape, ("F", "V", prior.body.num_joints, "H", "W"))
    num_frames, num_views = sizes["F"], sizes["V"]
    if min(sizes["H"], sizes["W"]) < 2:
        raise InputError(f"heatmaps: expected at least 2x2 px, received {heatmaps.shape[-2:]}")
    check_shape("image_to_heatmap", np.shape(image_to_heatmap), (num_frames, num_views, 2, 3))
    check_shape("cameras.T", cameras.T.shape, (num_frames, num_views, 3))
    check_shape("root_world", root_world.shape, (num_frames, 3))
    check_shape("limb_lengths", limb_lengths.shape, (num_frames, len(prior.body.edges)))
    for name, values in (("root_world", root_world), ("limb_lengths", limb_lengths)):
        check_finite(name, values)


def _first_level(views: HeatmapViews, center: Array, prior: LimbPrior, backend: Backend) -> Array:
    """Place all joints on the shared grid around `center` (F, 3): (F, J, 3) mm."""
    grid = backend.floats(cube_points(prior.grid.edge, prior.grid.num_bins))
    costs = Costs.of(prior.body)
    parts = []
    for frames in _blocks(len(center), backend.sample_bins // len(grid)):
        taps = bin_taps(center[frames, None], grid, views[frames], backend)
        parts.append(evidence_scores(backend.sample_shared(views.maps[frames], taps), costs, backend))  # (f, N, J)
    return center[:, None] + grid[search_shared_grid(backend.frames_last(parts), prior, backend)]


def _later_level(
    views: HeatmapViews,
    positions: Array,
    grid: Array,
    limb_lengths: Array,
    tolerance: float,
    body: HumanBody,
    backend: Backend,
) -> Array:
    """Move every joint of positions (F, J, 3) to the best bin of the grid (n, 3) around it: (F, J, 3) mm."""
    costs = Costs.of(body)
    unary = backend.sample_own(views.maps, bin_taps(positions, grid, views, backend))  # (F, J, n)
    scores = evidence_scores(unary.reshape(-1, len(grid)), costs, backend).reshape(unary.shape)
    distance = _pair_distances(positions, grid, body)  # (F, E, n, n)
    forbidden = abs(distance - limb_lengths[..., None, None]) >= tolerance
    bins = search_own_grids(scores, forbidden * -costs.broken, body, backend)
    return positions + grid[bins]


def _pair_distances(positions: Array, grid: Array, body: HumanBody) -> Array:
    """Return the distances (F, E, n_parent, n_child), mm, between the bins of each limb's joints."""
    parents, children = [parent for parent, _ in body.edges], [child for _, child in body.edges]
    limb = positions[:, children] - positions[:, parents]  # (F, E, 3)
    step = grid - grid[:, None]  # (n_parent, n_child, 3)
    x, y, z = (limb[..., i, None, None] + step[..., i] for i in range(3))  # (F, E, n, n)
    return (x * x + y * y + z * z) ** 0.5
