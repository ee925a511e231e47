"""RPSM in Triton kernels, for CUDA.

rpsm.py describes the model, tree_search.py the scores and the tie rules. A batch takes one launch per step and one per
level of the skeleton, nine for Human3.6M, instead of hundreds of tensor operations:

1. sum_heatmaps: project the bins of the first grid and sum the heatmaps of all views, for all joints.
2. score_bins: log scores, relative to the joint's largest sum.
3. add_messages, once per tree level: add the messages of a joint's children, maxima over the offsets of a limb.
4. choose_bins: follow the best bins from the root to the leaves.
5. search_finer_grids: all later levels of a frame in one program.

Scores are int64 multiples of 2^-30, which are the numbers that the float64 scores of tree_search.py represent. So sums
and maxima are exact in any order, and equal evidence is resolved to the lowest bin as on numpy. Evidence is computed in
float64 and differs from numpy's by rounding, about 1e-15. Float32 geometry would move bins by an estimated 1e-5 px,
enough to change some choices. Consumer GPUs compute float64 at 1/64 of the rate; docs/benchmarks.md estimates the cost.
The maxima, by far the most operations, are integers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import triton

from lib.multiviews.cameras import Cameras, pack_heatmap_cameras
from lib.multiviews.pictorial.limb_offsets import cube_points
from lib.multiviews.pictorial.limb_prior import LimbPrior
from lib.multiviews.pictorial.rpsm import PictorialSettings
from lib.multiviews.pictorial.rpsm_triton_kernels import (
    CAMERA_COLUMNS,
    MAX_FINER_BINS,
    MAX_FIRST_NBINS,
    add_messages,
    choose_bins,
    score_bins,
    search_finer_grids,
    sum_heatmaps,
)
from lib.multiviews.pictorial.tree_search import Costs

_CHUNK_BYTES = 2**28  # scores of the frames that are solved together; a batch of 256 frames takes 0.13 GiB
_MAX_GRID = 65535  # programs along the second and third axis of a launch


def camera_table(cameras: Cameras, image_to_heatmap: np.ndarray) -> np.ndarray:
    """Return pack_heatmap_cameras() as the kernels read it: (F, VIEWS, 24), V rounded up to a power of 2.

    The rows of added views see nothing.

    Args:
        cameras: numpy cameras with leading axes (F, V).
        image_to_heatmap: (F, V, 2, 3) image px -> heatmap px.
    """
    num_frames, num_views = cameras.T.shape[:2]
    table = np.zeros((num_frames, triton.next_power_of_2(num_views), CAMERA_COLUMNS.value))
    table[..., -1] = -1.0  # a reach that no point is within
    table[:, :num_views] = pack_heatmap_cameras(cameras, image_to_heatmap)
    return table


@dataclass(frozen=True)
class TritonTables:
    """Skeleton, grids and offsets on the device.

    Attributes:
        limb_parents, limb_children: (E,) int32.
        offset_starts: (E + 1,) int32.
        offsets: (K, 3) int32.
        max_offsets: largest number of offsets of a limb.
        levels: per tree level, leaves first: parents (P,), child_starts (P + 1,) and child_limbs, int32.
        grid: (N, 3) float64 first grid, mm.
        finer_grids: (levels, n, 3) float64, mm.
        tolerance: (1,) float64, mm.
    """

    limb_parents: torch.Tensor
    limb_children: torch.Tensor
    offset_starts: torch.Tensor
    offsets: torch.Tensor
    max_offsets: int
    levels: tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor], ...]
    grid: torch.Tensor
    finer_grids: torch.Tensor
    tolerance: torch.Tensor

    @classmethod
    def build(cls, prior: LimbPrior, settings: PictorialSettings, device: torch.device) -> TritonTables:
        """Copy a limb prior and the grids to the device."""
        body = prior.body

        def integers(values: object) -> torch.Tensor:
            return torch.as_tensor(np.asarray(values, np.int32), device=device)

        def floats(values: object) -> torch.Tensor:
            return torch.as_tensor(np.asarray(values, np.float64), device=device)

        counts = [len(offsets) for offsets in prior.offsets]
        levels = []
        for joints in reversed(body.levels[:-1]):
            parents = [joint for joint in joints if body.children[joint]]
            limbs = [[body.edges.index((parent, child)) for child in body.children[parent]] for parent in parents]
            starts = np.cumsum([0, *map(len, limbs)])
            levels.append(
                (integers(parents), integers(starts), integers([limb for of_parent in limbs for limb in of_parent]))
            )
        finer = [
            cube_points(settings.recursion_edge(level), settings.recur_nbins)
            for level in range(1, settings.recur_depth + 1)
        ]
        return cls(
            limb_parents=integers([parent for parent, _ in body.edges]),
            limb_children=integers([child for _, child in body.edges]),
            offset_starts=integers(np.cumsum([0, *counts])),
            offsets=integers(np.concatenate([*prior.offsets, np.zeros((0, 3))])),
            max_offsets=max(counts, default=1),
            levels=tuple(levels),
            grid=floats(cube_points(prior.grid.edge, prior.grid.num_bins)),
            finer_grids=floats(np.reshape(finer, (settings.recur_depth, settings.recur_nbins**3, 3))),
            tolerance=floats([settings.limb_length_tolerance]),
        )


class TritonRpsm:
    """RPSM of one device. The tables of the last limb prior and settings stay on the device.

    Attributes:
        has_run: a batch was solved, so the kernels compile and run here.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.has_run = False
        self._tables: tuple[LimbPrior, PictorialSettings, TritonTables] | None = None

    @staticmethod
    def unsupported(settings: PictorialSettings) -> str:
        """Return why the kernels cannot use these settings; empty if they can."""
        if settings.first_nbins > MAX_FIRST_NBINS:
            return f"PICT_STRUCT.FIRST_NBINS {settings.first_nbins} exceeds the {MAX_FIRST_NBINS} bins of the kernels"
        if settings.recur_depth and settings.recur_nbins**3 > MAX_FINER_BINS:
            return f"PICT_STRUCT.RECUR_NBINS {settings.recur_nbins} exceeds the {MAX_FINER_BINS} bins of the kernels"
        return ""

    def __call__(
        self,
        heatmaps: torch.Tensor,
        cameras: Cameras,
        image_to_heatmap: np.ndarray,
        root_world: np.ndarray,
        limb_lengths: np.ndarray,
        prior: LimbPrior,
        settings: PictorialSettings,
    ) -> np.ndarray:
        """Estimate poses; arguments and result as rpsm(), with the heatmaps on the device."""
        if self._tables is None or self._tables[0] is not prior or self._tables[1] != settings:
            self._tables = (prior, settings, TritonTables.build(prior, settings, self.device))
        with torch.cuda.device_of(heatmaps):
            positions = solve_with_triton(
                heatmaps,
                self._floats(camera_table(cameras, image_to_heatmap)),
                self._floats(root_world),
                self._floats(limb_lengths),
                prior,
                self._tables[2],
            ).cpu()
        self.has_run = True
        return positions.numpy()

    def _floats(self, values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.array(values, np.float64), device=self.device)


def solve_with_triton(
    maps: torch.Tensor,
    cameras: torch.Tensor,
    centers: torch.Tensor,
    limb_lengths: torch.Tensor,
    prior: LimbPrior,
    tables: TritonTables,
) -> torch.Tensor:
    """Estimate the poses of F frames; all tensors are on one CUDA device.

    Args:
        maps: (F, V, J, H, W) float32 heatmaps.
        cameras: (F, VIEWS, 24) float64, of camera_table().
        centers: (F, 3) float64 centers of the first grid, mm.
        limb_lengths: (F, E) float64, mm.
        prior: limb prior.
        tables: of TritonTables.build() for the prior.

    Returns:
        (F, J, 3) float64 joints, mm, world frame.
    """
    maps, cameras, centers, limb_lengths = (values.contiguous() for values in (maps, cameras, centers, limb_lengths))
    num_frames, _, num_joints = maps.shape[:3]
    positions = torch.empty((num_frames, num_joints, 3), dtype=torch.float64, device=maps.device)
    size = min(max(_CHUNK_BYTES // (8 * num_joints * len(tables.grid)), 1), _MAX_GRID)
    sums = torch.empty((min(size, num_frames), num_joints, len(tables.grid)), dtype=torch.float64, device=maps.device)
    for start in range(0, num_frames, size):
        frames = slice(start, start + size)
        part = positions[frames]
        _solve_chunk(maps[frames], cameras[frames], centers[frames], limb_lengths[frames], prior, tables, sums, part)
    return positions


def _solve_chunk(
    maps: torch.Tensor,
    cameras: torch.Tensor,
    centers: torch.Tensor,
    limb_lengths: torch.Tensor,
    prior: LimbPrior,
    tables: TritonTables,
    sums: torch.Tensor,
    positions: torch.Tensor,
) -> None:
    """Solve the frames of one launch per kernel. `sums` (f, J, N) float64 is overwritten, `positions` is the result."""
    num_frames, num_views, num_joints, height, width = maps.shape
    num_bins, side = len(tables.grid), prior.grid.num_bins
    body = prior.body
    costs = Costs.of(body)
    missing, broken = int(costs.missing), int(costs.broken)
    num_limbs = len(body.edges)
    views, joints = cameras.shape[1], triton.next_power_of_2(num_joints)
    scores = sums.view(torch.int64)
    padded = triton.next_power_of_2(num_bins)
    block = min(padded, max(512 // views, 16))
    sum_heatmaps[(triton.cdiv(num_bins, block), num_frames)](
        maps, cameras, centers, tables.grid, sums, num_views, num_joints, num_bins, height, width, views, block
    )
    block = min(padded, 1024)
    score_bins[(num_frames * num_joints,)](sums, scores, num_bins, missing, block)
    skeleton = (tables.limb_children, tables.offset_starts, tables.offsets)
    for parents, child_starts, child_limbs in tables.levels:
        add_messages[(triton.cdiv(num_bins, block), len(parents), num_frames)](
            scores,
            parents,
            child_starts,
            child_limbs,
            *skeleton,
            num_joints,
            num_bins,
            side,
            broken,
            block,
            num_warps=8,
        )
    choose_bins[(num_frames,)](
        scores,
        tables.limb_parents,
        *skeleton,
        centers,
        tables.grid,
        positions,
        body.root,
        num_limbs,
        num_joints,
        num_bins,
        side,
        broken,
        block,
        joints,
        triton.next_power_of_2(tables.max_offsets),
    )
    num_levels, finer_bins = tables.finer_grids.shape[:2]
    if num_levels:
        search_finer_grids[(num_frames,)](
            maps,
            cameras,
            limb_lengths,
            tables.limb_parents,
            tables.limb_children,
            tables.finer_grids,
            tables.tolerance,
            positions,
            body.root,
            num_levels,
            num_limbs,
            num_views,
            num_joints,
            finer_bins,
            height,
            width,
            missing,
            broken,
            views,
            joints,
            triton.next_power_of_2(finer_bins),
            # With one warp the many small reductions need no barrier.
            num_warps=min(max(joints * triton.next_power_of_2(finer_bins) // 256, 1), 8),
        )
