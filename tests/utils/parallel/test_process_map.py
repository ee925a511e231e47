from __future__ import annotations

import signal

import pytest

from lib.utils.errors import InputError
from lib.utils.parallel.process_map import map_processes


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers):
    assert list(map_processes(abs, [-3, 2, -1, 0], workers)) == [3, 2, 1, 0]


def test_an_error_of_the_task_arrives():
    with pytest.raises(TypeError):
        list(map_processes(abs, [-3, "x"], 2))


def test_no_workers_and_killed_workers():
    with pytest.raises(InputError, match="--workers: expected at least 1, received 0"):
        list(map_processes(abs, [1], 0))
    with pytest.raises(InputError, match="--workers: a process was killed"):
        list(map_processes(signal.raise_signal, [signal.SIGKILL, signal.SIGKILL], 2))
