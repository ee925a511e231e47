"""Scripts in processes that are forked from a server which has imported torch, so none spends 5 s on imports."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["torchvision", "scipy.optimize", "matplotlib.pyplot"])


class ForkedScript:
    """A running script, with the methods of subprocess.Popen that run_processes() calls.

    Args:
        command: interpreter, script and arguments; the interpreter is the one of this process.
        out: file of the standard output.
        err: file of the standard error.
        env: environment variables.
    """

    def __init__(self, command: Sequence[object], out: Path, err: Path, env: Mapping[str, str]) -> None:
        words = [str(word) for word in command[1:]]
        self._process = _CONTEXT.Process(target=_run, args=(words, out, err, dict(env), os.getcwd()))
        self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, None while the script runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("forked script", timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL to the process."""
        self._process.kill()


def run_ranks(count: int, script: Path, *words: object, folder: Path) -> list[str]:
    """Run a script in `count` processes, as torchrun does, and return what each wrote to its standard output.

    Args:
        count: number of processes.
        script: the script.
        words: its arguments.
        folder: where the outputs are kept.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    outs = [folder / f"rank{rank}.out" for rank in range(count)]
    errs = [path.with_suffix(".err") for path in outs]
    processes = [
        ForkedScript(["", script, *words], *files, {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, files in enumerate(zip(outs, errs, strict=True))
    ]
    codes = [process.wait(240) for process in processes]
    assert codes == [0] * count, [path.read_text() for path in errs]
    return [path.read_text() for path in outs]


def _run(words: list[str], out: Path, err: Path, env: dict[str, str], folder: str) -> None:
    """Become the script. The handling of signals is the one of a new interpreter."""
    import torch

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.argv = words
    torch.set_num_threads(1)
    for number, path in ((1, out), (2, err)):
        with open(path, "w") as file:
            os.dup2(file.fileno(), number)
    runpy.run_path(words[0], run_name="__main__")
