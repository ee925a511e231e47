"""RPSM compiled by numba, frame by frame. The model is described in rpsm.py, the search in tree_search.py.

Scores are float64 multiples of 2^-30 as in tree_search.py, so ties are resolved in the same way. The unaries may differ
from the ones of numpy by rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lib.multiviews.cameras import Cameras, pack_heatmap_cameras
from lib.multiviews.cameras_numba import bilinear, camera_numbers, center_in_camera, project_camera_point
from lib.multiviews.compiled import compiled, inner
from lib.multiviews.pictorial.limb_offsets import cube_points
from lib.multiviews.pictorial.limb_prior import LimbPrior
from lib.multiviews.pictorial.shift_max import LAST_AXIS, LINE_AXIS
from lib.multiviews.pictorial.tree_search import LOWEST_EVIDENCE, STEPS, Costs

if TYPE_CHECKING:
    from lib.multiviews.pictorial.backend_numba import NumbaBackend
    from lib.multiviews.pictorial.rpsm import PictorialSettings

LANES = 4  # joints are padded to a multiple, so that the sums over joints use whole registers
BLOCK = 64  # bins that are projected together
_FAST = {"nnan", "nsz", "contract", "arcp"}  # without "ninf": -inf marks bins outside of the grid

_LOWEST_RATIO = 2.0**LOWEST_EVIDENCE
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
_ROUND = 6755399441055744.0  # 1.5 * 2^52: adding and subtracting it rounds to an integer
_STEPS_PER_LN = 2.0 / np.log(2.0) * STEPS


class Model(NamedTuple):
    """Limb prior and settings of RPSM as arrays.

    Attributes:
        root_joint: index of the root joint.
        edges: (E, 2) limbs (parent, child), level by level from the root.
        side: bins per axis n of the first grid.
        grid: (3, n^3) bins of the first grid, mm.
        later_grids: (levels, m, 3) bins of the later grids, mm.
        tolerance: of the limb lengths on the later grids, mm.
        missing, broken: Costs.
        offsets: (K, 3) compatible offsets of all limbs, limb after limb.
        offset_starts: (E + 1,) first offset of each limb.
        moves: (S, 4) ShiftMax.moves of all limbs, limb after limb.
        move_starts: (E + 1,) first move of each limb.
        pad: largest shift along the last axis.
        num_buffers: most buffers of a ShiftMax program.
    """

    root_joint: int
    edges: np.ndarray
    side: int
    grid: np.ndarray
    later_grids: np.ndarray
    tolerance: float
    missing: float
    broken: float
    offsets: np.ndarray
    offset_starts: np.ndarray
    moves: np.ndarray
    move_starts: np.ndarray
    pad: int
    num_buffers: int

    @classmethod
    def of(cls, prior: LimbPrior, settings: PictorialSettings) -> Model:
        """Build the arrays."""
        costs = Costs.of(prior.body)
        bins = settings.recur_nbins
        later = [cube_points(settings.recursion_edge(1 + i), bins) for i in range(settings.recur_depth)]
        no_rows = np.empty((0, 4), np.int64)
        moves = np.concatenate([no_rows, *(program.moves for program in prior.programs)])
        shifts = abs(moves[moves[:, 2] == LAST_AXIS, 3])
        return cls(
            root_joint=prior.body.root,
            edges=np.array(prior.body.edges, np.int64).reshape(-1, 2),
            side=prior.grid.num_bins,
            grid=np.ascontiguousarray(cube_points(prior.grid.edge, prior.grid.num_bins).T),
            later_grids=np.array(later, np.float64).reshape(-1, bins**3, 3),
            tolerance=float(settings.limb_length_tolerance),
            missing=costs.missing,
            broken=costs.broken,
            offsets=np.concatenate([no_rows[:, :3], *prior.offsets]),
            offset_starts=np.cumsum([0, *map(len, prior.offsets)]),
            moves=moves,
            move_starts=np.cumsum([0, *(len(program.moves) for program in prior.programs)]),
            pad=int(shifts.max(initial=0)),
            num_buffers=1 + int(moves[:, 0].max(initial=0)),
        )


class Workspace(NamedTuple):
    """Memory of one thread.

    Attributes:
        table: (V, H * W, wide) pixels with all joints, padded to a multiple of LANES.
        scores, score_bits: (J, n^3), the same memory as float64 and int64.
        lines: (buffers, n * n * (n + pad)) volumes of a ShiftMax program.
        layers: (buffers, n * (n + pad) + 2 * pad) layers of a ShiftMax program.
        own, own_bits: (J, m), the same memory as float64 and int64.
    """

    table: np.ndarray
    scores: np.ndarray
    score_bits: np.ndarray
    lines: np.ndarray
    layers: np.ndarray
    own: np.ndarray
    own_bits: np.ndarray

    @classmethod
    def of(
        cls, num_views: int, num_joints: int, num_pixels: int, side: int, pad: int, num_buffers: int, later_bins: int
    ) -> Workspace:
        """Allocate the memory. The sizes are the ones of the maps and of a Model."""
        scores, own = np.empty((num_joints, side**3)), np.empty((num_joints, later_bins))
        return cls(
            table=np.zeros((num_views, num_pixels, -(-num_joints // LANES) * LANES), np.float32),
            scores=scores,
            score_bits=scores.view(np.int64),
            lines=np.empty((num_buffers, side * side * (side + pad))),
            layers=np.empty((num_buffers, side * (side + pad) + 2 * pad)),
            own=own,
            own_bits=own.view(np.int64),
        )


def rpsm_compiled(
    heatmaps: np.ndarray,
    cameras: Cameras,
    image_to_heatmap: np.ndarray,
    root_world: np.ndarray,
    limb_lengths: np.ndarray,
    model: Model,
    backend: NumbaBackend,
) -> np.ndarray:
    """Do as rpsm(), with checked arguments: limb_lengths (F, E)."""
    packed = pack_heatmap_cameras(cameras, image_to_heatmap)
    root, lengths = (np.require(values, np.float64, "CW") for values in (root_world, limb_lengths))
    num_frames, num_views, num_joints, height, width = heatmaps.shape
    pose = np.empty((num_frames, num_joints, 3))
    sizes = (
        num_views,
        num_joints,
        height * width,
        model.side,
        model.pad,
        model.num_buffers,
        model.later_grids.shape[1],
    )

    def solve(frames: slice) -> None:
        maps = np.require(heatmaps[frames], np.float32, "CW")
        work = backend.memory(Workspace.of, *sizes)
        solve_frames(maps, packed[frames], root[frames], lengths[frames], model, work, pose[frames])

    backend.for_each(solve, backend.shares(num_frames))
    return pose


@compiled(_FAST)
def solve_frames(maps, cameras, root, lengths, model, work, out):
    """Estimate the poses of F frames.

    Args:
        maps: (F, V, J, H, W) float32.
        cameras: (F, V, 24) of pack_heatmap_cameras().
        root: (F, 3) center of the first grid, mm.
        lengths: (F, E) limb lengths, mm.
        model: Model.
        work: Workspace.
        out: (F, J, 3) result, mm.
    """
    num_joints = maps.shape[2]
    edges, grid, offsets, scores, own = model.edges, model.grid, model.offsets, work.scores, work.own
    num_edges = len(edges)
    totals = np.empty((num_edges, own.shape[1], own.shape[1]))
    floor = np.empty(num_joints)  # per joint the best score of its subtree if the limb to its parent is broken
    bins = np.empty(num_joints, np.int64)
    position = np.empty((num_joints, 3))
    for frame in range(len(maps)):
        _fill_table(maps[frame], work.table)
        _sample_first_grid(work.table, maps.shape[3], maps.shape[4], grid, root[frame], cameras[frame], scores)
        for joint in range(num_joints):
            _evidence_scores(scores[joint], work.score_bits[joint], model.missing)
        for edge in range(num_edges - 1, -1, -1):
            parent, child = edges[edge]
            floor[child] = _largest(scores[child]) - model.broken
            _add_message(scores[child], scores[parent], floor[child], edge, model, work.lines, work.layers)
        bins[model.root_joint] = _argmax(scores[model.root_joint])
        for edge in range(num_edges):
            parent, child = edges[edge]
            near = offsets[model.offset_starts[edge] : model.offset_starts[edge + 1]]
            bins[child] = _best_partner(scores[child], bins[parent], near, model.side, floor[child])
        for joint in range(num_joints):
            for axis in range(3):
                position[joint, axis] = root[frame, axis] + grid[axis, bins[joint]]
        for level in range(len(model.later_grids)):
            small = model.later_grids[level]
            _sample_own_grids(maps[frame], position, small, cameras[frame], own)
            for joint in range(num_joints):
                _evidence_scores(own[joint], work.own_bits[joint], model.missing)
            _search_own_grids(own, position, small, lengths[frame], model, totals, bins)
            for joint in range(num_joints):
                for axis in range(3):
                    position[joint, axis] += small[bins[joint], axis]
        for joint in range(num_joints):
            for axis in range(3):
                out[frame, joint, axis] = position[joint, axis]


@inner(_FAST)
def _fill_table(maps, table):
    """Copy maps (V, J, H, W), clipped at 0, to pixels with all joints (V, H * W, wide)."""
    num_views, num_joints, height, width = maps.shape
    zero = np.float32(0)
    num_pixels = height * width
    pixels = maps.reshape(num_views, num_joints, num_pixels)
    for view in range(num_views):
        for start in range(0, num_pixels, BLOCK):  # the rows of a block stay in the fastest cache
            for joint in range(num_joints):
                for i in range(start, min(start + BLOCK, num_pixels)):
                    value = pixels[view, joint, i]
                    table[view, i, joint] = value if value > zero else zero


@inner(_FAST)
def _sample_first_grid(table, height, width, grid, root, cameras, scores):
    """Sum the bilinear interpolations of all views, at the bins (3, N) around the root: scores (J, N)."""
    num_views, _, wide = table.shape
    num_joints, num_bins = scores.shape
    first = np.empty((num_views, BLOCK), np.int64)
    weights = np.empty((num_views, 4, BLOCK))
    x_hm, y_hm = np.empty(BLOCK), np.empty(BLOCK)
    sums = np.empty((BLOCK, wide))
    for start in range(0, num_bins, BLOCK):
        size = min(BLOCK, num_bins - start)
        for view in range(num_views):
            c = camera_numbers(cameras[view])
            x, y, z = center_in_camera(root, c)
            for i in range(size):
                gx, gy, gz = grid[0, start + i], grid[1, start + i], grid[2, start + i]
                x_hm[i], y_hm[i] = project_camera_point(
                    x + (c[0] * gx + c[1] * gy + c[2] * gz),
                    y + (c[3] * gx + c[4] * gy + c[5] * gz),
                    z + (c[6] * gx + c[7] * gy + c[8] * gz),
                    c,
                )
            for i in range(size):
                left, top, a, b, c_, d = bilinear(x_hm[i], y_hm[i], height, width)
                first[view, i] = np.int64(np.int32(top * width + left))
                weights[view, 0, i] = a
                weights[view, 1, i] = b
                weights[view, 2, i] = c_
                weights[view, 3, i] = d
        for i in range(size):
            for j in range(wide):
                sums[i, j] = 0.0
            for view in range(num_views):
                a, b, c_, d = weights[view, 0, i], weights[view, 1, i], weights[view, 2, i], weights[view, 3, i]
                if a + b + c_ + d > 0:
                    at = first[view, i]
                    for j in range(wide):
                        sums[i, j] += (
                            a * table[view, at, j]
                            + b * table[view, at + 1, j]
                            + c_ * table[view, at + width, j]
                            + d * table[view, at + width + 1, j]
                        )
        for joint in range(num_joints):
            for i in range(size):
                scores[joint, start + i] = sums[i, joint]


@inner(_FAST)
def _evidence_scores(values, bits, missing):
    """Convert the unaries (n) of a joint to scores, in place; `bits` is the same memory as int64.

    As tree_search.evidence_scores(). The series of the logarithm uses vector registers; its error is below 2^-40.
    """
    best = _largest(values)
    if best <= 0:
        for i in range(values.size):
            values[i] = 0.0
        return
    scale = 1.0 / best
    for i in range(values.size):
        positive = values[i] > 0
        values[i] = max(values[i] * scale, _LOWEST_RATIO)
        exponent = (bits[i] - _SQRT_HALF_BITS) >> 52
        bits[i] -= exponent << 52
        s = (values[i] - 1.0) / (values[i] + 1.0)
        q = s * s
        p = 1 / 17 + q * (1 / 19 + q * (1 / 21))
        p = 1 / 11 + q * (1 / 13 + q * (1 / 15 + q * p))
        p = 1 / 5 + q * (1 / 7 + q * (1 / 9 + q * p))
        p = 1.0 + q * (1 / 3 + q * p)
        score = exponent * STEPS + _STEPS_PER_LN * s * p
        values[i] = (score + _ROUND) - _ROUND if positive else -missing


@inner(_FAST)
def _largest(values):
    best = values[0]
    for i in range(values.size):
        best = values[i] if values[i] > best else best
    return best


@inner(_FAST)
def _argmax(values):
    """Return the index of the maximum; of equal values the first."""
    best = 0
    for i in range(values.size):
        if values[i] > values[best]:
            best = i
    return best


@inner(_FAST)
def _add_message(volume, target, floor, edge, model, lines, layers):
    """Add the message of a limb, at least `floor`, to the scores (n^3) of the parent.

    Runs the limb's ShiftMax program on the child's scores. Lines are whole volumes. Slabs and result are computed for
    one layer of the volume at a time, which stays in the fastest cache. Rows are followed by `pad` bins of -inf, so
    that a shift along the last axis is one loop over a layer.
    """
    moves, side, pad = model.moves, model.side, model.pad
    begin, end = model.move_starts[edge], model.move_starts[edge + 1]
    row = side + pad
    layer = side * row
    for xy in range(side * side):
        for i in range(side):
            lines[0, xy * row + i] = volume[xy * side + i]
        for i in range(side, row):
            lines[0, xy * row + i] = -np.inf
    num_lines, first_slab_move = 1, begin
    while first_slab_move < end and moves[first_slab_move, 2] == LINE_AXIS:
        num_lines = max(num_lines, moves[first_slab_move, 0] + 1)
        first_slab_move += 1
    for line in range(1, num_lines):
        for i in range(layer * side):
            lines[line, i] = -np.inf
    for move in range(begin, first_slab_move):
        out, source, shift = moves[move, 0], moves[move, 1], moves[move, 3]
        count = (side - abs(shift)) * row
        for x in range(side):
            to = x * layer + max(0, -shift) * row
            at = to + shift * row
            _maximum(lines[out, to : to + count], lines[source, at : at + count])
    last = moves[end - 1, 0] - num_lines
    waiting, count = np.empty((4, 2), np.int64), 0  # up to four sources of the same target: line, start of the layer
    for x in range(side):
        for buffer in range(last + 1):
            for i in range(layer + 2 * pad):
                layers[buffer, i] = -np.inf
        for move in range(first_slab_move, end):
            out, source, shift = layers[moves[move, 0] - num_lines, pad : pad + layer], moves[move, 1], moves[move, 3]
            if moves[move, 2] == LAST_AXIS:
                at = pad + shift
                _maximum(out, layers[source - num_lines, at : at + layer])
                continue
            if 0 <= x + shift < side:
                waiting[count, 0], waiting[count, 1] = source, (x + shift) * layer
                count += 1
            if count == 4 or (count > 0 and (move + 1 == end or moves[move + 1, 0] != moves[move, 0])):
                for i in range(count, 4):
                    waiting[i, 0], waiting[i, 1] = waiting[0, 0], waiting[0, 1]
                a, b, c, d = waiting[0, 1], waiting[1, 1], waiting[2, 1], waiting[3, 1]
                _maximum_of_4(
                    out,
                    lines[waiting[0, 0], a : a + layer],
                    lines[waiting[1, 0], b : b + layer],
                    lines[waiting[2, 0], c : c + layer],
                    lines[waiting[3, 0], d : d + layer],
                )
                count = 0
        for y in range(side):
            at, to = pad + y * row, (x * side + y) * side
            for i in range(side):
                message = layers[last, at + i]
                target[to + i] += message if message > floor else floor


@inner({"nnan"})
def _maximum(target, source):
    """Set the target to the maximum of both, element by element."""
    for i in range(target.size):
        # Without the sum, LLVM stores only where the source is larger, which is several times slower on some CPUs.
        target[i] = (source[i] if source[i] > target[i] else target[i]) + 0.0


@inner({"nnan"})
def _maximum_of_4(target, a, b, c, d):
    for i in range(target.size):
        ab, cd = a[i] if a[i] > b[i] else b[i], c[i] if c[i] > d[i] else d[i]
        other = ab if ab > cd else cd
        target[i] = (other if other > target[i] else target[i]) + 0.0


@inner(_FAST)
def _best_partner(scores, parent_bin, offsets, side, floor):
    """Return the best bin of a child, given the bin of its parent; `floor` is the best score with a broken limb."""
    x, y, z = parent_bin // (side * side), parent_bin // side % side, parent_bin % side
    value, choice = -np.inf, 0
    for o in range(len(offsets)):
        i, j, k = x + offsets[o, 0], y + offsets[o, 1], z + offsets[o, 2]
        if 0 <= i < side and 0 <= j < side and 0 <= k < side:
            at = (i * side + j) * side + k
            if scores[at] > value:
                value, choice = scores[at], at
    return choice if value >= floor else _argmax(scores)


@inner(_FAST)
def _sample_own_grids(maps, position, grid, cameras, own):
    """Sum the bilinear interpolations of all views, at the bins (m, 3) around each joint: (J, m)."""
    num_views, num_joints, height, width = maps.shape
    zero = np.float32(0)
    for joint in range(num_joints):
        for i in range(len(grid)):
            own[joint, i] = 0.0
        for view in range(num_views):
            c = camera_numbers(cameras[view])
            x, y, z = center_in_camera(position[joint], c)
            for i in range(len(grid)):
                gx, gy, gz = grid[i, 0], grid[i, 1], grid[i, 2]
                x_hm, y_hm = project_camera_point(
                    x + (c[0] * gx + c[1] * gy + c[2] * gz),
                    y + (c[3] * gx + c[4] * gy + c[5] * gz),
                    z + (c[6] * gx + c[7] * gy + c[8] * gz),
                    c,
                )
                left, top, a, b, c_, d = bilinear(x_hm, y_hm, height, width)
                u, v = np.int64(left), np.int64(top)
                own[joint, i] += (
                    a * max(maps[view, joint, v, u], zero)
                    + b * max(maps[view, joint, v, u + 1], zero)
                    + c_ * max(maps[view, joint, v + 1, u], zero)
                    + d * max(maps[view, joint, v + 1, u + 1], zero)
                )


@inner(_FAST)
def _search_own_grids(own, position, grid, lengths, model, totals, bins):
    """Find the best bins (J) if each joint has its own grid; own (J, m) becomes the scores of the subtrees."""
    edges, tolerance, broken = model.edges, model.tolerance, model.broken
    num_edges, size = len(edges), len(grid)
    for edge in range(num_edges - 1, -1, -1):
        parent, child = edges[edge]
        x, y, z = (
            position[child, 0] - position[parent, 0],
            position[child, 1] - position[parent, 1],
            position[child, 2] - position[parent, 2],
        )
        for p in range(size):
            best = -np.inf
            for c in range(size):
                dx, dy, dz = x + (grid[c, 0] - grid[p, 0]), y + (grid[c, 1] - grid[p, 1]), z + (grid[c, 2] - grid[p, 2])
                distance = np.sqrt(dx * dx + dy * dy + dz * dz)
                total = own[child, c] - (broken if abs(distance - lengths[edge]) >= tolerance else 0.0)
                totals[edge, p, c] = total
                best = max(best, total)
            own[parent, p] += best
    bins[model.root_joint] = _argmax(own[model.root_joint])
    for edge in range(num_edges):
        parent, child = edges[edge]
        bins[child] = _argmax(totals[edge, bins[parent]])
