"""A pickled list that is written piece by piece, for lists that do not fit into memory twice."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterable
from typing import Any

from lib.utils.files.atomic import atomic_path
from lib.utils.files.portable_pickle import PortablePickler

# Protocol 3 numbers its memo itself, so that pieces pickled one by one can follow each other in one stream: each
# piece refers to its own entries alone, and to the names at the beginning. (Protocol 4 counts on from what the reader
# has seen.)
_PROTOCOL = 3


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
        file.write(PortablePickler(io.BytesIO(), _PROTOCOL).head + pickle.EMPTY_LIST)
        for piece in pieces:
            content = io.BytesIO()
            pickler = PortablePickler(content, _PROTOCOL)
            pickler.dump(piece)
            # What stands between "an empty list" and "the end" appends the entries to the list that is there.
            start = pickle.PROTO + bytes([_PROTOCOL]) + pickle.EMPTY_LIST + pickle.BINPUT + bytes([pickler.num_names])
            file.write(content.getvalue().removeprefix(start).removesuffix(pickle.STOP))
        file.write(pickle.STOP)
