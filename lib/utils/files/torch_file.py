"""Saving and loading torch files: atomic, weights-only; knows nothing about the model."""

from __future__ import annotations

import os
import zipfile
from typing import Any

import numpy as np
import torch

from lib.utils.errors import InputError
from lib.utils.files.atomic import atomic_path
from lib.utils.files.safe_pickle import NUMPY_CORES, numpy_scalar


def save_checkpoint(state: Any, path: str | os.PathLike) -> None:
    """Write a torch file under a temporary name, then rename it.

    Raises:
        InputError: the disk refuses; an existing file at `path` is untouched.
    """
    with atomic_path(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch reports a full disk this way
            raise OSError(str(error).splitlines()[0]) from error


def first_not_finite(state: Any, name: str = "") -> str | None:
    """Return the name of a tensor that holds NaN or an infinity, None where there is none.

    Args:
        state: tensors in dictionaries and sequences, nested; whatever else is in them does not count.
        name: of the state; the names of keys and places follow it, e.g. "state_dict.bn1.running_var".
    """
    if isinstance(state, torch.Tensor):
        # a sum, which needs no memory, is finite only if all values are; large ones may add up to an infinity
        finite = not state.is_floating_point() or state.sum().isfinite() or state.isfinite().all()
        return None if finite else name
    entries = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, (list, tuple)) else ()
    found = (first_not_finite(value, f"{name}.{key}" if name else str(key)) for key, value in entries)
    return next((place for place in found if place is not None), None)


def _numpy_scalars() -> list:
    # Released checkpoints hold the score as a NumPy scalar, which weights-only loading refuses by default.
    names = [(numpy_scalar(), f"{core}.multiarray.scalar") for core in NUMPY_CORES]
    names += [(_latin1, "_codecs.encode"), np.dtype]
    return names + [type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")]


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1")


def load_checkpoint(path: str | os.PathLike, map_location: Any = "cpu") -> Any:
    """Load a torch file without running foreign code.

    The tensors of a file in the zip format are mapped: they take memory when they are read, page by page, so that a
    checkpoint of gigabytes is never held beside the model it is copied into. Changing them leaves the file as it is.

    Args:
        path: a file of torch.save, in the zip or the old format.
        map_location: device of the tensors.

    Returns:
        The object: usually a state dict or a dict with `state_dict`.

    Raises:
        InputError: missing, cut off, not a torch file, or holding types other than tensors and plain values.
    """
    try:
        with torch.serialization.safe_globals(_numpy_scalars()):
            mapped = zipfile.is_zipfile(path)  # False too for what is missing or cut off
            return torch.load(path, map_location=map_location, weights_only=True, mmap=mapped)
    except FileNotFoundError:
        raise InputError(f"{path}: no such checkpoint") from None
    except Exception as error:  # a damaged file raises nearly anything
        reason = (str(error).strip() or type(error).__name__).splitlines()
        first = next((line for line in reason if "GLOBAL" in line), reason[0]).split(". ")[0]
        raise InputError(f"{path}: not a checkpoint, cut off, or holding foreign types ({first})") from None
