"""One process per device, started by the script itself; several machines take torchrun. Imports no torch."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import IO

from lib.utils.errors import Interrupted, ProcessLost
from lib.utils.parallel.processes import end_processes, send_signal, start_detached, termination_signals

REPORTED_BY_LAUNCHER = "LAUNCHER_REPORTS"  # set for the processes: the launcher says which of them was lost
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 60.0  # for a process to finish its step and to write a checkpoint


def run_processes(count: int, if_lost: str) -> int:
    """Run this very command in `count` processes that work together, and wait for them.

    Signals reach them through this one alone, each of them once. When one process ends with an error, the others are
    ended too; what the processes but the first one say on stderr is shown only if the first one did not fail by itself.

    Args:
        count: number of processes.
        if_lost: what the loss of a process means, for the end of ProcessLost's message.

    Returns:
        The exit code: 0, 2 for bad input (a process said which), or Interrupted's.

    Raises:
        ProcessLost: a process ended otherwise.
    """
    # what torchrun tells its own processes would lead ours to its meeting point
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TORCHELASTIC_")}
    environment = {
        **inherited,
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        REPORTED_BY_LAUNCHER: "1",
    }
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    environment["LOCAL_WORLD_SIZE"] = str(count)
    with tempfile.TemporaryDirectory() as folder:
        errors = [None, *(open(os.path.join(folder, str(rank)), "w+") for rank in range(1, count))]  # noqa: SIM115
        processes = [
            start_detached(
                [sys.executable, *sys.argv],
                stderr=errors[rank],
                env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(count)
        ]
        previous = {
            number: signal.signal(number, lambda received, _: send_signal(processes, received))
            for number in termination_signals()
        }
        try:
            return _wait(processes, errors, if_lost)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            end_processes(processes, _GRACE_SECONDS)
            for file in errors[1:]:
                file.close()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _wait(processes: Sequence[subprocess.Popen], errors: Sequence[IO | None], if_lost: str) -> int:
    calm = (None, 0, Interrupted.exit_code)
    while True:
        codes = [process.poll() for process in processes]
        if any(code not in calm for code in codes):
            time.sleep(5 * _POLL_SECONDS)  # who failed first may be seen second
            return _failure([process.poll() for process in processes], errors, if_lost)
        if None not in codes:
            return max(codes)
        time.sleep(_POLL_SECONDS)


def _failure(codes: Sequence[int | None], errors: Sequence[IO | None], if_lost: str) -> int:
    """Find the process that failed by itself: the others have lost contact with it."""
    by_itself = [
        rank for rank, code in enumerate(codes) if code not in (None, 0, Interrupted.exit_code, ProcessLost.exit_code)
    ]
    rank = by_itself[0] if by_itself else next(rank for rank, code in enumerate(codes) if code)
    code = codes[rank]
    if errors[rank] is not None:
        errors[rank].seek(0)
        sys.stderr.write(errors[rank].read())
    if code == 2:
        return 2
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    raise ProcessLost(f"process {rank} of {len(codes)} {how}; {if_lost}")
