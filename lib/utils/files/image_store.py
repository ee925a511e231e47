"""Writing encoded images into a folder or into one zip archive, as image_io reads them."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from lib.utils.files.atomic import atomic_path

ZIP_DATE = (2020, 1, 1, 0, 0, 0)  # fixed: the same data give the same archive
PARTIAL = ".partial"  # added to the name of an archive that a killed process left without its directory


class ImageStore(Protocol):
    """Where encoded images go."""

    def add(self, name: str, data: bytes) -> None:
        """Store an image under its path below `images/`."""


class _FolderStore:
    def __init__(self, images_dir: Path) -> None:
        self._images_dir = images_dir
        self._known: set[Path] = set()

    def add(self, name: str, data: bytes) -> None:
        path = self._images_dir / name
        if path.parent not in self._known:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._known.add(path.parent)
        path.write_bytes(data)


class _ZipStore:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def add(self, name: str, data: bytes) -> None:
        self._archive.writestr(zipfile.ZipInfo(f"images/{name}", ZIP_DATE), data)  # ZipInfo's default: stored


@contextlib.contextmanager
def open_images(folder: Path, as_zip: bool, comment: bytes = b"") -> Iterator[ImageStore]:
    """Open `folder`/images or `folder`/images.zip (stored, entries under images/) for writing.

    The archive appears when the block ends without an error; until then, what stood there stays.

    Args:
        folder: receives images/ or images.zip.
        as_zip: which of them.
        comment: stands in the archive.

    Raises:
        InputError: the disk refuses the archive.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not as_zip:
        yield _FolderStore(folder / "images")
        return
    with (
        atomic_path(folder / "images.zip") as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        archive.comment = comment
        yield _ZipStore(archive)
