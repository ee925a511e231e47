"""Hypotheses about wrong data: axis conventions, the best explanation, and the recordings concerned."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from lib.core.data_check.group_sequence import GroupSequence

_AXES = "xyz"


def best_explanations(found: Sequence[tuple[str, float]], limit: float, alike: float, unit: str) -> str:
    """Name the hypothesis with the smallest error, and a second one with the same error if there is one.

    Args:
        found: (text, remaining error) of all hypotheses, the simplest first.
        limit: an explanation must have a smaller error.
        alike: errors that differ by less are equal.
        unit: unit of the errors.

    Returns:
        "a (with that: 0.1 px)" or "a, or b (with either: 0.1 px)"; "" if nothing explains the error.
    """
    # Later hypotheses are less simple: they must halve the best error so far.
    best = ""
    error = np.inf
    for text, remaining in found:
        if remaining < 0.5 * error and error > alike:
            best = text
            error = remaining
    if error >= limit:
        return ""
    others = [text for text, remaining in found if text != best and abs(remaining - error) < alike]
    if others:
        return f"{best}, or {others[0]} (with either: {error:.2f} {unit})"
    return f"{best} (with that: {error:.2f} {unit})"


def block_groups(starts: np.ndarray, chosen: np.ndarray, limit: int) -> np.ndarray:
    """Return the group indices of the first `limit` of the chosen (B,) blocks."""
    blocks = np.flatnonzero(chosen)[:limit]
    return np.concatenate([np.arange(starts[block], starts[block + 1]) for block in blocks])


def where_wrong(groups: GroupSequence, starts: np.ndarray, wrong: np.ndarray) -> str:
    """Describe in which recordings the wrong (B,) blocks are; "" if all blocks are wrong."""
    if wrong.all():
        return ""
    recording = groups.recording_number[starts[:-1]]
    count = len(np.unique(recording[wrong]))
    total = int(recording[-1]) + 1
    first = groups.name(int(starts[np.argmax(wrong)]))
    return f" in {count} of {total} recordings ({wrong.sum()} of {len(wrong)} parts of them; the first: {first})"


def signed_permutations() -> Iterator[tuple[str, np.ndarray]]:
    """Yield all ways to mirror and swap the three axes except the identity, the simplest first.

    Yields:
        A name such as "x is mirrored" or "x and y are swapped", and the (3, 3) matrix that maps a stored column
        vector to our convention.
    """
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[range(3), order] = signs
            if not np.array_equal(matrix, np.eye(3)):
                found.append((_permutation_name(order, signs), matrix))
    yield from sorted(found, key=lambda pair: np.abs(pair[1] - np.eye(3)).sum())


def _permutation_name(order: tuple[int, ...], signs: tuple[int, ...]) -> str:
    mirrored = [_AXES[axis] for axis, sign in enumerate(signs) if sign < 0]
    moved = [_AXES[axis] for axis, source in enumerate(order) if axis != source]
    parts = []
    if len(moved) == 2:
        parts.append(f"{' and '.join(moved)} are swapped")
    elif moved:
        parts.append(f"the axes are stored in the order {', '.join(_AXES[order.index(axis)] for axis in range(3))}")
    if mirrored:
        parts.append(f"{' and '.join(mirrored)} {'is' if len(mirrored) == 1 else 'are'} mirrored")
    return " and ".join(parts)
