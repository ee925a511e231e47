"""Parallel map over processes with results in order."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import cv2

from lib.utils.errors import InputError

Task = TypeVar("Task")


def map_processes(function: Callable[[Task], Any], tasks: Sequence[Task], workers: int) -> Iterator[Any]:
    """Yield function(task) for all tasks in their order.

    Args:
        function: importable function; exceptions are raised in this process.
        tasks: arguments that can be pickled.
        workers: number of processes; 1 uses this process.

    Raises:
        InputError: fewer than 1 worker, or a worker was killed.
    """
    if workers < 1:
        raise InputError(f"--workers: expected at least 1, received {workers}")
    if workers == 1:
        yield from map(function, tasks)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool:
        try:
            yield from pool.map(function, tasks)
        except BrokenProcessPool:
            raise InputError("--workers: a process was killed, probably because memory ran out; use fewer") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    cv2.setNumThreads(1)  # parallelism comes from the processes
