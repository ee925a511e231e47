from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lib.core.runtime.launch import REPORTED_BY_LAUNCHER, run_processes
from lib.utils.errors import ProcessLost
from lib.utils.parallel.ranks import Ranks, ranks_from_environment

BEGIN = "import json, os, pathlib, signal, sys, time\nrank = int(os.environ['RANK'])\n"


@pytest.fixture
def launch(tmp_path, monkeypatch):
    """launch(text, count) runs BEGIN + text in `count` processes in tmp_path."""

    def run(text, count=2):
        script = tmp_path / "script.py"
        script.write_text(BEGIN + text)
        monkeypatch.setattr(sys, "argv", [str(script), "--word", "two words"])
        monkeypatch.chdir(tmp_path)
        return run_processes(count, "training stops")

    return run


def test_run_processes_each_process_has_its_rank_and_the_command(launch, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")  # as under torchrun
    text = "pathlib.Path(f'{rank}.json').write_text(json.dumps([sys.argv[1:], dict(os.environ)]))"
    assert launch(text, 3) == 0
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    for rank, (words, environment) in enumerate(found):
        assert words == ["--word", "two words"]
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert ranks_from_environment() == Ranks(rank, 3, rank, 3)
        assert environment["OMP_NUM_THREADS"] == str(max(1, os.cpu_count() // 3))  # cores are shared
        assert environment[REPORTED_BY_LAUNCHER] == "1"
        assert not [name for name in environment if name.startswith("TORCHELASTIC")]
    assert len({(environment["MASTER_ADDR"], environment["MASTER_PORT"]) for _, environment in found}) == 1


def test_run_processes_number_of_threads_of_the_user_is_kept(launch, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert launch("pathlib.Path(f'{rank}').write_text(os.environ['OMP_NUM_THREADS'])") == 0
    assert (tmp_path / "1").read_text() == "7"


@pytest.mark.parametrize("which", [0, 1])
def test_run_processes_bad_input_is_reported_once(launch, capfd, which):
    """The other processes would wait forever; they are ended."""
    start = time.monotonic()
    text = f"""
if rank == {which}:
    sys.exit((print("error: no such image", file=sys.stderr), 2)[1])
time.sleep(100)
"""
    assert launch(text) == 2
    assert capfd.readouterr().err == "error: no such image\n"
    assert time.monotonic() - start < 50


@pytest.mark.parametrize(
    ("end", "words"),
    [("os.kill(os.getpid(), signal.SIGKILL)", "was killed by signal 9"), ("sys.exit(70)", "ended with code 70")],
)
def test_run_processes_failed_process_is_named(launch, end, words):
    text = f"""
if rank == 1:
    {end}
time.sleep(0.1)
sys.exit(3)
"""
    with pytest.raises(ProcessLost, match=f"process 1 of 3 {words}; training stops"):
        launch(text, 3)


def test_run_processes_failure_leaves_no_process(launch, tmp_path):
    text = """
pathlib.Path(f'{rank}').write_text(str(os.getpid()))
if rank == 0:
    while not os.path.exists('1'):
        time.sleep(0.01)
    sys.exit(1)
time.sleep(100)
"""
    with pytest.raises(ProcessLost):
        launch(text)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "1").read_text()), 0)


@pytest.fixture
def hang_up(request):
    """Set the SIGHUP handling, independent of how pytest was started."""
    before = signal.signal(signal.SIGHUP, request.param)
    yield request.param
    signal.signal(signal.SIGHUP, before)


def wait_for(*paths):
    until = time.monotonic() + 60
    while not all(path.exists() for path in paths):
        assert time.monotonic() < until
        time.sleep(0.01)


def send_when_ready(tmp_path, number):
    """Send a signal to this process after both scripts have made their files."""

    def send():
        wait_for(tmp_path / "0", tmp_path / "1")
        os.kill(os.getpid(), number)
        (tmp_path / "sent").touch()

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    return sender


@pytest.mark.parametrize("hang_up", [signal.SIG_DFL], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.usefixtures("hang_up")
def test_run_processes_forwards_signals_and_restores_handlers(launch, tmp_path, number):
    text = f"""
signal.signal({int(number)}, lambda *_: sys.exit(75))
pathlib.Path(f'{{rank}}').touch()
time.sleep(100)
"""
    before = signal.getsignal(number)
    sender = send_when_ready(tmp_path, number)
    assert launch(text) == 75
    sender.join()
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("hang_up", [signal.SIG_IGN], indirect=True)
@pytest.mark.usefixtures("hang_up")
def test_run_processes_under_nohup_ignores_sighup(launch, tmp_path):
    text = """
pathlib.Path(f'{rank}').touch()
while not os.path.exists('sent'):
    time.sleep(0.01)
sys.exit(0 if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else 1)
"""
    sender = send_when_ready(tmp_path, signal.SIGHUP)
    assert launch(text) == 0
    sender.join()


LAUNCHER = f"""
import os, pathlib, signal, sys, time
sys.path.insert(0, {str(Path(__file__).resolve().parents[3])!r})
from lib.core.runtime.launch import run_processes

if "RANK" not in os.environ:
    sys.exit(run_processes(2, "training stops"))
number, folder, rank = int(sys.argv[1]), pathlib.Path(sys.argv[2]), os.environ["RANK"]

def receive(*_):
    received.append(1)
    (folder / f"{{rank}}_{{len(received)}}").touch()

received = []
signal.signal(number, receive)
(folder / rank).touch()
while not received:
    time.sleep(0.01)
time.sleep(0.3)  # for one too many
sys.exit(75)
"""


@pytest.fixture
def terminal(tmp_path):
    """terminal(number) starts a launcher as a terminal does, as group leader; its scripts count a signal."""
    started = []

    def start(number):
        script = tmp_path / "launcher.py"
        script.write_text(LAUNCHER)
        command = [sys.executable, str(script), str(int(number)), str(tmp_path)]
        started.append(subprocess.Popen(command, start_new_session=True))
        wait_for(tmp_path / "0", tmp_path / "1")
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_run_processes_ctrl_c_reaches_each_process_once(terminal, tmp_path):
    """The terminal signals the whole group; the processes are outside of it. A second signal would end them at once."""
    process = terminal(signal.SIGINT)
    process.send_signal(signal.SIGSTOP)  # signals received now come from the terminal
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.2)
    assert not list(tmp_path.glob("?_*"))
    process.send_signal(signal.SIGCONT)
    assert process.wait(60) == 75
    assert sorted(path.name for path in tmp_path.glob("?_*")) == ["0_1", "1_1"]


@pytest.mark.skipif(sys.platform != "linux", reason="the switch is Linux's")
def test_run_processes_killed_launcher_leaves_no_process(terminal, tmp_path):
    terminal(signal.SIGTERM).kill()
    wait_for(tmp_path / "0_1", tmp_path / "1_1")
