"""Pickles that every version of NumPy and SciPy loads, including the versions of the original code's time.

NumPy 2 and recent SciPy pickle their objects under the names of private modules that older versions lack. The public
and older names, which all versions know, replace them. Pickle protocol 3 writes names as plain text, which allows this.
"""

import os
import pickle
from collections.abc import Iterable
from typing import Any

from lib.utils.files.atomic import atomic_path, write_bytes

_PROTOCOL = 3
_EMPTY_LIST = pickle.PROTO + bytes([_PROTOCOL]) + pickle.EMPTY_LIST
_PORTABLE_NAMES = {
    b"cnumpy._core.multiarray\n": b"cnumpy.core.multiarray\n",
    b"cscipy.sparse._csr\ncsr_matrix\n": b"cscipy.sparse\ncsr_matrix\n",
}


def write_pickle(path: str | os.PathLike, value: Any) -> None:
    """Write a pickle atomically; Python 3 of any version loads it."""
    write_bytes(path, _dumps(value))


def write_pickled_list(path: str | os.PathLike, pieces: Iterable[list[Any]]) -> None:
    """Write one pickled list atomically, with one piece in memory at a time.

    Pickling the 1.56 million records of Human3.6M at once would take 15 GB of memory.

    Args:
        path: the final file.
        pieces: consecutive parts of the list. Objects that records share stay shared within a piece.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(_EMPTY_LIST)
        for piece in pieces:
            # Between the creation of the list and the end of the pickle are the operations that append to the list.
            # Their references count from the beginning of the piece, as protocol 3 writes them.
            file.write(_dumps(piece).removeprefix(_EMPTY_LIST + pickle.BINPUT + b"\0").removesuffix(pickle.STOP))
        file.write(pickle.STOP)


def _dumps(value: Any) -> bytes:
    content = pickle.dumps(value, _PROTOCOL)
    for name, portable in _PORTABLE_NAMES.items():
        content = content.replace(name, portable)
    return content
