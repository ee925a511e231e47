"""Child processes: start, termination and signals."""

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

_PR_SET_PDEATHSIG = 1  # Linux: sys/prctl.h


def usable_processors() -> int:
    """Return the number of processors available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def termination_signals() -> list[signal.Signals]:
    """Return the signals that ask this program to end. Under nohup, SIGHUP is not one of them."""
    under_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT] + ([] if under_nohup else [signal.SIGHUP])


def start_detached(command: Sequence[str], **options: Any) -> subprocess.Popen:
    """Start a process in a new session. Signals of the terminal then reach this process only, which forwards them.

    On Linux the process receives SIGTERM when this process ends, even if it is killed.

    Args:
        command: program and arguments.
        options: options of subprocess.Popen.
    """
    return subprocess.Popen(command, start_new_session=True, preexec_fn=_end_with_parent, **options)


def _end_with_parent() -> None:
    with contextlib.suppress(AttributeError):  # prctl exists on Linux only
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def leave_termination_to_parent() -> None:
    """Ignore signals that ask the whole process group to end, because the parent still needs this process.

    On Linux only the parent's SIGTERM ends this process, as multiprocessing expects. Elsewhere any SIGTERM does.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None and hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # the thread receives it with its sender
        threading.Thread(target=_end_when_asked_by, args=(parent.pid,), daemon=True).start()


def _end_when_asked_by(process: int | None) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != process:
        pass
    os._exit(0)  # torch reports any other end as an error of this process


def send_signal(processes: Sequence[subprocess.Popen], number: int) -> None:
    """Send a signal to the running processes."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def end_processes(processes: Sequence[subprocess.Popen], grace_seconds: float) -> None:
    """Terminate processes and kill those that still run after a common grace period."""
    send_signal(processes, signal.SIGTERM)
    until = time.monotonic() + grace_seconds
    for process in processes:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
