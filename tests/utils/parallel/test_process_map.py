from __future__ import annotations

import signal

import pytest

from lib.utils.errors import InputError
from lib.utils.parallel.process_map import map_processes


@pytest.mark.parametrize("workers", [1, 2])
def test_map_processes_results_are_in_order(workers):
    assert list(map_processes(abs, [-3, 2, -1, 0], workers)) == [3, 2, 1, 0]


def test_map_processes_error_of_a_task_is_raised():
    with pytest.raises(TypeError):
        list(map_processes(abs, [-3, "x"], 2))


def test_map_processes_no_or_killed_workers_are_an_input_error():
    with pytest.raises(InputError, match="--workers: expected at least 1, received 0"):
        list(map_processes(abs, [1], 0))
    with pytest.raises(InputError, match="--workers: a process was killed"):
        list(map_processes(signal.raise_signal, [signal.SIGKILL, signal.SIGKILL], 2))
