"""Decorator for functions that numba compiles, with a cache on disk that follows the sources.

numba's own cache notices changes of the compiled function's file only, not of the functions and constants that it
takes from other files. So each state of the files of lib/multiviews has its own cache folder.
"""

import functools
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numba

logger = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parent


def compiled(fastmath: bool | set[str] = False) -> Callable[[Callable], Callable]:
    """Return a decorator for functions called from Python. The first call compiles; the result is kept on disk.

    The function runs without Python's interpreter lock, so threads run in parallel.

    Args:
        fastmath: allowed changes of floating point operations, see numba.njit().
    """

    def decorate(function: Callable) -> Callable:
        folder = cache_folder()
        if folder is None:
            return numba.njit(nogil=True, fastmath=fastmath, error_model="numpy")(function)
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(folder)  # numba reads it when a function is decorated
        try:
            return numba.njit(nogil=True, fastmath=fastmath, error_model="numpy", cache=True)(function)
        finally:
            numba.config.CACHE_DIR = before

    return decorate


def inner(fastmath: bool | set[str] = False) -> Callable[[Callable], Callable]:
    """Return a decorator for functions called from compiled functions only; they compile faster."""
    return numba.njit(fastmath=fastmath, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@functools.cache
def cache_folder() -> Path | None:
    """Return the folder of the compiled functions: in NUMBA_CACHE_DIR, next to the sources, or in the user's cache.

    If none of them can be written, returns None with a log line; every process then compiles the functions again.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    parents = [Path(chosen)] if chosen else [_PACKAGE / "__pycache__", Path.home() / ".cache" / "cross-view-fusion"]
    for parent in parents:
        folder = parent / f"numba-{_digest_of_sources()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    logger.info("compiled functions: no writable cache in %s; set NUMBA_CACHE_DIR", ", ".join(map(str, parents)))
    return None


def _digest_of_sources() -> str:
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
