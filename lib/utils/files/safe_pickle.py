"""Safe loading of pickles through an allow-list of NumPy and SciPy types.

A pickle can name any importable function. Only the names below are looked up. They cover files of NumPy 1 and 2, of old
and new SciPy and of Python 2 and 3.

A pickle can also set any state of the objects it builds, and NumPy trusts that state: a forged dtype turns numbers of
the file into memory addresses. Stand-ins for the NumPy and SciPy types therefore check the state first.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import gc
import math
import os
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lib.utils.errors import InputError

NUMPY_CORES = ("numpy.core", "numpy._core")  # NumPy 1, NumPy 2
_CSR_MODULES = ("scipy.sparse.csr", "scipy.sparse._csr", "scipy.sparse")


def numpy_scalar() -> Callable[..., Any]:
    """Return the function that rebuilds pickled NumPy scalars; its module differs between NumPy versions."""
    return np.float64(0).__reduce__()[0]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    # Python 3 writes bytes in protocol 2 as a latin1 string and this call.
    if encoding not in ("latin1", "latin-1", "utf-8"):
        raise pickle.UnpicklingError(f"codec '{encoding}' is not allowed")
    return text.encode(encoding)


def _reconstructor(cls: type, base: type, state: Any) -> Any:
    # Protocols 0 and 1 call it for plain objects. Both classes have passed the allow-list.
    if base is not object or state is not None:
        raise pickle.UnpicklingError("only plain objects can be rebuilt")
    return object.__new__(cls)


class _Dtype:
    """Stand-in for numpy.dtype: plain numbers, text and objects, no structured layout."""

    __slots__ = ("value",)

    def __init__(self, name: str, *_: Any) -> None:
        self.value = np.dtype(name)
        if self.value.kind not in "biufcSUO":
            raise pickle.UnpicklingError(f"arrays of type {self.value} are not allowed")

    def __setstate__(self, state: tuple) -> None:
        _version, order, subdtype, names, fields, *_ = state
        if (subdtype, names, fields) != (None, None, None):
            raise pickle.UnpicklingError("arrays with fields are not allowed")
        self.value = self.value.newbyteorder(order)


class _Array(np.ndarray):
    """Stand-in for numpy.ndarray that checks its state."""

    __slots__ = ()

    def __new__(cls, *_: Any) -> _Array:  # numpy's constructor could take the memory of another array
        raise pickle.UnpicklingError("arrays must be rebuilt by numpy's _reconstruct")

    def __setstate__(self, state: tuple) -> None:
        version, shape, dtype, fortran, data = state
        # A filled array must not be filled again, because views of it may exist. Numpy compares the number of bytes
        # with the shape, but not the length of a list of objects.
        good = not self.size and type(dtype) is _Dtype and type(shape) is tuple and min(shape, default=0) >= 0
        if good and dtype.value.hasobject:
            good = type(data) is list and len(data) == math.prod(shape)
        elif good:
            good = type(data) in (bytes, str)
        if not good:
            raise pickle.UnpicklingError("an array has a form that numpy does not write")
        np.ndarray.__setstate__(self, (version, shape, dtype.value, fortran, data))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.view(np.ndarray).__reduce_ex__(protocol)  # pickled again, it is a plain array


def _reconstruct(cls: Any, *_: Any) -> _Array:
    if cls is not _Array:
        raise pickle.UnpicklingError("only arrays can be rebuilt")
    return np.ndarray.__new__(_Array, 0, np.int8)


def _scalar(dtype: _Dtype, data: bytes | str) -> np.generic:
    if dtype.value.hasobject or type(data) not in (bytes, str):
        raise pickle.UnpicklingError("a scalar has a form that numpy does not write")
    return numpy_scalar()(dtype.value, data)


def _frombuffer(data: bytes | bytearray, dtype: _Dtype, shape: tuple, order: str) -> np.ndarray:
    if type(data) not in (bytes, bytearray):  # the memory of another array could change later
        raise pickle.UnpicklingError("an array has a form that numpy does not write")
    return np.frombuffer(data, dtype.value).reshape(shape, order=order)


@functools.cache
def _csr(name: str) -> type:
    """Return a stand-in for scipy's csr_matrix or csr_array."""
    import scipy.sparse  # slow import that only limb priors need

    class Csr(getattr(scipy.sparse, name)):
        def __init__(self, *words: Any, **options: Any) -> None:
            super().__init__(*words, **options)
            self.check_format(full_check=True)  # scipy's C code trusts the indices

        def __setstate__(self, state: dict[str, Any]) -> None:
            self.__init__((state["data"], state["indices"], state["indptr"]), shape=state["_shape"])

    return Csr


def _allowed() -> dict[tuple[str, str], Any]:
    table: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("_codecs", "encode"): _encode,
    }
    for core in NUMPY_CORES:
        table[core + ".multiarray", "_reconstruct"] = _reconstruct
        table[core + ".multiarray", "scalar"] = _scalar
        table[core + ".numeric", "_frombuffer"] = _frombuffer
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
            return _csr(name)
        raise pickle.UnpicklingError(f"'{module}.{name}' is not an allowed numpy or scipy type")


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the garbage collector, which would traverse millions of records repeatedly and free nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def load_pickle(path: str | os.PathLike) -> Any:
    """Load a pickle of built-in containers, numpy arrays and scipy CSR matrices.

    Raises:
        InputError: the file is missing, truncated, not a pickle, or names a type outside the allow-list.
    """
    try:
        with open(path, "rb") as file, _no_collection():
            return _SafeUnpickler(file, encoding="latin1").load()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except EOFError:
        raise InputError(f"{path}: the pickle is truncated or empty") from None
    except Exception as error:  # damaged pickles raise nearly anything
        raise InputError(f"{path}: refused or damaged pickle: {str(error) or type(error).__name__}") from None
