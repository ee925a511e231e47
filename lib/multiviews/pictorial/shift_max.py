"""Maximum over many shifts of a volume, as a short program of whole-volume steps.

The message of a limb is, for every bin, the maximum over the bins at all compatible offsets, about 150 shifts of the
child's volume. The offsets form a spherical shell. Cut into lines along one axis and slabs of lines, the shell repeats
the same few lines and slabs. Computing each of them once saves about three quarters of the shifts. Maxima are exact, so
the order of the steps does not matter.
"""

from dataclasses import dataclass

import numpy as np

Slices = tuple[slice, slice, slice]

# Axes of lines, slabs and the final shift. In a contiguous volume, shifts along earlier axes are cheaper. Most
# steps combine lines to slabs.
LINE_AXIS = 1
_SLAB_AXIS = 0
LAST_AXIS = 2


@dataclass(frozen=True)
class ShiftMax:
    """Program over volumes (n, n, n, F). Each step sets target = max(target, source) on shifted parts.

    Attributes:
        num_buffers: number of volumes: 0 is the input, the others start at -inf, the last one is the result.
        moves: (S, 4) int64, the steps as (target buffer, source buffer, axis, shift): target[bin] and
            source[bin + shift].
        steps: the same as (target buffer, target part, source buffer, source part).
    """

    num_buffers: int
    moves: np.ndarray
    steps: tuple[tuple[int, Slices, int, Slices], ...]


def plan_shift_max(offsets: np.ndarray, num_bins: int) -> ShiftMax:
    """Plan result[bin] = max over offsets (K, 3) of input[bin + offset]; -inf if all are outside of the volume."""
    lines: dict[tuple[int, int], set[int]] = {}
    for offset in offsets.tolist():
        lines.setdefault((offset[LAST_AXIS], offset[_SLAB_AXIS]), set()).add(offset[LINE_AXIS])
    slabs: dict[int, set[tuple[int, frozenset[int]]]] = {}
    for (last, across), line in lines.items():
        slabs.setdefault(last, set()).add((across, frozenset(line)))

    moves: list[tuple[int, int, int, int]] = []  # target, source, axis, shift
    line_buffer = _plan_lines({frozenset(line) for line in lines.values()}, moves)
    slab_buffer: dict[frozenset, int] = {}
    result = 1 + len(line_buffer) + len({frozenset(slab) for slab in slabs.values()})
    for last, slab in slabs.items():
        key = frozenset(slab)
        if key not in slab_buffer:
            slab_buffer[key] = 1 + len(line_buffer) + len(slab_buffer)
            moves += [(slab_buffer[key], line_buffer[line], _SLAB_AXIS, across) for across, line in slab]
        moves.append((result, slab_buffer[key], LAST_AXIS, last))
    inside = [move for move in moves if abs(move[3]) < num_bins]
    steps = tuple(_step(*move, num_bins) for move in inside)
    return ShiftMax(result + 1, np.array(inside, np.int64).reshape(-1, 4), steps)


def _plan_lines(lines: set[frozenset[int]], moves: list[tuple[int, int, int, int]]) -> dict[frozenset[int], int]:
    """Plan the distinct lines, each starting from the largest line it contains; return their buffers."""
    buffers: dict[frozenset[int], int] = {}
    for line in sorted(lines, key=lambda entry: (len(entry), sorted(entry))):
        target = 1 + len(buffers)
        base = max((known for known in buffers if known < line), key=len, default=frozenset())
        if base:
            moves.append((target, buffers[base], LINE_AXIS, 0))
        moves += [(target, 0, LINE_AXIS, shift) for shift in sorted(line - base)]
        buffers[line] = target
    return buffers


def _step(target: int, source: int, axis: int, shift: int, num_bins: int) -> tuple[int, Slices, int, Slices]:
    """Convert a shift along one axis to the overlapping parts of both volumes."""
    target_part, source_part = [slice(None)] * 3, [slice(None)] * 3
    target_part[axis] = slice(max(0, -shift), num_bins - max(0, shift))
    source_part[axis] = slice(max(0, shift), num_bins - max(0, -shift))
    return target, tuple(target_part), source, tuple(source_part)
