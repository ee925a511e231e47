"""Launcher: one process per device on this machine; several machines need torchrun. Imports no torch."""

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

REPORTED_BY_LAUNCHER = "LAUNCHER_REPORTS"  # environment variable of the processes: the launcher reports lost ones
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 60.0  # time for a process to finish its step and write a checkpoint


def run_processes(count: int, if_lost: str) -> int:
    """Run the current command in `count` processes and wait for them.

    Signals are forwarded, each once per process. If a process fails, the others are ended. The stderr of ranks other
    than 0 is shown only if that rank is the one that failed.

    Args:
        count: number of processes.
        if_lost: consequence of a lost process, end of the message of ProcessLost.

    Returns:
        The exit code: 0, 2 for bad input (reported by a process), or the one of Interrupted.

    Raises:
        ProcessLost: a process ended in any other way.
    """
    # the rendezvous of a surrounding torchrun must not reach these processes
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
    healthy = (None, 0, Interrupted.exit_code)
    while True:
        codes = [process.poll() for process in processes]
        if any(code not in healthy for code in codes):
            time.sleep(5 * _POLL_SECONDS)  # the process that failed first may not be the first one seen
            return _failure([process.poll() for process in processes], errors, if_lost)
        if None not in codes:
            return max(codes)
        time.sleep(_POLL_SECONDS)


def _failure(codes: Sequence[int | None], errors: Sequence[IO | None], if_lost: str) -> int:
    """Report the process that failed first; the others only lost contact with it."""
    consequences = (None, 0, Interrupted.exit_code, ProcessLost.exit_code)
    failed = [rank for rank, code in enumerate(codes) if code not in consequences]
    rank = failed[0] if failed else next(rank for rank, code in enumerate(codes) if code)
    code = codes[rank]
    if errors[rank] is not None:
        errors[rank].seek(0)
        sys.stderr.write(errors[rank].read())
    if code == 2:
        return 2
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    raise ProcessLost(f"process {rank} of {len(codes)} {how}; {if_lost}")
