"""Processes that were started here: signals to them, and their end."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence


def send_signal(processes: Sequence[subprocess.Popen], number: int) -> None:
    """Send a signal to those that still run."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def end_processes(processes: Sequence[subprocess.Popen], grace_seconds: float) -> None:
    """End what still runs: politely, then, after some seconds for all of them together, not."""
    send_signal(processes, signal.SIGTERM)
    until = time.monotonic() + grace_seconds
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
