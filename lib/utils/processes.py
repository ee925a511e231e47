"""Processes that are started here: apart from the terminal; signals to them, and their end."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Any

_PR_SET_PDEATHSIG = 1  # of Linux's sys/prctl.h


def ending_signals() -> list[signal.Signals]:
    """Return the signals that ask this program to end: SIGHUP is none of them where nohup has switched it off."""
    under_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT] + ([] if under_nohup else [signal.SIGHUP])


def start_apart(command: Sequence[str], **options: Any) -> subprocess.Popen:
    """Start a process in a session of its own: signals of the terminal reach this one alone, which passes them on.

    When this one ends without having ended it, killed perhaps, it receives SIGTERM (on Linux).

    Args:
        command: the program and its arguments.
        options: of subprocess.Popen.
    """
    return subprocess.Popen(command, start_new_session=True, preexec_fn=_end_with_parent, **options)


def _end_with_parent() -> None:
    with contextlib.suppress(AttributeError):  # elsewhere there is no such call
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


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
