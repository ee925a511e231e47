"""Torch files: saved atomically, loaded without running code of the file."""

import os
import shutil
import warnings
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from lib.utils.errors import InputError
from lib.utils.files.atomic import atomic_path
from lib.utils.files.safe_pickle import NUMPY_CORES, numpy_scalar

_FULL_BYTES = 2**24  # free space from which a failed write means a full disk


def save_checkpoint(state: Any, path: str | os.PathLike) -> None:
    """Write a torch file atomically.

    Raises:
        InputError: the file cannot be written; an existing file is kept.
    """
    with atomic_path(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch reports a full disk this way
            is_full = shutil.disk_usage(temporary.parent).free < _FULL_BYTES
            raise OSError("the disk is full" if is_full else str(error).splitlines()[0]) from error


def tensors_of(state: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (name, tensor) of all tensors.

    Args:
        state: nested dictionaries and sequences; other values are skipped.
        name: prefix of the names, e.g. "state_dict" for "state_dict.bn1.running_var".
    """
    if isinstance(state, torch.Tensor):
        yield name, state
    entries = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, (list, tuple)) else ()
    for key, value in entries:
        yield from tensors_of(value, f"{name}.{key}" if name else str(key))


def first_not_finite(state: Any) -> str | None:
    """Return the name of the first tensor with NaN or an infinity, see tensors_of(), or None."""
    return next((name for name, tensor in tensors_of(state) if not _is_finite(tensor)), None)


def _is_finite(tensor: torch.Tensor) -> bool:
    # A finite sum, which needs no memory, implies finite values. Large values may sum to an infinity.
    return bool(not tensor.is_floating_point() or tensor.sum().isfinite() or tensor.isfinite().all())


def _numpy_scalars() -> list:
    # Checkpoints of the original code hold the score as a NumPy scalar, which weights-only loading refuses.
    names = [(numpy_scalar(), f"{core}.multiarray.scalar") for core in NUMPY_CORES]
    names += [(_latin1, "_codecs.encode"), np.dtype]
    return names + [type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")]


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1")


def load_checkpoint(path: str | os.PathLike, map_location: Any = "cpu") -> Any:
    """Load a torch file without running code of the file.

    Tensors of the zip format are memory-mapped: a large checkpoint is read page by page while it is copied into the
    model. Changes of the tensors do not reach the file.

    Args:
        path: file of torch.save, in the zip or the old format.
        map_location: device of the tensors.

    Returns:
        The object, usually a state dict or a dict with `state_dict`.

    Raises:
        InputError: the file is missing, truncated, no torch file, or holds other types than tensors and plain values.
    """
    try:
        with torch.serialization.safe_globals(_numpy_scalars()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on sparse tensors, which the caller refuses
            mapped = zipfile.is_zipfile(path)  # False for missing or truncated files
            return torch.load(path, map_location=map_location, weights_only=True, mmap=mapped)
    except FileNotFoundError:
        raise InputError(f"{path}: no such checkpoint") from None
    except Exception as error:  # damaged files raise nearly any exception
        reason = (str(error).strip() or type(error).__name__).splitlines()
        first = next((line for line in reason if "GLOBAL" in line), reason[0]).split(". ")[0]
        raise InputError(f"{path}: not a checkpoint, truncated, or with foreign types ({first})") from None
