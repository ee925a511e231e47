"""Folder of a new data set: written under a temporary name, renamed when complete."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from lib.utils.errors import InputError
from lib.utils.files.atomic import atomic_directory


@contextlib.contextmanager
def new_dataset_folder(root: Path, force: bool, marker: str) -> Iterator[Path]:
    """Give a temporary folder that becomes `root` when the block succeeds and is removed otherwise.

    Args:
        root: final folder.
        force: replace an existing data set of this script. Other folders are never replaced.
        marker: name of the file, written by the block, that identifies data sets of this script.

    Yields:
        The folder to write to.

    Raises:
        InputError: `root` exists and must not be replaced, or cannot be written.
    """
    check_dataset_folder(root, force, marker)
    with atomic_directory(root) as folder:
        yield folder


def check_dataset_folder(root: Path, force: bool, marker: str) -> None:
    """Check that new_dataset_folder() may write `root`; see there."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return
    if not (root / marker).is_file():
        raise InputError(f"{root}: exists and was not made by this script (no {marker}); choose another --root")
    if not force:
        raise InputError(f"{root}: exists already; use --force to replace it, or choose another --root")
