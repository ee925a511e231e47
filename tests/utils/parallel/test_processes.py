from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time

from lib.utils.parallel.processes import end_processes, leave_termination_to_parent


def start(code: str) -> subprocess.Popen:
    code = f"import signal, time\n{code}\nprint(flush=True)\ntime.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def test_end_processes_terminates_then_kills():
    polite = start("signal.signal(signal.SIGTERM, lambda *_: exit(75))")
    deaf = start("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    over = subprocess.Popen([sys.executable, "-c", ""])
    over.wait()
    end_processes([polite, deaf, over], 2.0)
    assert (polite.returncode, deaf.returncode, over.returncode) == (75, -signal.SIGKILL, 0)
    for process in (polite, deaf):
        process.stdout.close()


def work(begun):
    leave_termination_to_parent()
    begun.set()
    time.sleep(60)


def test_leave_termination_to_parent_ignores_signals_of_others():
    context = multiprocessing.get_context("fork")
    begun = context.Event()
    process = context.Process(target=work, args=(begun,), daemon=True)
    process.start()
    assert begun.wait(10)
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(process.pid, number)
    subprocess.run(["kill", "-TERM", str(process.pid)], check=True)
    process.join(0.2)
    assert process.is_alive()
    process.terminate()
    process.join(10)
    assert process.exitcode == 0
