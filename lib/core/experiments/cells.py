"""Cells: scripts with what they need and what they depend on, run once and remembered."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.core.interrupt import InterruptGuard
from lib.multiviews.kernels import usable_processors
from lib.utils.checks import InputError
from lib.utils.files import make_directory, read_json, write_json
from lib.utils.locks import locked_directory
from lib.utils.processes import end_processes
from lib.utils.stops import Interrupted

logger = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parents[3]
_POLL_SECONDS = 0.2
_NO_RECORD = {"fingerprint": None, "done": False, "seconds": 0.0, "commands_done": 0, "finished": 0.0, "needs": {}}
_GRACE_SECONDS = 120.0  # a training that is asked to end finishes its step and writes a checkpoint


@dataclass(frozen=True)
class Cell:
    """One unit of work.

    Attributes:
        name: unique, e.g. "seed0/h36m/single/train"; also the path of its record and log.
        commands: each a script of run/ and its arguments; one after the other.
        needs: names of the cells that come before.
        folder: what the cell alone writes; removed where the cell has changed. None = nothing to remove, and what it
            makes is the same whenever it runs.
        output: a file or folder that is there when the cell is done; None = nothing to look for.
        depends: what else the result depends on, plain values, e.g. the merged configuration.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    needs: tuple[str, ...] = ()
    folder: Path | None = None
    output: Path | None = None
    depends: Mapping[str, object] | None = None


def fingerprints(cells: Sequence[Cell]) -> dict[str, str]:
    """Return cell -> digest of its commands, of what it depends on, and of all cells before it.

    Raises:
        InputError: a name stands twice, or a cell needs one that does not come before it.
    """
    known: dict[str, str] = {}
    for cell in cells:
        missing = [name for name in cell.needs if name not in known]
        if missing or cell.name in known:
            raise InputError(f"cell {cell.name}: {'stands twice' if cell.name in known else f'needs {missing[0]}'}")
        content = [cell.commands, cell.depends, [known[name] for name in cell.needs]]
        known[cell.name] = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return known


class CellRunner:
    """Runs cells, several at a time, and keeps a record of each that is done."""

    def __init__(self, cells: Sequence[Cell], out: Path, jobs: int = 1) -> None:
        """
        Args:
            cells: those that are needed before those that need them.
            out: receives records (cells/) and logs (logs/).
            jobs: cells at a time; they share the cores.

        Raises:
            InputError: cells that do not fit together, or `jobs` below 1.
        """
        if jobs < 1:
            raise InputError(f"--jobs: expected at least 1, received {jobs}")
        self._cells, self._out, self._jobs = list(cells), out, jobs
        self._fingerprints = fingerprints(cells)
        self._own = {cell.name for cell in cells if cell.folder is not None}

    def seconds(self) -> dict[str, float]:
        """Return cell -> seconds that it took, of the cells that are done as they stand.

        Raises:
            InputError: a record is damaged.
        """
        done: dict[str, dict] = {}
        for cell in self._cells:
            record = self._record(cell)
            there = _is_there(cell.folder) and _is_there(cell.output)
            if record["done"] and there and self._is_current(cell, record, done):
                done[cell.name] = record
        return {name: record["seconds"] for name, record in done.items()}

    def _is_current(self, cell: Cell, record: Mapping, done: Mapping[str, Mapping]) -> bool:
        """Return whether a record is of this cell, and of what the cells before it have made last."""
        return record["fingerprint"] == self._fingerprints[cell.name] and record["needs"] == self._stamps(cell, done)

    def _stamps(self, cell: Cell, done: Mapping[str, Mapping]) -> dict[str, float | None]:
        return {name: done[name]["finished"] if name in done else None for name in cell.needs if name in self._own}

    def run(self, redo: bool = False) -> None:
        """Run what is not done yet. What ran is kept when it is called again, in the middle of a training too.

        Args:
            redo: run cells anew that were run with other options or have no readable record, instead of refusing.

        Raises:
            InputError: another process works in the folder, cells were run with other options, a record is damaged or
                missing, or a script failed; the others that were running came to their end.
            Interrupted: SIGTERM, SIGHUP or Ctrl-C; trainings wrote a checkpoint.
        """
        with locked_directory(self._out, inherited=True) as lock:
            if redo:
                self._forget_damaged()
            else:
                self._refuse_others()
            with InterruptGuard() as guard:
                self._run(guard, lock)

    def _forget_damaged(self) -> None:
        for cell in self._cells:
            try:
                self._record(cell)
            except InputError as error:
                logger.warning("%s; it is run anew", error)
                self._path(cell).unlink()

    def _refuse_others(self) -> None:
        other, unknown = [], []
        for cell in self._cells:
            record = self._record(cell)
            if record["fingerprint"] not in (None, self._fingerprints[cell.name]):
                other.append(cell.name)
            if record["fingerprint"] is None and cell.folder is not None and cell.folder.exists():
                unknown.append(cell)
        if other:
            raise InputError(f"{self._out}: {len(other)} cells were run with other options, e.g. {other[0]}; name "
                             "another --out, or --redo removes them and runs them anew")  # fmt: skip
        if unknown:
            raise InputError(f"{unknown[0].folder}: is there, but not its record {self._path(unknown[0])}; move it "
                             "away, or --redo removes it and runs the cell anew")  # fmt: skip

    def _run(self, guard: InterruptGuard, lock: int) -> None:
        done = set(self.seconds())
        waiting = [cell for cell in self._cells if cell.name not in done]
        logger.info("%d of %d cells are done", len(done), len(self._cells))
        running: dict[str, Iterator[None]] = {}
        processes: dict[str, subprocess.Popen] = {}
        failures: list[InputError] = []
        try:
            while running or (waiting and not failures):
                if guard.requested():
                    raise Interrupted("interrupted; the same command goes on")
                ready = [] if failures else [cell for cell in waiting if done.issuperset(cell.needs)]
                for cell in ready[: self._jobs - len(running)]:
                    waiting.remove(cell)
                    running[cell.name] = self._execute(cell, processes, lock)
                for name, steps in list(running.items()):
                    try:
                        next(steps)
                        continue
                    except StopIteration:
                        done.add(name)
                        logger.info("%d of %d: %s", len(done), len(self._cells), name)
                    except InputError as error:  # what is under way comes to its end, nothing new begins
                        failures.append(error)
                        logger.warning("%s", error)
                    del running[name]
                time.sleep(_POLL_SECONDS)
            if failures:
                raise failures[0]
        finally:
            end_processes(list(processes.values()), _GRACE_SECONDS)
            for steps in running.values():
                steps.close()

    def _execute(self, cell: Cell, processes: dict[str, subprocess.Popen], lock: int) -> Iterator[None]:
        """Run a cell; yields while it is running."""
        record = self._record(cell)
        before = {one.name: self._record(one) for one in self._cells if one.name in cell.needs}
        begun = self._is_current(cell, record, before) and _is_there(cell.folder)
        if not begun and cell.folder is not None:
            shutil.rmtree(cell.folder, ignore_errors=True)
        spent, first = (record["seconds"], record["commands_done"]) if begun else (0.0, 0)
        if record["done"]:  # and its output is gone
            first = 0
        needs = self._stamps(cell, before)
        log = self._out / "logs" / f"{cell.name}.log"
        make_directory(log.parent)
        for number in range(first, len(cell.commands)):
            start = time.monotonic()
            self._save(cell, needs, spent, number)
            with log.open("ab" if begun or number else "wb") as file:
                processes[cell.name] = process = subprocess.Popen(
                    [sys.executable, str(REPOSITORY / cell.commands[number][0]), *cell.commands[number][1:]],
                    stdout=file, stderr=subprocess.STDOUT, env=self._environment(), start_new_session=True,
                    pass_fds=[lock],  # nobody else begins here while a script of ours still writes
                )  # fmt: skip
            try:
                while process.poll() is None:
                    yield
            finally:
                spent += time.monotonic() - start
                self._save(cell, needs, spent, number)
            if process.returncode:
                raise InputError(f"{cell.name}: exit code {process.returncode}: {_last_line(log)} ({log})")
        self._save(cell, needs, spent, len(cell.commands))

    def _environment(self) -> dict[str, str]:
        return {"OMP_NUM_THREADS": str(max(1, usable_processors() // self._jobs)), **os.environ}

    def _path(self, cell: Cell) -> Path:
        return self._out / "cells" / f"{cell.name}.json"

    def _record(self, cell: Cell) -> dict:
        path = self._path(cell)
        if not path.exists():
            return _NO_RECORD
        record = read_json(path)
        if not isinstance(record, dict) or any(type(record.get(key)) is not type(value)
                                               for key, value in {**_NO_RECORD, "fingerprint": ""}.items()):
            raise InputError(f"{path}: not the record of a cell; --redo runs it anew")
        return record

    def _save(self, cell: Cell, needs: Mapping[str, float], seconds: float, commands_done: int) -> None:
        write_json(self._path(cell), {
            "fingerprint": self._fingerprints[cell.name], "done": commands_done == len(cell.commands),
            "seconds": seconds, "commands_done": commands_done, "finished": time.time(), "needs": needs,
            "commands": [" ".join(command) for command in cell.commands],
        })  # fmt: skip


def _is_there(path: Path | None) -> bool:
    return path is None or path.exists()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"
