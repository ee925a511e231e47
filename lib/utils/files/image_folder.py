"""Numbered images of a folder, read like a video."""

import contextlib
import os
import re
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from lib.utils.errors import InputError
from lib.utils.files.atomic import list_folder
from lib.utils.files.image_store import read_image
from lib.utils.files.video import VideoReader

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
DEFAULT_RATE = 30  # frames per second


def image_names(folder: str | os.PathLike) -> list[str]:
    """Return the names of the images in a folder.

    Raises:
        InputError: the folder is missing or unreadable.
    """
    return [name for name in list_folder(folder) if os.path.splitext(name)[1].lower() in SUFFIXES]


class ImageFolderReader(contextlib.AbstractContextManager):
    """Images whose names end with a number, in the order of the numbers; see VideoReader.

    Frame 0 is the image with the smallest number.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        """
        Raises:
            InputError: no images, a name without number, or two images with one number.
        """
        self.path = os.fspath(path)
        names = image_names(path)
        if not names:
            raise InputError(f"{path}: no images ({' '.join(SUFFIXES)})")
        by_number: dict[int, str] = {}
        for name in names:
            digits = re.findall(r"\d+", os.path.splitext(name)[0])
            if not digits:
                raise InputError(f"{path}: no frame number in the name '{name}'")
            other = by_number.setdefault(int(digits[-1][:18]), name)
            if other != name:
                raise InputError(f"{path}: {other} and {name} have the same number, the last one of the name")
        first = min(by_number)
        self._names = {number - first: by_number[number] for number in sorted(by_number)}
        self.num_frames = max(self._names) + 1
        self.frames_per_second = Fraction(DEFAULT_RATE)
        self.height, self.width = self._image(0).shape[:2]

    def _image(self, number: int) -> np.ndarray:
        return read_image(self.path, self._names[number], as_shown=True)

    def frames(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        """Read images start, start + step, ... below stop (None = all).

        Yields:
            Frame number from 0, and (height, width, 3) uint8 BGR.

        Raises:
            InputError: an image is damaged or has another size.
        """
        for number in self._names:
            if start <= number and (stop is None or number < stop) and (number - start) % step == 0:
                image = self._image(number)
                if image.shape[:2] != (self.height, self.width):
                    size = f"{self.width} x {self.height}"
                    raise InputError(f"{self.path}: {self._names[number]}: expected {size} px, as the first image")
                yield number, image

    def __exit__(self, *exception: object) -> None:
        pass


def open_frames(path: str | os.PathLike) -> "VideoReader | ImageFolderReader":
    """Open a video, or a folder of numbered images.

    Raises:
        InputError: as VideoReader and ImageFolderReader.
    """
    return ImageFolderReader(path) if os.path.isdir(path) else VideoReader(path)
