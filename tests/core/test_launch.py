from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time

import pytest

from lib.core.launch import REPORTED_BY_LAUNCHER, run_processes
from lib.utils.ranks import Ranks, ranks_of_environment
from lib.utils.stops import ProcessLost

BEGIN = "import json, os, pathlib, signal, sys, time\nrank = int(os.environ['RANK'])\n"


@pytest.fixture
def launch(tmp_path, monkeypatch):
    """launch(text, count) runs a script, which begins with BEGIN, in processes whose directory is tmp_path."""

    def run(text, count=2):
        script = tmp_path / "script.py"
        script.write_text(BEGIN + text)
        monkeypatch.setattr(sys, "argv", [str(script), "--word", "two words"])
        monkeypatch.chdir(tmp_path)
        return run_processes(count)

    return run


def test_every_process_knows_its_place_and_the_command(launch, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    text = "pathlib.Path(f'{rank}.json').write_text(json.dumps([sys.argv[1:], dict(os.environ)]))"
    assert launch(text, 3) == 0
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    for rank, (words, environment) in enumerate(found):
        assert words == ["--word", "two words"]
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert ranks_of_environment() == Ranks(rank, 3, rank, 3)
        assert environment["OMP_NUM_THREADS"] == str(max(1, os.cpu_count() // 3))  # not all cores for each
        assert environment[REPORTED_BY_LAUNCHER] == "1"
    assert len({(environment["MASTER_ADDR"], environment["MASTER_PORT"]) for _, environment in found}) == 1


def test_the_users_number_of_threads_is_kept(launch, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert launch("pathlib.Path(f'{rank}').write_text(os.environ['OMP_NUM_THREADS'])") == 0
    assert (tmp_path / "1").read_text() == "7"


@pytest.mark.parametrize("which", [0, 1])
def test_bad_input_of_any_process_is_said_once(launch, capfd, which):
    """The others would wait for ever; they are ended."""
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
def test_a_lost_process_is_named_and_not_those_that_lost_contact(launch, end, words):
    text = f"""
if rank == 1:
    {end}
time.sleep(0.1)
sys.exit(3)
"""
    with pytest.raises(ProcessLost, match=f"process 1 of 3 {words}; training stops"):
        launch(text, 3)


def test_no_process_is_left(launch, tmp_path):
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on_and_the_handlers_put_back(launch, tmp_path, number):
    text = f"""
signal.signal({int(number)}, lambda *_: sys.exit(75))
pathlib.Path(f'{{rank}}').touch()
time.sleep(100)
"""

    def send_when_ready():
        while not all((tmp_path / str(rank)).exists() for rank in range(2)):
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    sender = threading.Thread(target=send_when_ready, daemon=True)
    sender.start()
    assert launch(text) == 75
    sender.join()
    assert signal.getsignal(number) is before
