"""Choice of the backend on the CPU: numba's kernels if numba is installed, else numpy."""

import logging

from lib.multiviews.pictorial.backend_numpy import NumpyBackend

logger = logging.getLogger(__name__)


def make_cpu_backend(num_threads: int | None = None) -> NumpyBackend:
    """Return the fastest backend for numpy arrays. Without numba, a log line names the remedy.

    Args:
        num_threads: None = number of usable processors.
    """
    try:
        from lib.multiviews.pictorial.backend_numba import NumbaBackend
    except ImportError as error:
        logger.warning("numba cannot be used (%s); the 3D step is several times slower: pip install numba", error)
        return NumpyBackend(num_threads)
    return NumbaBackend(num_threads)
