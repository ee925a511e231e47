from __future__ import annotations

import signal
import subprocess
import sys

from lib.utils.processes import end_processes


def start(code: str) -> subprocess.Popen:
    code = f"import signal, time\n{code}\nprint(flush=True)\ntime.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def test_politely_then_not():
    polite = start("signal.signal(signal.SIGTERM, lambda *_: exit(75))")
    deaf = start("signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    over = subprocess.Popen([sys.executable, "-c", ""])
    over.wait()
    end_processes([polite, deaf, over], 2.0)
    assert (polite.returncode, deaf.returncode, over.returncode) == (75, -signal.SIGKILL, 0)
    for process in (polite, deaf):
        process.stdout.close()
