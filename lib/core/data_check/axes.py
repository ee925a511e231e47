"""Axis conventions other than ours: mirrored and exchanged axes, by name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

_NAMES = "xyz"


def signed_permutations(num_axes: int = 3) -> Iterator[tuple[str, np.ndarray]]:
    """Yield every way to mirror and exchange axes but the identity, the simplest first.

    Yields:
        A name such as "x is mirrored" or "x and y are exchanged", and the (n, n) matrix that turns a stored column
        vector into ours.
    """
    found = []
    for order in itertools.permutations(range(num_axes)):
        for signs in itertools.product((1, -1), repeat=num_axes):
            matrix = np.zeros((num_axes, num_axes))
            matrix[range(num_axes), order] = signs
            if not np.array_equal(matrix, np.eye(num_axes)):
                found.append((_name(order, signs), matrix))
    yield from sorted(found, key=lambda pair: np.abs(pair[1] - np.eye(num_axes)).sum())


def _name(order: tuple[int, ...], signs: tuple[int, ...]) -> str:
    mirrored = [_NAMES[axis] for axis, sign in enumerate(signs) if sign < 0]
    parts = []
    if order != tuple(range(len(order))):
        moved = [axis for axis, source in enumerate(order) if axis != source]
        if len(moved) == 2:
            parts.append(f"{_NAMES[moved[0]]} and {_NAMES[moved[1]]} are exchanged")
        else:
            parts.append(f"the axes are stored in the order {', '.join(_NAMES[order.index(a)] for a in range(3))}")
    if mirrored:
        parts.append(f"{' and '.join(mirrored)} {'is' if len(mirrored) == 1 else 'are'} mirrored")
    return " and ".join(parts)
