from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from lib.utils.errors import InputError
from lib.utils.files.directory_lock import locked_directory

HOLD = """
import subprocess, sys, pathlib
from lib.utils.files.directory_lock import locked_directory
inherited = sys.argv[2] == "True"
with locked_directory(pathlib.Path(sys.argv[1]), inherited=inherited) as lock:
    child = subprocess.Popen(["sleep", "60"], pass_fds=[lock], stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """holder(inherited) starts a process that holds the lock and passes it to a child process."""
    started = []

    def start(inherited):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path), str(inherited)],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[3],
        )
        started.append((process, process.stdout.readline().strip()))
        return process

    yield start
    for process, child in started:
        process.kill()
        process.communicate()
        subprocess.run(["kill", child], check=False)


@pytest.mark.parametrize("inherited", [False, True])
def test_locked_directory_second_process_is_refused(holder, tmp_path, inherited):
    process = holder(inherited)
    with (
        pytest.raises(InputError, match=rf"{tmp_path.name}: another process works there; take another$"),
        locked_directory(tmp_path, "take another", inherited),
    ):
        pass
    process.kill()
    process.wait()
    if inherited:  # the child may still write
        with pytest.raises(InputError, match=r"another process works there$"), locked_directory(tmp_path, "", True):
            pass
    else:
        with locked_directory(tmp_path) as lock:
            assert lock > 2


def test_locked_directory_without_lock_support_warns(tmp_path, monkeypatch, caplog):
    def refuse(*words):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with locked_directory(tmp_path / "new/folder"):
        assert (tmp_path / "new/folder").is_dir()
    assert "cannot be locked (No locks available)" in caplog.text
