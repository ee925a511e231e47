"""Reading images from a folder or from one zip archive."""

from __future__ import annotations

import os
import threading
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np

from lib.utils.checks import InputError

DATA_FORMATS = ("jpg", "zip")

_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_archives: dict[tuple[int, int, str], zipfile.ZipFile] = {}


def _archive(path: str) -> zipfile.ZipFile:
    # A handle is shared neither over a fork (the file offset would be) nor between threads.
    key = (os.getpid(), threading.get_ident(), path)
    if key not in _archives:
        try:
            _archives[key] = zipfile.ZipFile(path)
        except FileNotFoundError:
            raise InputError(f"{path}: no such archive (DATASET.DATA_FORMAT is zip)") from None
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: not a zip archive, or cut off ({error})") from None
    return _archives[key]


def _read_bytes(images_dir: Path, name: str, data_format: str) -> bytes:
    if data_format == "zip":
        archive, entry = f"{images_dir}.zip", f"{images_dir.name}/{name}"
        try:
            return _archive(archive).read(entry)
        except KeyError:
            raise InputError(f"{archive}: no entry '{entry}'") from None
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # RuntimeError: encrypted
            raise InputError(f"{archive}: entry '{entry}' is damaged ({error})") from None
    try:
        return (images_dir / name).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{images_dir / name}: no such image") from None
    except OSError as error:
        raise InputError(f"{images_dir / name}: cannot be read ({error.strerror})") from None


def _decode(data: bytes) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS) if data else None
    except cv2.error:  # a header that claims an absurd size
        return None


def read_image(images_dir: str | os.PathLike, name: str, data_format: str = "jpg") -> np.ndarray:
    """Read an image in OpenCV's channel order; orientation flags are ignored.

    Args:
        images_dir: the folder of images; with "zip" the archive is this path plus `.zip` and its entries start
            with the folder's name, e.g. `images/`.
        name: path of the image below the folder.
        data_format: "jpg" (folder) or "zip".

    Returns:
        (rows, columns, 3) uint8, BGR.

    Raises:
        InputError: absent, unreadable, cut off or not an image.
    """
    data = _read_bytes(Path(images_dir), name, data_format)
    # OpenCV fills the missing part of a cut JPEG with grey and says nothing; a whole one ends with FF D9.
    cut = data[:2] == b"\xff\xd8" and data.rfind(b"\xff\xd9", len(data) // 2) < 0
    image = None if cut else _decode(data)
    if image is None:
        raise InputError(f"{Path(images_dir) / name}: {'the JPEG is cut off' if cut else 'not an image'}")
    return image
