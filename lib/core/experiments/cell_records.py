"""What is remembered of cells: what they depend on, how far they came, what they made."""

from __future__ import annotations

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
        known[cell.name] = short_digest(content.encode())
    return known


class CellRecords:
    """A file per cell.

    Attributes:
        fingerprints: cell -> digest of what it depends on now.
    """

    def __init__(self, cells: Sequence[Cell], folder: Path) -> None:
        """
        Args:
            cells: those that are needed before those that need them.
            folder: of the files.

        Raises:
            InputError: cells that do not fit together.
        """
        self._folder = folder
        self.fingerprints = fingerprints(cells)
        self._own = {cell.name for cell in cells if cell.folder is not None}

    def path(self, cell: Cell) -> Path:
        """Return the file of a cell."""
        return self._folder / f"{cell.name}.json"

    def read(self, cell: Cell) -> dict:
        """Return the record of a cell, an empty one where there is none.

        Raises:
            InputError: it is damaged.
        """
        path = self.path(cell)
        if not path.exists():
            return _NO_RECORD
        record = read_json(path)
        if isinstance(record, dict) and "finished" in record and isinstance(record.get("needs"), dict):
            record = self._translated(record, cell)
        if not isinstance(record, dict) or any(
            type(record.get(key)) is not type(value) for key, value in {**_NO_RECORD, "fingerprint": ""}.items()
        ):
            raise InputError(f"{path}: not the record of a cell; --redo runs it anew")
        return record

    def _translated(self, record: dict, cell: Cell) -> dict:
        """Read a record of earlier versions, whose digest was of the commands: the same ones make the same cell."""
        same = record.get("commands") == _written(cell)
        needs = {name: str(finished) for name, finished in record["needs"].items()}
        return {
            **record,
            "made": str(record["finished"]) if record.get("done") else "",
            "needs": needs,
            "fingerprint": self.fingerprints[cell.name] if same else record.get("fingerprint"),
        }

    def write(self, cell: Cell, needs: Mapping[str, str], seconds: float, commands_done: int) -> None:
        """Note how far a cell has come; with its last command it is done."""
        done = commands_done == len(cell.commands)
        has_file = done and cell.output is not None and cell.output.is_file()
        made = content_digest(cell.output) if has_file else str(time.time()) if done else ""
        write_json(
            self.path(cell),
            {
                "fingerprint": self.fingerprints[cell.name],
                "done": done,
                "seconds": seconds,
                "commands_done": commands_done,
                "made": made,
                "needs": needs,
                "depends": cell.depends,
                "commands": _written(cell),
            },
        )

    def is_current(self, cell: Cell, records: Mapping[str, Mapping]) -> bool:
        """Return whether a record is of this cell, and of what the cells before it have made last."""
        record = records[cell.name]
        return record["fingerprint"] == self.fingerprints[cell.name] and not self.is_outdated(cell, records)

    def is_outdated(self, cell: Cell, records: Mapping[str, Mapping]) -> bool:
        """Return whether a cell before this one has run again since, and made something else."""
        made = self.made_before(cell, records)
        return any(records[cell.name]["needs"].get(name) != digest for name, digest in made.items() if digest)

    def made_before(self, cell: Cell, records: Mapping[str, Mapping]) -> dict[str, str]:
        """Return cell -> digest of what it made, "" if it is not done, of the cells before this one."""
        return {name: records[name]["made"] for name in cell.needs if name in self._own}


def _written(cell: Cell) -> list[str]:
    return [" ".join(command) for command in cell.commands]


def difference(record: Mapping, cell: Cell) -> str:
    """Say which value has changed since a record was written, if the cell's own ones tell."""
    before = record.get("depends")
    now = cell.depends
    if not isinstance(before, dict) or now is None:
        return ""
    now = json.loads(json.dumps(now, default=str))
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            return f" ({key}: {before.get(key, 'default')}, now {now.get(key, 'default')})"
    return ""
