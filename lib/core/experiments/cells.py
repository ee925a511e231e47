"""Cells: scripts with what they need and what they depend on, run once and remembered."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.core.interrupt import InterruptGuard
from lib.multiviews.kernels import usable_processors
from lib.utils.checks import InputError
from lib.utils.files import make_directory, read_json, write_json
from lib.utils.processes import end_processes
from lib.utils.stops import Interrupted

logger = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parents[3]
_POLL_SECONDS = 0.2
_NO_RECORD = {"fingerprint": None, "done": False, "seconds": 0.0, "commands_done": 0, "made": "", "needs": {}}
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
        output: a file that is there when the cell is done; None = nothing to look for.
        depends: what the result depends on, plain values by name, e.g. those of the configuration that change it; None
            = on every word of the commands.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    needs: tuple[str, ...] = ()
    folder: Path | None = None
    output: Path | None = None
    depends: Mapping[str, object] | None = None


def fingerprints(cells: Sequence[Cell]) -> dict[str, str]:
    """Return cell -> digest of what it depends on, itself and by all cells before it.

    Raises:
        InputError: a name stands twice, or a cell needs one that does not come before it.
    """
    known: dict[str, str] = {}
    for cell in cells:
        missing = [name for name in cell.needs if name not in known]
        if missing or cell.name in known:
            raise InputError(f"cell {cell.name}: {'stands twice' if cell.name in known else f'needs {missing[0]}'}")
        own = cell.commands if cell.depends is None else cell.depends
        content = json.dumps([own, [known[name] for name in cell.needs]], sort_keys=True, default=str)
        known[cell.name] = _digest(content.encode())
    return known


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def content_digest(path: Path) -> str:
    """Return a digest of what a file holds; of an archive, as torch writes them, by the checksums of its entries.

    The name that torch gives an archive's first folder, and what it notes of the writing, do not count.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            entries = [(entry.filename.partition("/")[2], entry.CRC) for entry in archive.infolist()]
        return _digest(json.dumps(sorted(entry for entry in entries if not entry[0].startswith("."))).encode())
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


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
        self._needed = {name for cell in cells for name in cell.needs}

    def seconds(self) -> dict[str, float]:
        """Return cell -> seconds that it took, of the cells that are done as they stand.

        What only other cells need, e.g. weights, may have been removed since; results must be there.

        Raises:
            InputError: a record is damaged.
        """
        records = {cell.name: self._record(cell) for cell in self._cells}
        return {cell.name: records[cell.name]["seconds"] for cell in self._cells
                if records[cell.name]["done"] and self._is_current(cell, records)
                and (cell.name in self._needed or _is_whole(cell))}  # fmt: skip

    def _is_current(self, cell: Cell, records: Mapping[str, Mapping]) -> bool:
        """Return whether a record is of this cell, and of what the cells before it have made last."""
        record = records[cell.name]
        return record["fingerprint"] == self._fingerprints[cell.name] and not self._is_outdated(cell, records)

    def _is_outdated(self, cell: Cell, records: Mapping[str, Mapping]) -> bool:
        """Return whether a cell before this one has run again since, and made something else."""
        made = self._made_before(cell, records)
        return any(records[cell.name]["needs"].get(name) != digest for name, digest in made.items() if digest)

    def _made_before(self, cell: Cell, records: Mapping[str, Mapping]) -> dict[str, str]:
        """Return cell -> digest of what it made, "" if it is not done, of the cells before this one."""
        return {name: records[name]["made"] for name in cell.needs if name in self._own}

    def run(self, redo: bool = False) -> None:
        """Run what is not done yet. What ran is kept when it is called again, in the middle of a training too.

        Args:
            redo: run cells anew that were run with other options, stand on what was made anew since or have no readable
                record, instead of refusing.

        Raises:
            InputError: another process works in the folder, finished cells would have to be removed, a record is
                damaged or missing, or a script failed; the others that were running came to their end.
            Interrupted: SIGTERM, SIGHUP or Ctrl-C; trainings wrote a checkpoint.
        """
        make_directory(self._out)
        with (self._out / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError(f"{self._out}: another process works there") from None
            if redo:
                self._forget_damaged()
            else:
                self._refuse_others()
            with InterruptGuard() as guard:
                self._run(guard, lock.fileno(), redo)

    def _forget_damaged(self) -> None:
        for cell in self._cells:
            try:
                self._record(cell)
            except InputError as error:
                logger.warning("%s; it is run anew", error)
                self._path(cell).unlink()

    def _refuse_others(self) -> None:
        records = {cell.name: self._record(cell) for cell in self._cells}
        other = [cell for cell in self._cells
                 if records[cell.name]["fingerprint"] not in (None, self._fingerprints[cell.name])]  # fmt: skip
        unknown = [cell for cell in self._cells
                   if records[cell.name]["fingerprint"] is None and cell.folder is not None and cell.folder.exists()]
        outdated = [cell for cell in self._cells
                    if records[cell.name]["done"] and self._is_outdated(cell, records)]  # fmt: skip
        if other:
            raise InputError(f"{self._out}: {len(other)} cells were run with other options, e.g. {other[0].name}"
                             f"{_difference(records[other[0].name], other[0])}; name another --out, or --redo removes "
                             "them and runs them anew")  # fmt: skip
        if unknown:
            raise InputError(f"{unknown[0].folder}: is there, but not its record {self._path(unknown[0])}; move it "
                             "away, or --redo removes it and runs the cell anew")  # fmt: skip
        if outdated:
            raise _outdated_error(outdated[0])

    def _waiting(self, done: Collection[str]) -> list[Cell]:
        """Return the cells to run: those that are not done, and what they need and is gone."""
        waiting, needed = [], set()
        for cell in reversed(self._cells):
            if cell.name not in done or (cell.name in needed and not _is_whole(cell)):
                waiting.insert(0, cell)
                needed.update(cell.needs)
        return waiting

    def _run(self, guard: InterruptGuard, lock: int, redo: bool) -> None:
        waiting = self._waiting(self.seconds())
        done = {cell.name for cell in self._cells if cell not in waiting}
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
                    running[cell.name] = self._execute(cell, processes, lock, redo)
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

    def _execute(
        self, cell: Cell, processes: dict[str, subprocess.Popen], lock: int, redo: bool
    ) -> Iterator[None]:
        """Run a cell; yields while it is running."""
        records = {one.name: self._record(one) for one in self._cells if one is cell or one.name in cell.needs}
        record = records[cell.name]
        begun = self._is_current(cell, records) and _is_there(cell.folder)
        if not begun and cell.folder is not None:
            if record["done"] and cell.folder.exists() and not redo:
                raise _outdated_error(cell)  # what it needs has been made anew just now
            shutil.rmtree(cell.folder, ignore_errors=True)
        spent, first = (record["seconds"], record["commands_done"]) if begun else (0.0, 0)
        if record["done"]:  # and its output is gone
            first = 0
        needs = self._made_before(cell, records)
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
        if isinstance(record, dict) and "finished" in record:
            record = self._translated(record, cell)
        if not isinstance(record, dict) or any(type(record.get(key)) is not type(value)
                                               for key, value in {**_NO_RECORD, "fingerprint": ""}.items()):
            raise InputError(f"{path}: not the record of a cell; --redo runs it anew")
        return record

    def _translated(self, record: dict, cell: Cell) -> dict:
        """Read a record of earlier versions, whose digest was of the commands: the same ones make the same cell."""
        same = record.get("commands") == _written(cell)
        needs = {name: str(finished) for name, finished in record.get("needs", {}).items()}
        return {**record, "made": str(record["finished"]), "needs": needs,
                "fingerprint": self._fingerprints[cell.name] if same else record.get("fingerprint")}  # fmt: skip

    def _save(self, cell: Cell, needs: Mapping[str, str], seconds: float, commands_done: int) -> None:
        done = commands_done == len(cell.commands)
        has_file = done and cell.output is not None and cell.output.is_file()
        made = content_digest(cell.output) if has_file else str(time.time()) if done else ""
        write_json(self._path(cell), {
            "fingerprint": self._fingerprints[cell.name], "done": done, "seconds": seconds,
            "commands_done": commands_done, "made": made, "needs": needs, "depends": cell.depends,
            "commands": _written(cell),
        })  # fmt: skip


def _written(cell: Cell) -> list[str]:
    return [" ".join(command) for command in cell.commands]


def _outdated_error(cell: Cell) -> InputError:
    return InputError(f"{cell.name}: is done, but what it needs has been made anew since, with another outcome; --redo "
                      "removes it and what stands on it and runs them anew")  # fmt: skip


def _difference(record: Mapping, cell: Cell) -> str:
    """Say which value has changed since a record was written, if the cell's own ones tell."""
    before, now = record.get("depends"), cell.depends
    if not isinstance(before, dict) or now is None:
        return ""
    now = json.loads(json.dumps(now, default=str))
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            return f" ({key}: {before.get(key, 'default')}, now {now.get(key, 'default')})"
    return ""


def _is_whole(cell: Cell) -> bool:
    return _is_there(cell.folder) and _is_there(cell.output)


def _is_there(path: Path | None) -> bool:
    return path is None or path.exists()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"
