"""Cells: order, records, reruns, failures and interruptions."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from lib.core.experiments import cells
from lib.core.experiments.cell_records import Cell, fingerprints
from lib.core.experiments.cells import CellRunner
from lib.utils.errors import InputError, Interrupted

SCRIPT = """
import sys, time
from pathlib import Path
path, text, seconds = sys.argv[1:4]
if text == "fail":
    sys.exit("error: it went wrong")
time.sleep(float(seconds))
Path(path).parent.mkdir(parents=True, exist_ok=True)
with open(path, "a") as file:
    file.write(text + " ")
"""


@pytest.fixture
def work(tmp_path, monkeypatch):
    """work(name, text, needs...) makes a cell that appends a text to all.txt."""
    (tmp_path / "work.py").write_text(SCRIPT)
    monkeypatch.setattr(cells, "REPOSITORY", tmp_path)

    def make(name, text, *needs, seconds=0.0, folder=None, depends=None):
        path = str((folder or tmp_path) / "all.txt")
        return Cell(name, (("work.py", path, text, str(seconds)),), needs, folder, depends=depends)

    make.text = lambda: (tmp_path / "all.txt").read_text().split()
    return make


def test_run_needs_come_first_and_nothing_runs_twice(work, tmp_path):
    plan = [work("a", "a", seconds=0.5), work("b", "b", "a"), work("c/d", "c")]
    CellRunner(plan, tmp_path, jobs=2).run()
    assert work.text() == ["c", "a", "b"]
    CellRunner(plan, tmp_path, jobs=2).run()
    assert work.text() == ["c", "a", "b"]
    assert set(CellRunner(plan, tmp_path).seconds()) == {"a", "b", "c/d"}


def test_run_redo_reruns_changed_cells_and_dependents(work, tmp_path):
    CellRunner([work("a", "a"), work("b", "b", "a"), work("c", "c")], tmp_path).run()
    CellRunner([work("a", "a", depends={"rate": 1}), work("b", "b", "a"), work("c", "c")], tmp_path).run(redo=True)
    assert sorted(work.text()) == ["a", "a", "b", "b", "c"]


def test_run_other_options_are_refused_without_redo(work, tmp_path):
    folder = tmp_path / "own"
    CellRunner([work("a", "first", folder=folder)], tmp_path).run()
    with pytest.raises(InputError, match=r"1 cells were run with other options, e\.g\. a; name another --out"):
        CellRunner([work("a", "second", folder=folder)], tmp_path).run()
    assert (folder / "all.txt").read_text() == "first "
    CellRunner([work("a", "second", folder=folder)], tmp_path).run(redo=True)
    assert (folder / "all.txt").read_text() == "second "


def test_run_missing_folder_reruns_the_cell(work, tmp_path):
    plan = [work("a", "a", folder=tmp_path / "own")]
    CellRunner(plan, tmp_path).run()
    (tmp_path / "own/all.txt").rename(tmp_path / "elsewhere")
    (tmp_path / "own").rmdir()
    assert not CellRunner(plan, tmp_path).seconds()
    CellRunner(plan, tmp_path).run()
    assert (tmp_path / "own/all.txt").read_text() == "a "


def test_run_missing_output_continues_in_the_folder(work, tmp_path):
    folder = tmp_path / "own"
    cell = work("a", "a", folder=folder)
    plan = [Cell("a", cell.commands, folder=folder, output=folder / "all.txt")]
    CellRunner(plan, tmp_path).run()
    (folder / "all.txt").unlink()
    (folder / "checkpoint").touch()
    assert not CellRunner(plan, tmp_path).seconds()
    CellRunner(plan, tmp_path).run()
    assert (folder / "all.txt").read_text() == "a "
    assert (folder / "checkpoint").exists()


def upstream(work, tmp_path, text="a"):
    """A cell that makes a file which others need; what it depends on is not its text."""
    cell = work("a", text, folder=tmp_path / "own")
    return Cell("a", cell.commands, folder=cell.folder, output=cell.folder / "all.txt", depends={"rate": 1})


def test_run_removed_inputs_keep_finished_cells(work, tmp_path):
    plan = [upstream(work, tmp_path), work("b", "b", "a")]
    CellRunner(plan, tmp_path).run()
    (tmp_path / "own/all.txt").unlink()  # weights, to have room on the disk
    assert set(CellRunner(plan, tmp_path).seconds()) == {"a", "b"}
    CellRunner(plan, tmp_path).run()
    assert work.text() == ["b"]
    assert not (tmp_path / "own/all.txt").exists()
    plan.append(work("c", "c", "a"))  # needs it too
    CellRunner(plan, tmp_path).run()
    assert work.text() == ["b", "c"]
    assert (tmp_path / "own/all.txt").read_text() == "a "
    assert set(CellRunner(plan, tmp_path).seconds()) == {"a", "b", "c"}  # the same was made again


def test_run_changed_inputs_are_refused_without_redo(work, tmp_path):
    own = work("b", "b", "a", folder=tmp_path / "b")
    CellRunner([upstream(work, tmp_path), own], tmp_path).run()
    (tmp_path / "own/all.txt").unlink()
    plan = [upstream(work, tmp_path, "other"), own, work("c", "c", "a")]
    CellRunner(plan, tmp_path).run()
    assert set(CellRunner(plan, tmp_path).seconds()) == {"a", "c"}
    with pytest.raises(InputError, match="b: is done, but a cell that it needs has run again since"):
        CellRunner(plan, tmp_path).run()
    assert (tmp_path / "b/all.txt").read_text() == "b "
    CellRunner(plan, tmp_path).run(redo=True)
    assert set(CellRunner(plan, tmp_path).seconds()) == {"a", "b", "c"}
    assert (tmp_path / "b/all.txt").read_text() == "b "  # from scratch, not "b b "


def test_run_depends_replaces_the_words_of_commands(work, tmp_path):
    CellRunner([work("a", "one", depends={"TRAIN.LR": 1})], tmp_path).run()
    CellRunner([work("a", "two", depends={"TRAIN.LR": 1})], tmp_path).run()
    assert work.text() == ["one"]
    with pytest.raises(InputError, match=r"e\.g\. a \(TRAIN\.LR: 1, now 2\)"):
        CellRunner([work("a", "one", depends={"TRAIN.LR": 2})], tmp_path).run()


def test_read_records_of_earlier_versions(work, tmp_path):
    plan = [work("a", "a", folder=tmp_path / "own", depends={"rate": 1}), work("b", "b", "a", depends={"rate": 1})]
    CellRunner(plan, tmp_path).run()
    for name, needs in (("a", {}), ("b", {"a": 17.5})):
        path = tmp_path / f"cells/{name}.json"
        record = {**json.loads(path.read_text()), "fingerprint": "old", "finished": 17.5, "needs": needs}
        path.write_text(json.dumps({key: record[key] for key in record if key not in ("made", "depends")}))
    assert set(CellRunner(plan, tmp_path).seconds()) == {"a", "b"}
    plan[0] = work("a", "other", folder=tmp_path / "own", depends={"rate": 1})
    with pytest.raises(InputError, match=r"1 cells were run with other options, e\.g\. a;"):
        CellRunner(plan, tmp_path).run()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"finger', "not a JSON file"),
        ("[]", "not the record of a cell"),
        ('{"done": true}', "not the record of a cell"),
        (None, "exists without its record"),
    ],
)
def test_run_damaged_or_missing_record_is_refused_without_redo(text, message, work, tmp_path):
    folder = tmp_path / "own"
    plan = [work("a", "a", folder=folder)]
    CellRunner(plan, tmp_path).run()
    record = tmp_path / "cells/a.json"
    record.unlink() if text is None else record.write_text(text)
    with pytest.raises(InputError, match=message):
        CellRunner(plan, tmp_path).run()
    assert (folder / "all.txt").read_text() == "a "
    CellRunner(plan, tmp_path).run(redo=True)
    assert (folder / "all.txt").read_text() == "a "  # from scratch, not "a a "
    assert set(CellRunner(plan, tmp_path).seconds()) == {"a"}


def test_run_refused_while_a_script_of_a_killed_runner_works(tmp_path):
    process, log = _start_waiting(tmp_path)
    process.kill()
    process.wait()
    try:
        with pytest.raises(InputError, match="another process works there"):
            CellRunner([], tmp_path).run()
    finally:
        os.kill(int(log.read_text()), signal.SIGKILL)


def test_run_refused_while_another_runner_works(work, tmp_path):
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process works there"):
            CellRunner([work("a", "a")], tmp_path).run()


def test_run_failure_is_one_line_and_other_cells_are_kept(work, tmp_path):
    plan = [work("bad", "fail"), work("slow", "slow", seconds=1), work("after", "after", "bad")]
    with pytest.raises(InputError, match=r"bad: exit code 1: error: it went wrong \(.*bad\.log\)"):
        CellRunner(plan, tmp_path, jobs=2).run()
    assert set(CellRunner(plan, tmp_path).seconds()) == {"slow"}


def test_run_finished_commands_are_not_repeated(work, tmp_path):
    one = work("a", "one").commands[0]
    bad = (one[0], one[1], "fail", "0")
    with pytest.raises(InputError):
        CellRunner([Cell("a", (one, bad))], tmp_path).run()
    (tmp_path / "work.py").write_text(SCRIPT.replace('"fail"', '"never"'))
    CellRunner([Cell("a", (one, bad))], tmp_path).run()
    assert work.text() == ["one", "fail"]


def _start_waiting(tmp_path):
    """Start a process whose cell waits; returns it and the log with the script's process number."""
    repository = cells.REPOSITORY
    (tmp_path / "wait.py").write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n")
    code = f"""
import sys; sys.path.insert(0, {str(repository)!r})
from pathlib import Path
from lib.core.runtime.command_line import run_main
from lib.core.experiments import cells
cells.REPOSITORY = Path({str(tmp_path)!r})
run_main(cells.CellRunner([cells.Cell("a", (("wait.py",),))], Path({str(tmp_path)!r})).run)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    log = tmp_path / "logs/a.log"
    until = time.monotonic() + 30
    while not (log.exists() and log.read_text().strip()) and time.monotonic() < until:
        time.sleep(0.1)
    return process, log


def test_run_signal_ends_the_scripts(tmp_path):
    process, log = _start_waiting(tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 75
    assert "the same command continues" in process.stderr.read()
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text()), 0)


def test_run_minutes_end_the_piece_and_the_next_one_continues(work, tmp_path):
    plan = [work("a", "a"), work("b", "b", "a")]
    with pytest.raises(Interrupted, match=r"--minutes: the time is over; 0 of 2 cells are done; the same command"):
        CellRunner(plan, tmp_path).run(minutes=1e-6)
    CellRunner(plan, tmp_path).run(minutes=10)
    assert set(CellRunner(plan, tmp_path).seconds()) == {"a", "b"}


@pytest.mark.parametrize(
    ("plan", "message"),
    [([Cell("a", (), ("b",)), Cell("b", ())], "needs b"), ([Cell("a", ()), Cell("a", ())], "occurs twice")],
)
def test_fingerprints_invalid_plans(plan, message, tmp_path):
    with pytest.raises(InputError, match=message):
        fingerprints(plan)
    with pytest.raises(InputError, match="--jobs"):
        CellRunner([], tmp_path, jobs=0)
