"""Pickles from elsewhere, loaded through an allow-list of numpy and scipy types.

A pickle can name any importable function; only the names below are ever looked up. They cover files written
under numpy 1 and 2, scipy's old and new module names, Python 2 and 3.
"""

from __future__ import annotations

import collections
import os
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from lib.utils.checks import InputError

NUMPY_CORES = ("numpy.core", "numpy._core")  # of numpy 1 and 2
_CSR_MODULES = ("scipy.sparse.csr", "scipy.sparse._csr", "scipy.sparse")


def numpy_scalar() -> Callable[..., Any]:
    """Return the function that pickles of NumPy scalars call; its module differs between NumPy versions."""
    return np.float64(0).__reduce__()[0]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    # Python 3 writes bytes in protocol 2 as a latin1 string and this call; other codecs stay closed.
    if encoding not in ("latin1", "latin-1", "utf-8"):
        raise pickle.UnpicklingError(f"codec '{encoding}' is not allowed")
    return text.encode(encoding)


def _reconstructor(cls: type, base: type, state: Any) -> Any:
    # What protocol 0 and 1 call for a plain object; both classes went through the allow-list.
    if base is not object or state is not None:
        raise pickle.UnpicklingError("only plain objects can be rebuilt")
    return object.__new__(cls)


def _allowed() -> dict[tuple[str, str], Any]:
    # What numpy's own pickles call, wherever this version keeps it.
    reconstruct, frombuffer = np.zeros(1).__reduce__()[0], np.zeros(1).__reduce_ex__(5)[0]
    table: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("_codecs", "encode"): _encode,
    }
    for core in NUMPY_CORES:
        table[core + ".multiarray", "_reconstruct"] = reconstruct
        table[core + ".multiarray", "scalar"] = numpy_scalar()
        table[core + ".numeric", "_frombuffer"] = frombuffer
    for module in ("copy_reg", "copyreg"):
        table[module, "_reconstructor"] = _reconstructor
    for module in ("__builtin__", "builtins"):
        table[module, "object"] = object
    return table


_ALLOWED = _allowed()


class _SafeUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module in _CSR_MODULES and name in ("csr_matrix", "csr_array"):
            import scipy.sparse  # only the limb prior needs it

            return getattr(scipy.sparse, name)
        raise pickle.UnpicklingError(f"it holds '{module}.{name}', which is no allowed numpy or scipy type")


def load_pickle(path: str | os.PathLike) -> Any:
    """Load a pickle that holds only built-in containers, numpy arrays and scipy CSR matrices.

    Args:
        path: the file.

    Returns:
        The object.

    Raises:
        InputError: the file is missing, cut off, not a pickle, or names a type outside the allow-list.
    """
    try:
        with open(path, "rb") as file:
            return _SafeUnpickler(file, encoding="latin1").load()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except EOFError:
        raise InputError(f"{path}: the pickle is cut off or empty") from None
    except Exception as error:  # damaged pickles raise nearly anything
        raise InputError(f"{path}: refused or damaged pickle: {str(error) or type(error).__name__}") from None
