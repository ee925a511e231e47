"""Random damage of files: cut, changed bytes, swapped parts, and wrong values in text."""

from __future__ import annotations

import re

import numpy as np

_NUMBER = re.compile(rb"-?\d+\.?\d*(?:[eE][-+]?\d+)?")
_WORD = re.compile(rb"[A-Za-z_]\w+")
_VALUES = (
    *(
        b"NaN",
        b"nan",
        b"1e999",
        b"-1e308",
        b"1e30",
        b"-1",
        b"0",
        b"99999999999999999999999",
        b"null",
        b"true",
        b'"text"',
    ),
    *(b"[]", b"{}", b"[[1, 2], [3]]", b"[" * 50, b"", b"~", b"2024-13-45", b"\xff\xfe", b"\x00", b"-0.0", b"1e-320"),
)


def damaged(data: bytes, rng: np.random.Generator, is_text: bool) -> bytes:
    """Return a damaged copy.

    Args:
        data: content of a valid file.
        rng: generator.
        is_text: also put wrong values in place of numbers and words.
    """
    kinds = [_cut, _flip, _swap, _repeat, _fill, _remove, *([_wrong_value] * 6 if is_text else [_flip] * 3)]
    for _ in range(rng.integers(1, 4)):
        data = kinds[rng.integers(len(kinds))](data, rng)
    return data


def _span(data: bytes, rng: np.random.Generator, longest: int = 2000) -> slice:
    start = int(rng.integers(len(data) + 1))
    return slice(start, start + int(rng.integers(1, longest)))


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(len(data) + 1))] if rng.random() < 0.9 else b""


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    changed = np.frombuffer(data, np.uint8).copy()
    if len(changed):
        # Headers are short; a uniform choice would hit them rarely.
        reach = len(changed) if rng.random() < 0.5 else min(len(changed), 512)
        places = rng.integers(reach, size=rng.integers(1, 9))
        changed[places] ^= rng.integers(1, 256, size=len(places)).astype(np.uint8)
    return changed.tobytes()


def _swap(data: bytes, rng: np.random.Generator) -> bytes:
    one, other = sorted((_span(data, rng), _span(data, rng)), key=lambda span: span.start)
    if one.stop > other.start:
        return data[other] + data
    return data[: one.start] + data[other] + data[one.stop : other.start] + data[one] + data[other.stop :]


def _repeat(data: bytes, rng: np.random.Generator) -> bytes:
    span = _span(data, rng)
    return data[: span.stop] + data[span] + data[span.stop :]


def _fill(data: bytes, rng: np.random.Generator) -> bytes:
    span = _span(data, rng)
    filler = (b"\xff", b"\x00")[rng.integers(2)]
    return data[: span.start] + filler * len(data[span]) + data[span.stop :]


def _remove(data: bytes, rng: np.random.Generator) -> bytes:
    span = _span(data, rng, 200)
    return data[: span.start] + data[span.stop :]


def _wrong_value(data: bytes, rng: np.random.Generator) -> bytes:
    places = list((_NUMBER if rng.random() < 0.7 else _WORD).finditer(data))
    if not places:
        return data
    chosen = places[rng.integers(len(places))]
    return data[: chosen.start()] + _VALUES[rng.integers(len(_VALUES))] + data[chosen.end() :]
