"""Reading of HDF5 files: names and attributes safely, rows without blocking other threads.

In a damaged text of variable length the HDF5 library may loop forever or allocate 4 GB, holding Python's global lock.
Files with such texts, or without checksums of their structure, are therefore first read in a child process with limits.
PredictionWriter writes checksums and texts of fixed length.

h5py also holds the global lock while it waits for the disk, which would stop the computation during read-ahead.
Contiguous, uncompressed rows are therefore read directly from the file.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_FIRST_WITH_CHECKSUMS = 2  # version of the superblock
_MAX_CPU_SECONDS = 10
_WAIT_PER_CPU_SECOND = 12  # for slow disks
_MAX_BYTES = 3 * 2**30


@dataclass(frozen=True)
class Hdf5Texts:
    """Small content of an HDF5 file.

    Attributes:
        columns: name of a dataset -> nested lists of numbers and texts; datasets that the file lacks are left out.
        attributes: name -> text; other attributes are left out.
    """

    columns: dict[str, list]
    attributes: dict[str, str]


def read_texts(path: str | os.PathLike, names: Sequence[str], cpu_seconds: int = _MAX_CPU_SECONDS) -> Hdf5Texts:
    """Read small datasets and the attributes of the file. Afterwards the file can be opened without a hang.

    Args:
        path: HDF5 file.
        names: datasets to read.
        cpu_seconds: limit of the child process.

    Raises:
        OSError, RuntimeError, ValueError, TypeError, AttributeError: the file is damaged, or not HDF5.
    """
    if _has_checksums(path):
        with h5py.File(path, "r") as file:
            if not _has_variable_texts(file, names):
                return _texts(file, names)
    return _texts_of_child(path, names, cpu_seconds)


def _has_checksums(path: str | os.PathLike) -> bool:
    """Return whether the structure of the file has checksums. In other files the signature may come later."""
    with open(path, "rb") as file:
        start = file.read(len(_SIGNATURE) + 1)
    return start[:-1] == _SIGNATURE and start[-1] >= _FIRST_WITH_CHECKSUMS


def _has_variable_texts(file: h5py.File, names: Sequence[str]) -> bool:
    types = [file[name].dtype for name in names if isinstance(file.get(name), h5py.Dataset)]
    types += [file.attrs.get_id(name).dtype for name in file.attrs]
    return any(kind.hasobject for kind in types)


def _texts(file: h5py.File, names: Sequence[str]) -> Hdf5Texts:
    columns = {name: _plain(file[name][:]) for name in names if name in file}
    found = {name: _plain(value) for name, value in file.attrs.items() if isinstance(value, str | bytes)}
    return Hdf5Texts(columns, found)


def _plain(value: Any) -> Any:
    """Return an array or a text as lists and str."""
    if isinstance(value, np.ndarray):
        return [_plain(entry) for entry in value] if value.dtype.kind in "OS" else value.tolist()
    return value.decode() if isinstance(value, bytes) else value


def _texts_of_child(path: str | os.PathLike, names: Sequence[str], cpu_seconds: int) -> Hdf5Texts:
    child = subprocess.Popen(
        [sys.executable, "-P", __file__, str(cpu_seconds), os.path.abspath(path), *names],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},  # less memory
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        answer = json.loads(child.communicate(timeout=_WAIT_PER_CPU_SECOND * cpu_seconds)[0])
    except (subprocess.TimeoutExpired, ValueError):  # killed, or without an answer
        raise OSError(f"its names cannot be read within {cpu_seconds} s and {_MAX_BYTES >> 30} GB") from None
    finally:
        child.kill()
        child.wait()
    if "error" in answer:
        raise OSError(answer["error"])
    return Hdf5Texts(**answer)


def _answer(path: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the content as the child process prints it; walk through the structure as a reader does."""
    try:
        with h5py.File(path, "r") as file:
            for dataset in file.values():
                if isinstance(dataset, h5py.Dataset) and dataset.chunks:
                    dataset.id.get_num_chunks()
            return vars(_texts(file, names))
    except (OSError, KeyError, RuntimeError, AttributeError, TypeError, ValueError, MemoryError) as error:
        return {"error": str(error)}


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


def _limit(cpu_seconds: int) -> None:
    """Limit CPU time and memory of this process."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, limit in ((resource.RLIMIT_CPU, cpu_seconds), (resource.RLIMIT_AS, _MAX_BYTES)):
        hard = resource.getrlimit(kind)[1]
        if hard == resource.RLIM_INFINITY or limit < hard:  # else the system's own limit is lower
            with contextlib.suppress(ValueError, OSError):  # macOS cannot limit the memory
                resource.setrlimit(kind, (limit, hard))


if __name__ == "__main__":
    _limit(int(sys.argv[1]))
    print(json.dumps(_answer(sys.argv[2], sys.argv[3:])))
