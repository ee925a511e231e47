"""A pickled list that is written piece by piece, for lists that do not fit into memory twice."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable
from typing import Any

from lib.utils.files import atomic_path

# Protocol 3 numbers its memo itself, so that pieces pickled one by one can follow each other in one stream: each
# piece refers to its own entries alone. (Protocol 4 counts on from what the reader has seen.)
_PROTOCOL = 3
_HEAD = pickle.PROTO + bytes([_PROTOCOL])
_EMPTY_LIST = pickle.EMPTY_LIST
_LIST_IN_MEMO = pickle.EMPTY_LIST + pickle.BINPUT + b"\0"


def write_pickled_list(path: str | os.PathLike, pieces: Iterable[list[Any]]) -> None:
    """Write a pickle of one list, atomically; one piece is in memory at a time.

    Objects that entries share stay shared within a piece.

    Args:
        path: the file.
        pieces: lists whose entries follow each other.

    Raises:
        InputError: the disk refuses.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(_HEAD + _EMPTY_LIST)
        for piece in pieces:
            content = pickle.dumps(piece, _PROTOCOL)
            # What stands between "an empty list" and "the end" appends the entries to the list that is there.
            file.write(content.removeprefix(_HEAD + _LIST_IN_MEMO).removesuffix(pickle.STOP))
        file.write(pickle.STOP)
