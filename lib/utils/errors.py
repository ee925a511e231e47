"""Errors that a user can act on, and the shape check that produces them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import numpy as np


class InputError(Exception):
    """Something the user gave is wrong: a file, a key, a flag, a shape.

    The message is one line that says what, where, expected and received. The scripts print it and exit
    with code 2; anything that is not an InputError is a defect of ours and keeps its traceback.
    """


def unknown_name(kind: str, name: object, known: Iterable[str], where: str = "") -> InputError:
    """Build the error for a name that is not in a list of known names.

    Args:
        kind: what the name stands for, e.g. "backbone".
        name: what was received.
        known: the valid names.
        where: file or key that held the name.

    Returns:
        An InputError that names the nearest valid name, or lists all of them when none is near.
    """
    known = sorted(known)
    by_lower = {entry.lower(): entry for entry in known}
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.5)
    listed = ", ".join(entry or "''" for entry in known)
    hint = f"did you mean '{by_lower[near[0]]}'?" if near else f"known: {listed}"
    return InputError(f"unknown {kind} '{name}'{' in ' + where if where else ''}; {hint}")


def check_shape(name: str, shape: Sequence[int], expected: Sequence[int | str | None]) -> dict[str, int]:
    """Compare a shape with a pattern and return the sizes that the pattern names.

    Args:
        name: name of the array in the message.
        shape: the received shape.
        expected: one entry per axis: an int must match, a str binds a symbol (equal symbols must be
            equal sizes), None matches anything.

    Returns:
        Symbol -> size.

    Raises:
        InputError: with expected and received shape.
    """
    sizes: dict[str, int] = {}
    ok = len(shape) == len(expected)
    if ok:
        for size, want in zip(shape, expected, strict=True):
            if isinstance(want, str):
                want = sizes.setdefault(want, size)
            ok = ok and (want is None or size == want)
    if not ok:
        pattern = ", ".join("*" if want is None else str(want) for want in expected)
        raise InputError(f"{name}: expected shape ({pattern}), received {tuple(shape)}")
    return sizes


def check_finite(name: str, values: np.ndarray) -> None:
    """Refuse values that are not finite.

    Args:
        name: name of the array in the message.
        values: (F, ...) one entry per frame.

    Raises:
        InputError: with the first frame that has such a value.
    """
    finite = np.isfinite(values)
    if not finite.all():
        frame = int(np.flatnonzero(~finite.reshape(len(values), -1).all(1))[0])
        raise InputError(f"{name}: frame {frame} of the batch has values that are not finite")


class ProgramExit(Exception):
    """End of the program that is neither success nor bad input.

    The scripts print the one-line message and exit with `exit_code`.
    """

    exit_code = 1


class Interrupted(ProgramExit):
    """A signal asked the program to end; its work can be resumed.

    The exit code is that of a temporary failure (EX_TEMPFAIL of sysexits.h): run the command again.
    """

    exit_code = 75


class ProcessLost(ProgramExit):
    """Another process of the same job has ended."""

    exit_code = 3
