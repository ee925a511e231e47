"""Matching of files and folders to the cameras of a calibration by their names."""

import logging
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lib.utils.errors import InputError, shortened, some_names, unknown_name

logger = logging.getLogger(__name__)

# Camera -> names of its files and folders, given by hand.
Aliases = Mapping[str, Sequence[str]]

_MAX_KEYS = 2  # files per camera; with more of them, equal numbers are chance: frames of one camera
MATCH_HELP = (
    "files of cameras whose names do not tell them, e.g. cam01=GX010123.MP4; also a table [match] in the calibration"
)
_WORD = re.compile(r"\d+|[^\W\d_]+")
# Words that tools append to a camera's name.
_APPENDED = {"json", "keypoints", "pose", "openpose", "predictions"}


def parse_aliases(pairs: Sequence[str], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Read the pairs of --match, e.g. cam01=GX010123.MP4; a camera may occur several times.

    Raises:
        InputError: a word is no pair, or a camera is unknown.
    """
    found: dict[str, tuple[str, ...]] = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if not (name and equals and file):
            raise InputError(f"--match: expected CAMERA=FILE, e.g. cam01=GX010123.MP4, received {pair!r}")
        if name not in names:
            raise unknown_name("camera", name, names, "--match")
        found[name] = (*found.get(name, ()), file)
    return found


def key_of(entry: Path) -> str:
    """Return the part of an entry's name that identifies its camera. A folder has no suffix."""
    return entry.name if entry.is_dir() else entry.stem


def match_names(
    names: Sequence[str], keys: Sequence[str], what: str, aliases: Aliases | None = None, shown: Sequence[str] = ()
) -> list[int]:
    """Match files to cameras by their names, one to one.

    The first rule by which every camera has exactly one file decides:

    1. the names are equal,
    2. the file's name contains the camera's name,
    3. the camera's name contains the file's name,
    4. the parts are equal by which the names differ among themselves (cam_0, cam_1 and walk_0, walk_1).

    Args:
        names: names of the cameras.
        keys: names of the files, without suffix.
        what: files that are expected per camera, for error messages.
        aliases: names of files by camera, which replace the camera's name.
        shown: full names of the files, for aliases and messages; () = the keys.

    Returns:
        One index into `keys` per camera.

    Raises:
        InputError: the match is not unique; the message names the flag to give it by hand.
    """
    shown = shown or keys
    wanted = [_alias(name, aliases or {}, shown, what) for name in names]
    by_hand = {place: entry for place, (_, entry) in enumerate(wanted) if entry is not None}
    free = [index for index in range(len(keys)) if index not in by_hand.values()]
    open_names = [place for place in range(len(names)) if place not in by_hand]
    found = _matched([wanted[place][0] for place in open_names], [keys[index] for index in free])
    if found is None:
        missing = _first_unmatched([wanted[place][0] for place in open_names], [keys[index] for index in free])
        example, file = names[open_names[missing]], shortened(shown[0], str, 40) if shown else "NAME"
        raise InputError(
            f"{what}: expected one per camera, received no single one for '{example}': {some_names(shown)}; "
            f"give the pairs by hand, e.g. --match {example}={file}"
        )
    chosen = {**by_hand, **{place: free[index] for place, index in zip(open_names, found, strict=True)}}
    result = [chosen[place] for place in range(len(names))]
    if len(set(result)) < len(result):
        raise InputError(f"{what}: --match gives {shown[max(result, key=result.count)]} to two cameras")
    pairs = [f"{name} = {shown[index]}" for name, index in zip(names, result, strict=True)]
    if any(_plain(name) not in _plain(shown[index]) for name, index in zip(names, result, strict=True)):
        logger.info("%s, matched by name: %s", what, ", ".join(pairs))
    return result


def _alias(name: str, aliases: Aliases, shown: Sequence[str], what: str) -> tuple[str, int | None]:
    """Return the name to look for, and the file's index if an alias is its full name."""
    given = aliases.get(name, ())
    for file in given:
        if file in shown:
            return name, shown.index(file)
    return (Path(given[0]).stem, None) if given else (name, None)


def _matched(names: Sequence[str], keys: Sequence[str]) -> list[int] | None:
    """Return the index of each name's key by the first rule that gives exactly one; None if there is no such rule."""
    exact = [[index for index, key in enumerate(keys) if _plain(key) == _plain(name)] for name in names]
    rest = [place for place, found in enumerate(exact) if len(found) != 1]
    if not rest:
        return _distinct([found[0] for found in exact])
    taken = {found[0] for found in exact if len(found) == 1}
    free = [index for index in range(len(keys)) if index not in taken]
    words = [_words(key) for key in keys]
    parts = dict(zip(free, _distinguishing([words[index] for index in free]), strict=True))
    own = dict(zip(rest, _distinguishing([_words(names[place]) for place in rest]), strict=True))
    rules: list[Callable[[int, int], bool]] = [
        lambda place, index: _contains(words[index], _words(names[place])),
        lambda place, index: _plain(names[place]) in _plain(keys[index]),
        lambda place, index: _contains(_words(names[place]), _without_appended(words[index])),
    ]
    if len(free) <= _MAX_KEYS * len(rest):
        rules.append(lambda place, index: bool(own[place]) and own[place] == parts[index])
    for rule in rules:
        found = {place: [index for index in free if rule(place, index)] for place in rest}
        if all(len(one) == 1 for one in found.values()):
            result = _distinct(
                [exact[place][0] if place not in found else found[place][0] for place in range(len(names))]
            )
            if result is not None:
                return result
    return None


def _first_unmatched(names: Sequence[str], keys: Sequence[str]) -> int:
    """Return the first name that no key contains, or 0."""
    return next((place for place, name in enumerate(names) if not any(_plain(name) in _plain(key) for key in keys)), 0)


def _distinct(indices: list[int]) -> list[int] | None:
    return indices if len(set(indices)) == len(indices) else None


def _plain(text: str) -> str:
    """Return a name in one spelling: macOS writes accents as separate characters."""
    return unicodedata.normalize("NFC", text).casefold()


def _words(text: str) -> tuple[str, ...]:
    """Return letters and numbers of a name; numbers without leading zeros."""
    return tuple(word.lstrip("0") or "0" if word.isdecimal() else word for word in _WORD.findall(_plain(text)))


def _without_appended(words: tuple[str, ...]) -> tuple[str, ...]:
    while words and words[-1] in _APPENDED:
        words = words[:-1]
    return words


def _contains(words: tuple[str, ...], part: tuple[str, ...]) -> bool:
    return bool(part) and any(words[at : at + len(part)] == part for at in range(len(words) - len(part) + 1))


def _distinguishing(names: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return names without the words with which all of them begin and end."""
    shortest = min(map(len, names), default=0)
    begin = next((at for at in range(shortest) if len({name[at] for name in names}) > 1), shortest)
    end = next((at for at in range(shortest - begin) if len({name[-1 - at] for name in names}) > 1), shortest - begin)
    return [name[begin : len(name) - end] for name in names]
