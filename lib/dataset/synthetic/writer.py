"""Writing a data set: into a hidden folder beside the final one, renamed when complete."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib.utils.checks import InputError
from lib.utils.files import atomic_directory

MARKER = "synthetic.json"  # says that a folder was made here, and how


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value) + "\n")


@contextlib.contextmanager
def new_root(root: Path, force: bool) -> Iterator[Path]:
    """Give a temporary folder that becomes `root` when the block ends well, and disappears otherwise.

    Args:
        root: the final folder.
        force: replace a data set that was made here before; nothing else is ever replaced.

    Yields:
        The folder to write to.

    Raises:
        InputError: `root` exists and may not be replaced, or the disk refuses.
    """
    check_root(root, force)
    with atomic_directory(root) as folder:
        yield folder


def check_root(root: Path, force: bool) -> None:
    """Raise an InputError unless `root` is free, or a data set made here before and `force` is given."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return
    if not (root / MARKER).is_file():
        raise InputError(f"{root}: exists and is no synthetic data set (no {MARKER}); choose another --root")
    if not force:
        raise InputError(f"{root}: exists already; use --force to make it anew, or choose another --root")
