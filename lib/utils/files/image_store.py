"""Images in a folder or in one zip archive: reading and writing."""

import contextlib
import os
import re
import threading
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from lib.utils.errors import InputError, brief, unknown_name
from lib.utils.files.atomic import atomic_path

DATA_FORMATS = ("jpg", "zip")
ZIP_DATE = (2020, 1, 1, 0, 0, 0)  # fixed: equal data give equal archives
_END_OF_JPEG = b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # excludes markers inside the pixel data
_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_archives: dict[tuple[int, int, str], zipfile.ZipFile] = {}


def _archive(path: str) -> zipfile.ZipFile:
    # Forked processes and threads need their own handle, because a handle has one file offset.
    key = (os.getpid(), threading.get_ident(), path)
    if key not in _archives:
        _archives[key] = _open_archive(path)
    return _archives[key]


def _open_archive(path: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        folder = path.removesuffix(".zip")
        remedy = f"set it to jpg for the folder {folder}" if Path(folder).is_dir() else "provide it"
        raise InputError(f"{path}: no such archive (DATASET.DATA_FORMAT is zip); {remedy}") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a zip archive, or truncated ({brief(error)})") from None


def _check_format(data_format: str) -> None:
    if data_format not in DATA_FORMATS:
        raise unknown_name("data format", data_format, DATA_FORMATS)


def _read_bytes(images_dir: Path, name: str, data_format: str) -> bytes:
    _check_format(data_format)
    if data_format == "zip":
        archive = f"{images_dir}.zip"
        entry = f"{images_dir.name}/{name}"
        try:
            return _archive(archive).read(entry)
        except KeyError:
            raise InputError(f"{archive}: no entry '{entry}'") from None
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # RuntimeError: encrypted
            raise InputError(f"{archive}: entry '{entry}' is damaged ({brief(error)})") from None
    try:
        return (images_dir / name).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{images_dir / name}: no such image") from None
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise InputError(f"{images_dir / name}: cannot be read ({getattr(error, 'strerror', error)})") from None


def missing_images(images_dir: str | os.PathLike, names: Iterable[str], data_format: str = "jpg") -> list[str]:
    """Return the names of missing images in their order.

    Each folder is listed once, because a query per file takes minutes for a million files on a network disk.

    Args:
        images_dir, data_format: as in read_image().
        names: paths of images below the folder.

    Raises:
        InputError: the archive is missing or damaged.
    """
    _check_format(data_format)
    images_dir = Path(images_dir)
    if data_format == "zip":
        with _open_archive(f"{images_dir}.zip") as archive:
            entries = set(archive.namelist())
        return [name for name in names if f"{images_dir.name}/{name}" not in entries]
    listed: dict[str, set[str]] = {}
    missing = []
    for name in names:
        folder, _, file = name.rpartition("/")
        if folder not in listed:
            listed[folder] = _listing(images_dir / folder)
        if file not in listed[folder]:
            missing.append(name)
    return missing


def _listing(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if not entry.is_dir()}
    except (OSError, ValueError):
        return set()


def _decode(data: bytes, as_shown: bool) -> np.ndarray | None:
    flags = cv2.IMREAD_COLOR if as_shown else _FLAGS
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:  # a header that claims an absurd size
        return None


def _is_truncated(data: bytes) -> bool:
    """Return whether a JPEG is truncated. OpenCV would fill the missing part with gray without an error.

    The search goes from segment to segment, because a thumbnail inside a segment has its own end marker and other data
    may follow the image.
    """
    if not data.startswith(b"\xff\xd8") or data.endswith(_END_OF_JPEG):
        return False
    place = 2
    while marker := _MARKER.search(data, place):
        if marker[0] == _END_OF_JPEG:
            return False
        place = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
    return True


def read_image(
    images_dir: str | os.PathLike, name: str, data_format: str = "jpg", as_shown: bool = False
) -> np.ndarray:
    """Read an image in OpenCV's channel order.

    Args:
        images_dir: folder of images. With "zip" the archive is <images_dir>.zip, whose entries start with the folder's
            name, e.g. `images/`.
        name: path of the image below the folder.
        data_format: "jpg" (folder) or "zip".
        as_shown: turn the image as its orientation flag says. Data sets do not, since their labels are of the stored
            pixels.

    Returns:
        (rows, columns, 3) uint8, BGR.

    Raises:
        InputError: the image is missing, unreadable, truncated or not an image.
    """
    data = _read_bytes(Path(images_dir), name, data_format)
    truncated = _is_truncated(data)
    image = None if truncated else _decode(data, as_shown)
    if image is None:
        raise InputError(f"{Path(images_dir) / name}: {'the JPEG is truncated' if truncated else 'not an image'}")
    return image


class ImageStore(Protocol):
    """Destination of encoded images."""

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
    """Open `folder`/images or `folder`/images.zip for writing.

    The archive is stored, not compressed, and replaces an old one when the block succeeds.

    Args:
        folder: receives images/ or images.zip.
        as_zip: write images.zip.
        comment: comment of the archive.

    Raises:
        InputError: the archive cannot be written.
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
