"""Errors that end a program with one line, and checks of names, shapes and values."""

import contextlib
import difflib
import math
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FEW_NAMES = 10  # so many known names are listed in an error
MAX_LINE = 299  # characters of an error
_MAX_NAME = 35  # characters of a name in a list
_MIN_PATH = 60  # characters that remain of a path
_RAISED_IN = "raised in "  # start of the notes of naming_part()


class InputError(Exception):
    """Error in the user's input: a file, key, flag or shape.

    The message is one line that names the place, the expected and the received value. Scripts print it and exit with
    code 2. All other exceptions are defects of a registered part, see naming_part(), or of this project; the latter
    keep their traceback.
    """


class ProgramExit(Exception):
    """End of the program that is neither success nor bad input.

    Scripts print the one-line message and exit with `exit_code`.
    """

    exit_code = 1


class Interrupted(ProgramExit):
    """A signal asked the program to end; the same command resumes its work.

    The exit code is EX_TEMPFAIL, a temporary failure.
    """

    exit_code = 75


class ProcessLost(ProgramExit):
    """Another process of the same job has ended."""

    exit_code = 3


@contextlib.contextmanager
def naming_part(part: str) -> Iterator[None]:
    """Note the name of a registered part, e.g. "fusion toy", in the exceptions that its code raises."""
    try:
        yield
    except Exception as error:
        error.add_note(f"{_RAISED_IN}{part}")
        raise


def defect_of_part(error: BaseException) -> str | None:
    """Return one line about an exception inside a naming_part(): part, type, text and place; None for others."""
    notes = [note for note in getattr(error, "__notes__", []) if note.startswith(_RAISED_IN)]
    if not notes:
        return None
    libraries = (sysconfig.get_path("stdlib"), "site-packages", "dist-packages", "<frozen")
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not any(library in frame.filename for library in libraries)]
    frame = own[-1] if own else frames[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}"
    text = f"{type(error).__name__}: {brief(error)}" if str(error) else type(error).__name__
    return f"{notes[0].removeprefix(_RAISED_IN)}: {text} ({place})"


def unknown_name(kind: str, name: object, known: Iterable[str], where: str = "") -> InputError:
    """Build the error for an unknown name; it suggests the nearest name, and lists all if they are few or none is near.

    Args:
        kind: kind of name, e.g. "backbone".
        name: received name.
        known: valid names.
        where: file or key that holds the name.
    """
    known = sorted(known)
    by_lower = {entry.lower(): entry for entry in known}
    near = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.5)
    hints = [f"did you mean '{by_lower[near[0]]}'?"] if near else []
    if not near or len(known) <= FEW_NAMES:
        hints.append(f"known: {all_or_some(known)}")
    hint = " ".join(hints)
    return InputError(f"unknown {kind} '{shortened(name, str)}'{' in ' + where if where else ''}; {hint}")


def all_or_some(names: Iterable[str], length: int = 160) -> str:
    """Return names in one line: all of them if they fit into `length` characters, else some_names()."""
    names = [name or "''" for name in names]
    listed = ", ".join(names)
    return listed if len(listed) <= length else some_names(names)


def some_names(names: Iterable[object], count: int = 5) -> str:
    """Return the first names in one line, e.g. "a, b, c, d, e and 235 more"; "nothing" without names."""
    names = list(names)
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return (
        ", ".join(_without_middle(shortened(name, str), _MAX_NAME) for name in names[:count]) + more
        if names
        else "nothing"
    )


def brief(error: BaseException) -> str:
    """Return the text of an error in one short line; those of libraries may hold the content of a file."""
    return shortened(error, str, 120)


def shortened(value: object, form: Callable[[object], str] = repr, length: int = 80) -> str:
    """Return a value as one short line.

    Args:
        value: any value.
        form: repr or str.
        length: characters that are shown.
    """
    try:
        text = " ".join(form(value).split())
    except ValueError:  # Python writes no integers of more than 4300 digits
        return "an integer of too many digits"
    return text if len(text) <= length else f"{text[:length]}..."


def short_line(text: str) -> str:
    """Return a message as one line of less than 300 characters.

    Long paths are cut in the middle, the longest first. A line that is still too long is cut in its middle.
    """
    words = text.split()
    while (excess := len(" ".join(words)) - MAX_LINE) > 0:
        at = max(range(len(words)), key=lambda place: len(words[place]) * ("/" in words[place]))
        if "/" not in words[at] or len(words[at]) <= _MIN_PATH:
            break
        words[at] = _without_middle(words[at], max(len(words[at]) - excess, _MIN_PATH))
    return _without_middle(" ".join(words), MAX_LINE)


def _without_middle(text: str, length: int) -> str:
    """Return a text of at most `length` characters; a third of them is from its beginning."""
    if len(text) <= length:
        return text
    begin = length // 3
    return f"{text[:begin]}...{text[len(text) - (length - begin - 3) :]}"


def check_shape(name: str, shape: Sequence[int], expected: Sequence[int | str | None]) -> dict[str, int]:
    """Check a shape and return the sizes of its named axes.

    Args:
        name: name of the array in the message.
        shape: received shape.
        expected: one entry per axis. An int must match, equal strings must have equal sizes, None matches any size.

    Returns:
        Axis name -> size.

    Raises:
        InputError: the shape does not match.
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


def check_finite(name: str, values: Any) -> None:
    """Check that all values are finite.

    Args:
        name: name of the array in the message.
        values: (F, ...) one entry per frame, numpy or torch.

    Raises:
        InputError: with the first frame that has NaN or an infinity.
    """
    if getattr(values, "is_cuda", False):
        if not len(values) or all(math.isfinite(bound) for bound in values.aminmax()):  # reads the values once
            return
        values = values.cpu()
    finite = np.isfinite(np.asarray(values))
    if not finite.all():
        frame = int(np.flatnonzero(~finite.reshape(len(values), -1).all(1))[0])
        raise InputError(f"{name}: frame {frame} of the batch has values that are not finite")
