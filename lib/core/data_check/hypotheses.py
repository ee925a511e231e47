"""What explains a fault best, and where the fault is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib.core.data_check.group_sequence import GroupSequence


def best_explanations(found: Sequence[tuple[str, float]], limit: float, alike: float, unit: str) -> str:
    """Name the hypothesis that leaves the smallest error, and one that leaves as little where there is one.

    Args:
        found: (text, error that is left) of all hypotheses, the simplest first.
        limit: an explanation must leave less.
        alike: errors that differ by less are equal.
        unit: of the errors.

    Returns:
        "a (with that: 0.1 px)" or "a, or b (with either: 0.1 px)"; "" where nothing explains it.
    """
    # Later ones are less simple: they must be clearly better than the best one so far, or as good as nothing.
    best = ""
    error = np.inf
    for text, left in found:
        if left < 0.5 * error and error > alike:
            best, error = text, left
    if error >= limit:
        return ""
    others = [text for text, left in found if text != best and abs(left - error) < alike]
    either = f"{best}, or {others[0]}" if others else best
    return f"{either} (with {'either' if others else 'that'}: {error:.2f} {unit})"


def block_groups(starts: np.ndarray, chosen: np.ndarray, limit: int) -> np.ndarray:
    """Return the indices of the groups of at most `limit` of the chosen (B,) blocks, the first ones."""
    blocks = np.flatnonzero(chosen)[:limit]
    return np.concatenate([np.arange(starts[block], starts[block + 1]) for block in blocks])


def where_wrong(views: GroupSequence, starts: np.ndarray, wrong: np.ndarray) -> str:
    """Say in how many recordings the wrong (B,) blocks are, and name the first; nothing if all blocks are wrong."""
    if wrong.all():
        return ""
    recording = views.recording_number[starts[:-1]]
    count = len(np.unique(recording[wrong]))
    total = int(recording[-1]) + 1
    first = views.name(int(starts[np.argmax(wrong)]))
    return f" in {count} of {total} recordings ({wrong.sum()} of {len(wrong)} parts of them; the first: {first})"
