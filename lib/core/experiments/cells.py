"""Runner of cells: scripts in the order of their needs, each once."""

import logging
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from lib.core.experiments.cell_records import Cell, CellRecords, difference
from lib.core.runtime.interrupt import InterruptGuard
from lib.utils.errors import InputError, Interrupted
from lib.utils.files.atomic import make_directory
from lib.utils.files.directory_lock import locked_directory
from lib.utils.parallel.processes import end_processes, usable_processors

logger = logging.getLogger(__name__)

REPOSITORY = Path(__file__).resolve().parents[3]
_POLL_SECONDS = 0.2
_GRACE_SECONDS = 120.0  # an interrupted training finishes its step and writes a checkpoint


class CellRunner:
    """Runs cells, several at a time, and keeps a record of each."""

    def __init__(self, cells: Sequence[Cell], out: Path, jobs: int = 1) -> None:
        """
        Args:
            cells: cells, each after the cells that it needs.
            out: receives records (cells/) and logs (logs/).
            jobs: cells that run at the same time; they share the cores.

        Raises:
            InputError: the cells do not fit together, or `jobs` is below 1.
        """
        if jobs < 1:
            raise InputError(f"--jobs: expected at least 1, received {jobs}")
        self._cells = list(cells)
        self._out = out
        self._jobs = jobs
        self._records = CellRecords(cells, out / "cells")
        self._needed = {name for cell in cells for name in cell.needs}

    def _read_records(self) -> dict[str, dict]:
        return {cell.name: self._records.read(cell) for cell in self._cells}

    def seconds(self) -> dict[str, float]:
        """Return cell -> run time of the finished cells, s.

        Outputs that only other cells need, e.g. weights, may have been removed since; results must exist.

        Raises:
            InputError: a record is damaged.
        """
        records = self._read_records()
        return {
            cell.name: records[cell.name]["seconds"]
            for cell in self._cells
            if records[cell.name]["done"]
            and self._records.is_current(cell, records)
            and (cell.name in self._needed or _is_complete(cell))
        }

    def run(self, redo: bool = False, minutes: float | None = None) -> None:
        """Run unfinished cells. Another call continues after an interruption, also within a training.

        Args:
            redo: rerun cells that were run with other options, depend on changed outputs or have no readable record,
                instead of refusing.
            minutes: stop after this time. Trainings write a checkpoint; other unfinished commands start again.

        Raises:
            InputError: another process works in the folder, finished cells would have to be removed, a record is
                damaged or missing, or a script failed; other running cells finished first.
            Interrupted: SIGTERM, SIGHUP, Ctrl-C, or after `minutes`; trainings wrote a checkpoint.
        """
        with locked_directory(self._out, inherited=True) as lock:
            if redo:
                self._forget_damaged()
            else:
                self._refuse_others()
            with InterruptGuard() as guard:
                self._run(guard, lock, redo, math.inf if minutes is None else time.monotonic() + 60 * minutes)

    def _forget_damaged(self) -> None:
        for cell in self._cells:
            try:
                self._records.read(cell)
            except InputError as error:
                logger.warning("%s", error)
                self._records.path(cell).unlink()

    def _refuse_others(self) -> None:
        """Refuse to remove finished cells."""
        records = self._read_records()
        others = []
        for cell in self._cells:
            fingerprint = records[cell.name]["fingerprint"]
            if fingerprint not in (None, self._records.fingerprints[cell.name]):
                others.append(cell)
        if others:
            raise InputError(
                f"{self._out}: {len(others)} cells were run with other options, e.g. {others[0].name}"
                f"{difference(records[others[0].name], others[0])}; name another --out, or rerun them with --redo"
            )
        for cell in self._cells:
            if records[cell.name]["fingerprint"] is None and cell.folder is not None and cell.folder.exists():
                raise InputError(
                    f"{cell.folder}: exists without its record {self._records.path(cell)}; move it away, or rerun the "
                    "cell with --redo"
                )
        for cell in self._cells:
            if records[cell.name]["done"] and self._records.is_outdated(cell, records):
                raise _outdated_error(cell)

    def _waiting(self, done: Collection[str]) -> list[Cell]:
        """Return the cells to run: unfinished ones, and cells that these need and whose output is gone."""
        waiting = []
        needed = set()
        for cell in reversed(self._cells):
            if cell.name not in done or (cell.name in needed and not _is_complete(cell)):
                waiting.insert(0, cell)
                needed.update(cell.needs)
        return waiting

    def _run(self, guard: InterruptGuard, lock: int, redo: bool, deadline: float) -> None:
        waiting = self._waiting(self.seconds())
        done = {cell.name for cell in self._cells if cell not in waiting}
        logger.info("%d of %d cells are done", len(done), len(self._cells))
        running: dict[str, Iterator[None]] = {}
        processes: dict[str, subprocess.Popen] = {}
        failures: list[InputError] = []
        try:
            while running or (waiting and not failures):
                if guard.requested():
                    raise Interrupted("interrupted; the same command continues")
                is_over = time.monotonic() > deadline
                if is_over and not any(name.startswith("data/") for name in running):  # data cannot be continued
                    text = f"{len(done)} of {len(self._cells)} cells are done; the same command continues"
                    raise Interrupted(f"--minutes: the time is over; {text}")
                ready = [] if failures or is_over else [cell for cell in waiting if done.issuperset(cell.needs)]
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
                    except InputError as error:  # running cells finish, no new ones start
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

    def _execute(self, cell: Cell, processes: dict[str, subprocess.Popen], lock: int, redo: bool) -> Iterator[None]:
        """Run a cell; yield while it is running."""
        records = {one.name: self._records.read(one) for one in self._cells if one is cell or one.name in cell.needs}
        record = records[cell.name]
        begun = self._records.is_current(cell, records) and _exists(cell.folder)
        if not begun and cell.folder is not None:
            if record["done"] and cell.folder.exists() and not redo:
                raise _outdated_error(cell)  # a cell that it needs has just run again
            shutil.rmtree(cell.folder, ignore_errors=True)
        spent, first = (record["seconds"], record["commands_done"]) if begun else (0.0, 0)
        if record["done"]:  # and its output is gone
            first = 0
        needs = self._records.made_before(cell, records)
        log = self._out / "logs" / f"{cell.name}.log"
        make_directory(log.parent)
        for number in range(first, len(cell.commands)):
            start = time.monotonic()
            self._records.write(cell, needs, spent, number)
            script, *arguments = cell.commands[number]
            with log.open("ab" if begun or number else "wb") as file:
                processes[cell.name] = process = subprocess.Popen(
                    [sys.executable, str(REPOSITORY / script), *arguments],
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env={"OMP_NUM_THREADS": str(max(1, usable_processors() // self._jobs)), **os.environ},
                    start_new_session=True,
                    pass_fds=[lock],  # no other runner starts while one of our scripts still writes
                )
            try:
                while process.poll() is None:
                    yield
            finally:
                spent += time.monotonic() - start
                self._records.write(cell, needs, spent, number)
            if process.returncode:
                raise InputError(f"{cell.name}: exit code {process.returncode}: {_last_line(log)} ({log})")
        self._records.write(cell, needs, spent, len(cell.commands))


def _outdated_error(cell: Cell) -> InputError:
    return InputError(
        f"{cell.name}: is done, but a cell that it needs has run again since, with another result; --redo reruns it "
        "and everything that depends on it"
    )


def _is_complete(cell: Cell) -> bool:
    return _exists(cell.folder) and _exists(cell.output)


def _exists(path: Path | None) -> bool:
    return path is None or path.exists()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"
