"""Which file or folder belongs to which camera."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lib.utils.errors import InputError


def match_names(names: Sequence[str], entries: Sequence[Path], what: str) -> list[Path]:
    """Find the entry of each camera: the one of its name or, if there is none, the only one whose name contains it.

    Args:
        names: of the cameras.
        entries: files and folders; their suffix does not count.
        what: named in the message.

    Returns:
        One entry per name, in their order.

    Raises:
        InputError: a camera has no entry, or more than one; an entry would belong to two.
    """
    chosen = []
    for name in names:
        exact = [entry for entry in entries if entry.stem == name]
        found = exact or [entry for entry in entries if name in entry.stem]
        if len(found) != 1:
            listed = ", ".join(entry.name for entry in entries) or "nothing"
            raise InputError(
                f"{what}: expected one name with '{name}' (a camera of the calibration), found "
                f"{len(found)} in: {listed}"
            )
        chosen += found
    if len(set(chosen)) != len(chosen):
        twice = next(entry for entry in chosen if chosen.count(entry) > 1)
        raise InputError(f"{what}: {twice.name} fits two cameras of {', '.join(names)}")
    return chosen
