"""Triton kernels of RPSM. rpsm_triton.py launches them and describes their steps and scores."""

import numpy as np
import triton
import triton.language as tl

MAX_FINER_BINS = 64  # bins of a later grid; a program holds all pairs of bins of a limb in registers
MAX_FIRST_NBINS = 256  # add_messages() packs three coordinates of 10 bits
CAMERA_COLUMNS = tl.constexpr(24)  # of pack_heatmap_cameras()
_FIELDS = tl.constexpr(1 + 2**10 + 2**20)  # 1 in each of three fields of 10 bits
_GUARDS = tl.constexpr(2**9 * (1 + 2**10 + 2**20))  # the highest bit of each field
_LOWEST = tl.constexpr(-(2**62))  # below every score
_STEPS = tl.constexpr(2.0**30)  # as in tree_search.py
_LOWEST_RATIO = tl.constexpr(2.0**-512)
_TWO_OVER_LN2 = tl.constexpr(2 / np.log(2.0))
_SQRT_HALF_BITS = tl.constexpr(0x3FE6A09E667F3BCD)  # of float64 sqrt(1/2)


@triton.jit
def _log_scores(unary, best, missing):
    """Return the int64 scores of float64 sums, as evidence_scores().

    log2 is split into exponent and mantissa m in [sqrt(1/2), sqrt(2)). ln m = 2 artanh((m - 1) / (m + 1)) is a series
    whose first neglected term is below 1e-17.
    """
    has_evidence = best > 0
    ratio = tl.maximum(unary * (1.0 / tl.where(has_evidence, best, 1.0)), _LOWEST_RATIO)
    bits = ratio.to(tl.int64, bitcast=True)
    exponent = (bits - _SQRT_HALF_BITS) >> 52
    mantissa = (bits - (exponent << 52)).to(tl.float64, bitcast=True)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    q = s * s
    series = 1.0 / 17 + q * (1.0 / 19 + q * (1.0 / 21))
    series = 1.0 / 11 + q * (1.0 / 13 + q * (1.0 / 15 + q * series))
    series = 1.0 / 5 + q * (1.0 / 7 + q * (1.0 / 9 + q * series))
    series = 1.0 + q * (1.0 / 3 + q * series)
    log2 = exponent.to(tl.float64) + _TWO_OVER_LN2 * (s * series)
    evidence = tl.floor(log2 * _STEPS + 0.5).to(tl.int64)
    return tl.where(has_evidence, tl.where(unary > 0, evidence, -missing), 0)


@triton.jit
def _taps(camera, center_x, center_y, center_z, x, y, z, height, width):
    """Project bins (x, y, z) around a center: flat index of the upper left pixel and four bilinear weights.

    `camera` points to rows of camera_table(). Same operations as bin_taps().
    """
    r00, r01, r02 = tl.load(camera), tl.load(camera + 1), tl.load(camera + 2)
    r10, r11, r12 = tl.load(camera + 3), tl.load(camera + 4), tl.load(camera + 5)
    r20, r21, r22 = tl.load(camera + 6), tl.load(camera + 7), tl.load(camera + 8)
    dx = center_x - tl.load(camera + 9)
    dy = center_y - tl.load(camera + 10)
    dz = center_z - tl.load(camera + 11)
    x_cam = (r00 * dx + r01 * dy + r02 * dz) + (r00 * x + r01 * y + r02 * z)
    y_cam = (r10 * dx + r11 * dy + r12 * dz) + (r10 * x + r11 * y + r12 * z)
    depth = (r20 * dx + r21 * dy + r22 * dz) + (r20 * x + r21 * y + r22 * z)
    nearness = 1.0 / tl.maximum(depth, 1.0)  # MIN_DEPTH_MM
    u = x_cam * nearness
    v = y_cam * nearness
    r2 = u * u + v * v
    p0, p1 = tl.load(camera + 15), tl.load(camera + 16)
    radial = 1.0 + r2 * (tl.load(camera + 12) + r2 * (tl.load(camera + 13) + r2 * tl.load(camera + 14)))
    factor = radial + 2.0 * (p0 * v + p1 * u)
    u_lens = u * factor + p1 * r2
    v_lens = v * factor + p0 * r2
    visible = (depth >= 1.0) & (r2 <= tl.load(camera + 23))
    px = tl.load(camera + 17) * u_lens + tl.load(camera + 18) * v_lens + tl.load(camera + 21)
    py = tl.load(camera + 19) * u_lens + tl.load(camera + 20) * v_lens + tl.load(camera + 22)
    px = tl.where(visible, px, -2.0)  # where all weights are 0
    left = tl.minimum(tl.maximum(tl.floor(px), 0.0), (width - 2).to(tl.float64))
    top = tl.minimum(tl.maximum(tl.floor(py), 0.0), (height - 2).to(tl.float64))
    px -= left
    py -= top
    left_part = tl.maximum(1.0 - tl.abs(px), 0.0)
    right_part = tl.maximum(1.0 - tl.abs(px - 1.0), 0.0)
    top_part = tl.maximum(1.0 - tl.abs(py), 0.0)
    bottom_part = tl.maximum(1.0 - tl.abs(py - 1.0), 0.0)
    first = top.to(tl.int32) * width + left.to(tl.int32)
    return first, top_part * left_part, top_part * right_part, bottom_part * left_part, bottom_part * right_part


@triton.jit
def _interpolate(pixel, seen, width, w00, w01, w10, w11):
    """Interpolate heatmaps, clipped at 0; `pixel` points to the upper left pixels."""
    value = tl.maximum(tl.load(pixel, mask=seen, other=0.0), 0.0).to(tl.float64) * w00
    value += tl.maximum(tl.load(pixel + 1, mask=seen, other=0.0), 0.0).to(tl.float64) * w01
    value += tl.maximum(tl.load(pixel + width, mask=seen, other=0.0), 0.0).to(tl.float64) * w10
    return value + tl.maximum(tl.load(pixel + width + 1, mask=seen, other=0.0), 0.0).to(tl.float64) * w11


@triton.jit
def sum_heatmaps(
    maps,
    cameras,
    centers,
    grid,
    sums,
    num_views,
    num_joints,
    num_bins,
    height,
    width,
    VIEWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sum the heatmaps of all views at a block of bins of the first grid; program (block, frame).

    Args:
        maps: (F, V, J, H, W) float32.
        cameras: (F, VIEWS, 24) float64, of camera_table().
        centers: (F, 3) float64, mm.
        grid: (N, 3) float64, mm.
        sums: (F, J, N) float64, the result.
        num_views, num_joints, num_bins, height, width: sizes.
        VIEWS: V, rounded up to a power of 2.
        BLOCK: bins per program.
    """
    frame = tl.program_id(1).to(tl.int64)
    bins = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = bins < num_bins
    view = tl.arange(0, VIEWS)
    x = tl.load(grid + bins * 3, mask=valid, other=0.0)[:, None]
    y = tl.load(grid + bins * 3 + 1, mask=valid, other=0.0)[:, None]
    z = tl.load(grid + bins * 3 + 2, mask=valid, other=0.0)[:, None]
    center = centers + frame * 3
    camera = (cameras + (frame * VIEWS + view) * CAMERA_COLUMNS)[None, :]
    first, w00, w01, w10, w11 = _taps(
        camera, tl.load(center), tl.load(center + 1), tl.load(center + 2), x, y, z, height, width
    )
    seen = (w00 + w01 + w10 + w11 > 0) & (view < num_views)[None, :] & valid[:, None]
    pixels = height * width
    pixel = (maps + (frame * num_views + view) * num_joints * pixels)[None, :] + first
    target = sums + frame * num_joints * num_bins + bins
    for _ in range(num_joints):
        tl.store(target, tl.sum(_interpolate(pixel, seen, width, w00, w01, w10, w11), axis=1), mask=valid)
        pixel += pixels
        target += num_bins


@triton.jit
def score_bins(sums, scores, num_bins, missing, BLOCK: tl.constexpr):
    """Convert the sums (N,) of a joint to scores; program (frame and joint). `scores` may be the memory of `sums`."""
    row = tl.program_id(0).to(tl.int64) * num_bins
    lane = tl.arange(0, BLOCK)
    best = tl.zeros((BLOCK,), tl.float64)
    for start in range(0, num_bins, BLOCK):
        bins = start + lane
        best = tl.maximum(best, tl.load(sums + row + bins, mask=bins < num_bins, other=0.0))
    largest = tl.max(best, axis=0)
    for start in range(0, num_bins, BLOCK):
        bins = start + lane
        unary = tl.load(sums + row + bins, mask=bins < num_bins, other=0.0)
        tl.store(scores + row + bins, _log_scores(unary, largest, missing), mask=bins < num_bins)


@triton.jit
def _best_bin(scores, num_bins, BLOCK: tl.constexpr):
    """Return the largest of N scores and its lowest bin."""
    lane = tl.arange(0, BLOCK)
    best = tl.full((BLOCK,), _LOWEST, tl.int64)
    where = tl.zeros((BLOCK,), tl.int32)
    for start in range(0, num_bins, BLOCK):
        bins = start + lane
        score = tl.load(scores + bins, mask=bins < num_bins, other=_LOWEST)
        where = tl.where(score > best, bins, where)
        best = tl.maximum(best, score)
    largest = tl.max(best, axis=0)
    return largest, tl.min(tl.where(best == largest, where, num_bins), axis=0)


@triton.jit
def add_messages(
    scores,
    parents,
    child_starts,
    child_limbs,
    limb_children,
    offset_starts,
    offsets,
    num_joints,
    num_bins,
    side,
    broken,
    BLOCK: tl.constexpr,
):
    """Add the messages of its children to a block of bins of a parent; program (block, parent, frame).

    Args:
        scores: (F, J, N) int64, scores of the subtrees; the children's scores are complete.
        parents: (P,) int32 joints of one tree level.
        child_starts: (P + 1,) int32 ranges in `child_limbs`.
        child_limbs: int32 limbs from each parent.
        limb_children: (E,) int32 joints.
        offset_starts: (E + 1,) int32 ranges in `offsets`.
        offsets: (K, 3) int32 bin of the child minus bin of the parent.
        num_joints, num_bins, side: J, N and bins per axis.
        broken: cost of a broken limb.
        BLOCK: bins per program.
    """
    frame = tl.program_id(2).to(tl.int64)
    which = tl.program_id(1)
    bins = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = bins < num_bins
    # Coordinates packed into one integer, so that few operations test all three of them, see below. A bin that does not
    # exist gets a coordinate that no offset moves onto the grid.
    place = (bins // (side * side)) * 2**20 + (bins // side % side) * 2**10 + bins % side
    place = tl.where(valid, place, 511 * 2**20)
    row = scores + frame * num_joints * num_bins
    own = row + tl.load(parents + which) * num_bins + bins
    total = tl.load(own, mask=valid, other=0)
    for number in range(tl.load(child_starts + which), tl.load(child_starts + which + 1)):
        limb = tl.load(child_limbs + number)
        child = row + tl.load(limb_children + limb) * num_bins
        best, _ = _best_bin(child, num_bins, BLOCK)
        message = tl.zeros((BLOCK,), tl.int64) + (best - broken)
        for k in range(tl.load(offset_starts + limb), tl.load(offset_starts + limb + 1)):
            x_step = tl.load(offsets + k * 3)
            y_step = tl.load(offsets + k * 3 + 1)
            z_step = tl.load(offsets + k * 3 + 2)
            place_step = x_step * 2**20 + y_step * 2**10 + z_step + _GUARDS
            not_negative = place + place_step  # the guard bit of a coordinate is set if it is at least 0
            too_large = place + (place_step - side * _FIELDS)  # ... if it is at least `side`
            inside = (not_negative & ~too_large & _GUARDS) == _GUARDS
            step = (x_step * side + y_step) * side + z_step
            message = tl.maximum(message, tl.load(child + bins + step, mask=inside, other=_LOWEST))
        total += message
    tl.store(own, total, mask=valid)


@triton.jit
def _is_inside(x, y, z, side):
    """Return which bins are on the grid."""
    return (x >= 0) & (x < side) & (y >= 0) & (y < side) & (z >= 0) & (z < side)


@triton.jit
def choose_bins(
    scores,
    limb_parents,
    limb_children,
    offset_starts,
    offsets,
    centers,
    grid,
    positions,
    root,
    num_limbs,
    num_joints,
    num_bins,
    side,
    broken,
    BLOCK: tl.constexpr,
    JOINTS: tl.constexpr,
    OFFSETS: tl.constexpr,
):
    """Follow the best bins from the root to the leaves; program (frame).

    Args:
        scores: (F, J, N) int64 scores of the subtrees.
        limb_parents, limb_children: (E,) int32 joints, parents first.
        offset_starts, offsets: see add_messages().
        centers: (F, 3) float64, mm.
        grid: (N, 3) float64, mm.
        positions: (F, J, 3) float64, mm, the result.
        root: root joint.
        num_limbs, num_joints, num_bins, side: E, J, N and bins per axis.
        broken: cost of a broken limb.
        BLOCK: bins per step of a search.
        JOINTS, OFFSETS: J and the largest number of offsets of a limb, rounded up to powers of 2.
    """
    frame = tl.program_id(0).to(tl.int64)
    row = scores + frame * num_joints * num_bins
    joints = tl.arange(0, JOINTS)
    _, root_bin = _best_bin(row + root * num_bins, num_bins, BLOCK)
    bins = tl.where(joints == root, root_bin, 0)
    lane = tl.arange(0, OFFSETS)
    for limb in range(num_limbs):
        parent_bin = tl.sum(tl.where(joints == tl.load(limb_parents + limb), bins, 0), axis=0)
        child = tl.load(limb_children + limb)
        best, best_bin = _best_bin(row + child * num_bins, num_bins, BLOCK)
        start = tl.load(offset_starts + limb)
        exists = lane < tl.load(offset_starts + limb + 1) - start
        offset = offsets + (start + lane) * 3
        x = parent_bin // (side * side) + tl.load(offset, mask=exists, other=0)
        y = parent_bin // side % side + tl.load(offset + 1, mask=exists, other=0)
        z = parent_bin % side + tl.load(offset + 2, mask=exists, other=0)
        inside = _is_inside(x, y, z, side) & exists
        partner = (x * side + y) * side + z
        score = tl.load(row + child * num_bins + partner, mask=inside, other=_LOWEST)
        highest = tl.max(score, axis=0)
        first = tl.min(tl.where((score == highest) & inside, partner, num_bins), axis=0)
        bins = tl.where(joints == child, tl.where(highest < best - broken, best_bin, first), bins)
    valid = joints < num_joints
    for axis in range(3):
        position = tl.load(centers + frame * 3 + axis) + tl.load(grid + bins * 3 + axis, mask=valid, other=0.0)
        tl.store(positions + (frame * num_joints + joints) * 3 + axis, position, mask=valid)


@triton.jit
def _pick(values, joints, joint):
    """Return the entry of one joint."""
    return tl.sum(tl.where(joints == joint, values, 0), axis=0)


@triton.jit
def _pair_scores(child_scores, x, y, z, length, tolerance, broken, valid):
    """Subtract the cost of limbs (x, y, z) of a wrong length; squares instead of a root, which is slow in float64."""
    square = x * x + y * y + z * z
    low = length - tolerance
    high = length + tolerance
    forbidden = (square >= high * high) | (square <= tl.where(low >= 0, low * low, -1.0))
    return tl.where(valid, child_scores - tl.where(forbidden, broken, 0), _LOWEST)


@triton.jit
def search_finer_grids(
    maps,
    cameras,
    limb_lengths,
    limb_parents,
    limb_children,
    grids,
    tolerances,
    positions,
    root,
    num_levels,
    num_limbs,
    num_views,
    num_joints,
    num_bins,
    height,
    width,
    missing,
    broken,
    VIEWS: tl.constexpr,
    JOINTS: tl.constexpr,
    BINS: tl.constexpr,
):
    """Move all joints to the best bins of ever finer grids around them; program (frame).

    Args:
        maps, cameras: see sum_heatmaps().
        limb_lengths: (F, E) float64, mm.
        limb_parents, limb_children: (E,) int32 joints, parents first.
        grids: (levels, n, 3) float64 bins around a joint, mm.
        tolerances: (1,) float64 allowed deviation of a limb length, mm.
        positions: (F, J, 3) float64, mm; overwritten.
        root: root joint.
        num_levels, num_limbs, num_views, num_joints, num_bins: numbers of levels, E, V, J, n.
        height, width: of a heatmap.
        missing, broken: costs.
        VIEWS, JOINTS, BINS: V, J and n, rounded up to powers of 2.
    """
    frame = tl.program_id(0).to(tl.int64)
    joints = tl.arange(0, JOINTS)
    bins = tl.arange(0, BINS)
    is_joint = joints < num_joints
    is_bin = bins < num_bins
    position = positions + (frame * num_joints + joints) * 3
    px = tl.load(position, mask=is_joint, other=0.0)
    py = tl.load(position + 1, mask=is_joint, other=0.0)
    pz = tl.load(position + 2, mask=is_joint, other=0.0)
    tolerance = tl.load(tolerances)
    pixels = height * width
    for level in range(num_levels):
        bin_ = grids + (level * num_bins + bins) * 3
        gx = tl.load(bin_, mask=is_bin, other=0.0)
        gy = tl.load(bin_ + 1, mask=is_bin, other=0.0)
        gz = tl.load(bin_ + 2, mask=is_bin, other=0.0)

        unary = tl.zeros((JOINTS, BINS), tl.float64)
        for view in range(num_views):
            camera = cameras + (frame * VIEWS + view) * CAMERA_COLUMNS
            first, w00, w01, w10, w11 = _taps(
                camera, px[:, None], py[:, None], pz[:, None], gx[None, :], gy[None, :], gz[None, :], height, width
            )
            seen = (w00 + w01 + w10 + w11 > 0) & is_joint[:, None] & is_bin[None, :]
            map_ = maps + ((frame * num_views + view) * num_joints + joints) * pixels
            unary += _interpolate(map_[:, None] + first, seen, width, w00, w01, w10, w11)
        unary = tl.where(is_bin[None, :], unary, 0.0)
        scores = _log_scores(unary, tl.max(unary, axis=1)[:, None], missing)

        for i in range(num_limbs):
            limb = num_limbs - 1 - i
            parent, child = tl.load(limb_parents + limb), tl.load(limb_children + limb)
            totals = _pair_scores(
                _pick(scores, joints[:, None], child)[None, :],
                _pick(px, joints, child) - _pick(px, joints, parent) + (gx[None, :] - gx[:, None]),
                _pick(py, joints, child) - _pick(py, joints, parent) + (gy[None, :] - gy[:, None]),
                _pick(pz, joints, child) - _pick(pz, joints, parent) + (gz[None, :] - gz[:, None]),
                tl.load(limb_lengths + frame * num_limbs + limb),
                tolerance,
                broken,
                is_bin[None, :],
            )
            message = tl.max(totals, axis=1)
            scores += tl.where(joints[:, None] == parent, message[None, :], 0)

        root_row = tl.where(is_bin, _pick(scores, joints[:, None], root), _LOWEST)
        root_bin = tl.min(tl.where(root_row == tl.max(root_row, axis=0), bins, BINS), axis=0)
        chosen = tl.where(joints == root, root_bin, 0)
        for limb in range(num_limbs):
            parent, child = tl.load(limb_parents + limb), tl.load(limb_children + limb)
            parent_bin = grids + (level * num_bins + _pick(chosen, joints, parent)) * 3
            totals = _pair_scores(
                _pick(scores, joints[:, None], child),
                _pick(px, joints, child) - _pick(px, joints, parent) + (gx - tl.load(parent_bin)),
                _pick(py, joints, child) - _pick(py, joints, parent) + (gy - tl.load(parent_bin + 1)),
                _pick(pz, joints, child) - _pick(pz, joints, parent) + (gz - tl.load(parent_bin + 2)),
                tl.load(limb_lengths + frame * num_limbs + limb),
                tolerance,
                broken,
                is_bin,
            )
            child_bin = tl.min(tl.where(totals == tl.max(totals, axis=0), bins, BINS), axis=0)
            chosen = tl.where(joints == child, child_bin, chosen)

        step = grids + (level * num_bins + chosen) * 3
        px += tl.load(step, mask=is_joint, other=0.0)
        py += tl.load(step + 1, mask=is_joint, other=0.0)
        pz += tl.load(step + 2, mask=is_joint, other=0.0)
    tl.store(position, px, mask=is_joint)
    tl.store(position + 1, py, mask=is_joint)
    tl.store(position + 2, pz, mask=is_joint)
