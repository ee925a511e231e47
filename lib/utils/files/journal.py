"""A file of finished work: one JSON line per piece, on disk before the next one begins."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from lib.utils.errors import InputError
from lib.utils.files.atomic import write_bytes


class Journal:
    """Remembers finished pieces of long work, so that it goes on where it was killed.

    Attributes:
        path: the file.
        entries: key of a finished piece -> what was noted about it.
    """

    def __init__(self, path: str | os.PathLike, settings: dict[str, Any]) -> None:
        """Read the journal of earlier work, if there is any; the file begins with the first add().

        Args:
            path: the file.
            settings: what all pieces are made with.

        Raises:
            InputError: the file is no journal, or earlier work was done with other settings.
        """
        self.path = Path(path)
        self.entries: dict[str, Any] = {}
        self._settings = settings
        lines = self._read()
        if not lines:
            return
        stated = lines[0].get("settings") if isinstance(lines[0], dict) else None
        if not isinstance(stated, dict):
            raise InputError(f"{self.path}: not a journal of earlier work; remove it to begin anew")
        for key in sorted({*stated, *settings}):
            if stated.get(key) != settings.get(key):
                raise InputError(
                    f"{self.path}: earlier work was done with {key} {stated.get(key)}, now it is "
                    f"{settings.get(key)}; use the same, or another folder"
                )
        for number, line in enumerate(lines[1:], 2):
            if not isinstance(line, dict) or not isinstance(line.get("key"), str) or "entry" not in line:
                raise InputError(f"{self.path}: line {number} is no entry of earlier work; remove it to begin anew")
            self.entries[line["key"]] = line["entry"]

    def _read(self) -> list[Any]:
        """Return the whole lines; what a kill left of the last one is cut off."""
        try:
            data = self.path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            lines = [json.loads(line) for line in whole.splitlines()]
            if len(whole) < len(data):
                with open(self.path, "r+b") as file:
                    file.truncate(len(whole))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror})") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.path}: not a journal of earlier work ({error}); remove it to begin anew") from None
        return lines

    def add(self, key: str, entry: Any) -> None:
        """Note a finished piece; it is on the disk when this returns."""
        line = json.dumps({"key": key, "entry": entry}) + "\n"
        if not self.path.exists():
            write_bytes(self.path, (json.dumps({"settings": self._settings}) + "\n").encode())
        try:
            with open(self.path, "a") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})") from None
        self.entries[key] = entry
