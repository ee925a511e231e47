"""Cells and their records: what a cell depends on, how far it ran, and the digest of its output."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.utils.errors import InputError
from lib.utils.files.digest import content_digest, short_digest
from lib.utils.files.json_file import read_json, write_json

_NO_RECORD = {"fingerprint": None, "done": False, "seconds": 0.0, "commands_done": 0, "made": "", "needs": {}}


@dataclass(frozen=True)
class Cell:
    """One unit of work."""

    name: str  # unique, e.g. "seed0/h36m/single/train"; also the path of its record and log
    commands: tuple[tuple[str, ...], ...]  # scripts of run/ with their arguments, run one after the other
    needs: tuple[str, ...] = ()  # names of the cells that must run first
    folder: Path | None = None  # written by this cell alone, removed when the cell has changed
    output: Path | None = None  # file that exists when the cell is done; None = none
    depends: Mapping[str, object] | None = None  # name -> value that affects the result; None = words of the commands

    @property
    def command_lines(self) -> list[str]:
        """Commands as in a shell, without quotes."""
        return [" ".join(command) for command in self.commands]


def fingerprints(cells: Sequence[Cell]) -> dict[str, str]:
    """Return cell -> digest of everything that it and the cells before it depend on.

    Raises:
        InputError: a name occurs twice, or a cell needs one that does not come before it.
    """
    known: dict[str, str] = {}
    for cell in cells:
        missing = [name for name in cell.needs if name not in known]
        if missing or cell.name in known:
            raise InputError(f"cell {cell.name}: {'occurs twice' if cell.name in known else f'needs {missing[0]}'}")
        depends = cell.commands if cell.depends is None else cell.depends
        content = json.dumps([depends, [known[name] for name in cell.needs]], sort_keys=True, default=str)
        known[cell.name] = short_digest(content.encode())
    return known


class CellRecords:
    """Record files, one per cell.

    Attributes:
        fingerprints: cell -> digest of everything it depends on.
    """

    def __init__(self, cells: Sequence[Cell], folder: Path) -> None:
        """
        Args:
            cells: cells, each after the cells that it needs.
            folder: folder of the records.

        Raises:
            InputError: see fingerprints().
        """
        self._folder = folder
        self.fingerprints = fingerprints(cells)
        self._with_folder = {cell.name for cell in cells if cell.folder is not None}

    def path(self, cell: Cell) -> Path:
        """Return the record file of a cell."""
        return self._folder / f"{cell.name}.json"

    def read(self, cell: Cell) -> dict:
        """Return the record of a cell, an empty record if there is none.

        Raises:
            InputError: it is damaged.
        """
        path = self.path(cell)
        if not path.exists():
            return _NO_RECORD
        record = read_json(path)
        if isinstance(record, dict) and "finished" in record and isinstance(record.get("needs"), dict):
            record = self._converted(record, cell)
        types = {key: type(value) for key, value in {**_NO_RECORD, "fingerprint": ""}.items()}
        if not isinstance(record, dict) or any(type(record.get(key)) is not types[key] for key in types):
            raise InputError(f"{path}: not the record of a cell; --redo runs the cell again")
        return record

    def _converted(self, record: dict, cell: Cell) -> dict:
        """Convert a record of earlier versions, which noted times and a digest of the commands."""
        same = record.get("commands") == cell.command_lines
        return {
            **record,
            "made": str(record["finished"]) if record.get("done") else "",
            "needs": {name: str(finished) for name, finished in record["needs"].items()},
            "fingerprint": self.fingerprints[cell.name] if same else record.get("fingerprint"),
        }

    def write(self, cell: Cell, needs: Mapping[str, str], seconds: float, commands_done: int) -> None:
        """Record the progress of a cell; with its last command it is done."""
        done = commands_done == len(cell.commands)
        made = ""
        if done:
            has_file = cell.output is not None and cell.output.is_file()
            made = content_digest(cell.output) if has_file else str(time.time())
        record = {
            "fingerprint": self.fingerprints[cell.name],
            "done": done,
            "seconds": seconds,
            "commands_done": commands_done,
            "made": made,
            "needs": needs,
            "depends": cell.depends,
            "commands": cell.command_lines,
        }
        write_json(self.path(cell), record)

    def is_current(self, cell: Cell, records: Mapping[str, Mapping]) -> bool:
        """Return whether a record belongs to this cell and to the latest outputs of the cells before it."""
        return records[cell.name]["fingerprint"] == self.fingerprints[cell.name] and not self.is_outdated(cell, records)

    def is_outdated(self, cell: Cell, records: Mapping[str, Mapping]) -> bool:
        """Return whether a cell before this one has run since, with another output."""
        needs = records[cell.name]["needs"]
        return any(needs.get(name) != digest for name, digest in self.made_before(cell, records).items() if digest)

    def made_before(self, cell: Cell, records: Mapping[str, Mapping]) -> dict[str, str]:
        """Return cell -> digest of its output ("" if not done) of the cells before this one."""
        return {name: records[name]["made"] for name in cell.needs if name in self._with_folder}


def difference(record: Mapping, cell: Cell) -> str:
    """Describe the first value that differs between a record and a cell; "" if unknown."""
    before = record.get("depends")
    if not isinstance(before, dict) or cell.depends is None:
        return ""
    now = json.loads(json.dumps(cell.depends, default=str))
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            return f" ({key}: {before.get(key, 'default')}, now {now.get(key, 'default')})"
    return ""
