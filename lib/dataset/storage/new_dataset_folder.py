"""A data set made here: into a hidden folder beside the final one, renamed when complete."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from lib.utils.errors import InputError
from lib.utils.files.atomic import atomic_directory


@contextlib.contextmanager
def new_dataset_folder(root: Path, force: bool, marker: str) -> Iterator[Path]:
    """Give a temporary folder that becomes `root` when the block ends well, and disappears otherwise.

    Args:
        root: the final folder.
        force: replace a data set that was made here before; nothing else is ever replaced.
        marker: name of the file that the block writes, by which such a data set is known.

    Yields:
        The folder to write to.

    Raises:
        InputError: `root` exists and may not be replaced, or the disk refuses.
    """
    check_dataset_folder(root, force, marker)
    with atomic_directory(root) as folder:
        yield folder


def check_dataset_folder(root: Path, force: bool, marker: str) -> None:
    """Raise an InputError unless `root` is free, or a data set made here before and `force` is given."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return
    if not (root / marker).is_file():
        raise InputError(f"{root}: exists and was not made by this script (no {marker}); choose another --root")
    if not force:
        raise InputError(f"{root}: exists already; use --force to make it anew, or choose another --root")
