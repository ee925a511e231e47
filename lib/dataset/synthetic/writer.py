"""Writing a data set: into a hidden folder beside the final one, renamed when complete."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from lib.utils.checks import InputError

MARKER = "synthetic.json"  # says that a folder was made here, and how
_ZIP_DATE = (2020, 1, 1, 0, 0, 0)  # fixed: the same data give the same archive


class ImageSink(Protocol):
    """Where encoded images go."""

    def add(self, name: str, data: bytes) -> None:
        """Store an image under its path below `images/`."""


class _FolderSink:
    def __init__(self, images_dir: Path) -> None:
        self._images_dir = images_dir
        self._known: set[Path] = set()

    def add(self, name: str, data: bytes) -> None:
        path = self._images_dir / name
        if path.parent not in self._known:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._known.add(path.parent)
        path.write_bytes(data)


class _ZipSink:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def add(self, name: str, data: bytes) -> None:
        self._archive.writestr(zipfile.ZipInfo(f"images/{name}", _ZIP_DATE), data)  # ZipInfo's default: stored


@contextlib.contextmanager
def open_images(folder: Path, as_zip: bool) -> Iterator[ImageSink]:
    """Open `folder`/images or `folder`/images.zip (stored, entries under images/) for writing."""
    folder.mkdir(parents=True, exist_ok=True)
    if not as_zip:
        yield _FolderSink(folder / "images")
        return
    with zipfile.ZipFile(folder / "images.zip", "w", zipfile.ZIP_STORED) as archive:
        yield _ZipSink(archive)


def write_pickle(path: Path, value: Any) -> None:
    """Write a pickle that Python 3.4 and later read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        pickle.dump(value, file, protocol=4)


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
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{root.name}.", suffix=".partial", dir=root.parent))
    except OSError as error:
        raise InputError(f"{root}: cannot be created ({error.strerror}); choose another --root") from None
    try:
        partial.chmod(0o755)
        yield partial
        _replace(partial, root)
    except OSError as error:
        raise InputError(f"{root}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_root(root: Path, force: bool) -> None:
    """Raise an InputError unless `root` is free, or a data set made here before and `force` is given."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return
    if not (root / MARKER).is_file():
        raise InputError(f"{root}: exists and is no synthetic data set (no {MARKER}); choose another --root")
    if not force:
        raise InputError(f"{root}: exists already; use --force to make it anew, or choose another --root")


def _replace(partial: Path, root: Path) -> None:
    """Put the new folder in place of the old one; the old one is gone only once the new one is there."""
    old = partial.with_name(partial.name + ".old")
    if root.exists():
        os.replace(root, old)
    os.replace(partial, root)
    shutil.rmtree(old, ignore_errors=True)
