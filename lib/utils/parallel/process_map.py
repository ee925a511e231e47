"""Work in several processes, results in order."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import cv2

from lib.utils.errors import InputError

Task = TypeVar("Task")


def map_processes(function: Callable[[Task], Any], tasks: Sequence[Task], workers: int) -> Iterator[Any]:
    """Yield function(task) of all tasks in their order.

    Args:
        function: importable by name, for it is called in other processes.
        tasks: anything that can be pickled.
        workers: processes; 1 works in this one.

    Raises:
        InputError: fewer than 1 worker, a process was killed, or what `function` raises.
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
            raise InputError("--workers: a process was killed, most likely for want of memory; use fewer") from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    cv2.setNumThreads(1)  # the processes are the parallelism
