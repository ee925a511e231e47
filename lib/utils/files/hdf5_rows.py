"""Rows of an HDF5 dataset, read without blocking other threads.

h5py holds Python's global lock while it waits for the disk, which would stop the computation during read-ahead.
Contiguous, uncompressed rows are therefore read directly from the file.
"""

import os
from collections.abc import Callable

import h5py
import numpy as np


def read_rows(
    dataset: h5py.Dataset, start: int, stop: int, allocate: Callable[..., np.ndarray] = np.empty
) -> np.ndarray:
    """Return dataset[start:stop].

    Args:
        dataset: the dataset.
        start, stop: rows.
        allocate: (shape, type) -> array that receives rows which are read directly, e.g. in pinned memory.

    Raises:
        OSError: the file is damaged or truncated.
        RuntimeError: the HDF5 index of the dataset is damaged.
    """
    start, stop, _ = slice(start, stop).indices(len(dataset))
    pieces = _pieces(dataset, start, max(start, stop))
    if pieces is None:
        return dataset[start:stop]
    rows = allocate((max(stop - start, 0), *dataset.shape[1:]), dataset.dtype)
    buffer = memoryview(rows.reshape(-1).view(np.uint8))
    handle = dataset.file.id.get_vfd_handle()  # the open file, even if its name has been replaced
    filled = 0
    for offset, size in pieces:
        end = filled + size
        shift = offset - filled
        while filled < end:
            count = os.preadv(handle, [buffer[filled:end]], filled + shift)
            if not count:
                raise OSError(f"the file ends within row {start + filled * len(rows) // len(buffer)}")
            filled += count
    return rows


def _pieces(dataset: h5py.Dataset, start: int, stop: int) -> list[tuple[int, int]] | None:
    """Return (offset, size) in bytes of the file parts that hold the rows; None if only h5py can read them."""
    row_size = dataset.dtype.itemsize * int(np.prod(dataset.shape[1:]))
    file = dataset.file
    if file.driver != "sec2" or file.userblock_size or not hasattr(os, "preadv"):
        return None
    if dataset.dtype.hasobject or dataset.is_virtual or dataset.external or not row_size:
        return None
    if dataset.chunks is None:
        offset = dataset.id.get_offset()  # None: compact layout, or nothing was written
        return None if offset is None else [(offset + start * row_size, (stop - start) * row_size)]
    if dataset.chunks[1:] != dataset.shape[1:] or dataset.id.get_create_plist().get_nfilters():
        return None
    pieces = []
    step = dataset.chunks[0]
    for first in range(start - start % step, stop, step):
        offset = dataset.id.get_chunk_info_by_coord((first,) + (0,) * (dataset.ndim - 1)).byte_offset
        if offset is None:
            return None
        begin = max(first, start)
        end = min(first + step, stop)
        pieces.append((offset + (begin - first) * row_size, (end - begin) * row_size))
    return pieces
