"""Processes that are started here: apart from the terminal; signals to them, and their end."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Any

_PR_SET_PDEATHSIG = 1  # of Linux's sys/prctl.h


def termination_signals() -> list[signal.Signals]:
    """Return the signals that ask this program to end: SIGHUP is none of them where nohup has switched it off."""
    under_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT] + ([] if under_nohup else [signal.SIGHUP])


def start_detached(command: Sequence[str], **options: Any) -> subprocess.Popen:
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


def leave_termination_to_parent() -> None:
    """Ignore, in a process of multiprocessing, what asks a whole group to end: the parent still needs this one.

    On Linux SIGTERM of the parent itself ends it, as multiprocessing expects; elsewhere anybody's does.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None and hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # left to the thread, which sees who sent it
        threading.Thread(target=_end_when_asked_by, args=(parent.pid,), daemon=True).start()


def _end_when_asked_by(process: int | None) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != process:
        pass
    os._exit(0)  # anything else would be reported as an error of this process


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
