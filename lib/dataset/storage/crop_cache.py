"""Ready crops of a data set in a memory-mapped file.

Without random scale, rotation or shift the crop of an image never changes; flip augmentation mirrors the crop
that was read. Reading it from a file takes some 15 us instead of decoding and warping the image, and all processes
share the file's pages. The name of a file contains a digest of everything that
decides its pixels, so a file of other data or settings is never read.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from lib.dataset.annotations import Annotations
from lib.dataset.groups import Part
from lib.dataset.sample import SampleSettings, read_crops
from lib.utils.errors import InputError, brief
from lib.utils.files.atomic import atomic_path, make_directory
from lib.utils.parallel.process_map import map_processes
from lib.utils.transforms import get_affine_transform

logger = logging.getLogger(__name__)

_VERSION = 1  # of the format and of the way from the image to the crop
_CROPS_PER_TASK = 32
_STATUS_THREADS = 16  # on network disks the status of a file takes a millisecond
_NAMES_PER_THREAD_TASK = 1000


class CropCache:
    """Reader of a file of write_crops()."""

    def __init__(self, path: Path, rows: np.ndarray) -> None:
        """
        Args:
            path: (N, H_in, W_in, 3) uint8 in the .npy format.
            rows: (N,) rows of the annotations, ascending.

        Raises:
            InputError: the file is missing, truncated or has another size.
        """
        self.path = path
        self._rows = rows
        try:
            crops = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path}: not a file of crops, or truncated ({brief(error)}); remove it") from None
        if crops.dtype != np.uint8 or crops.ndim != 4 or len(crops) != len(rows):
            raise InputError(f"{path}: expected {len(rows)} crops, received {crops.dtype} {crops.shape}; remove it")
        self._crops = np.asarray(crops)  # a plain view, because np.memmap is slow to index

    def __reduce__(self) -> Any:
        return CropCache, (self.path, self._rows)  # another process maps the file instead of receiving a copy

    def read(self, rows: np.ndarray, out: Sequence[np.ndarray]) -> None:
        """Copy the crops of n images, rows of the annotations, into n arrays (H_in, W_in, 3) uint8."""
        for crop, place in zip(out, np.searchsorted(self._rows, rows).tolist(), strict=True):
            crop[...] = self._crops[place]


@dataclass(frozen=True)
class CropFile:
    """The file of a part's crops.

    Attributes:
        path: the file; it may be missing.
        annotations: annotations of the part.
        rows: (N,) rows of the images that the groups use, ascending.
        settings: sizes and data format.
    """

    path: Path
    annotations: Annotations
    rows: np.ndarray
    settings: SampleSettings

    @classmethod
    def of_part(cls, folder: Path, part: Part, settings: SampleSettings) -> CropFile:
        """Return the file of the crops of all images that a part's groups use.

        Args:
            folder: folder of files of crops (DATASET.CROP_CACHE).
            part: groups of one source.
            settings: sizes and data format.
        """
        rows = np.unique(part.groups)
        width, height = settings.image_wh
        digest = _digest(part.annotations, rows, settings)
        path = folder / f"{part.annotations.source}_{width}x{height}_{digest}.npy"
        return cls(path, part.annotations, rows, settings)

    @property
    def num_bytes(self) -> int:
        """Size of the crops."""
        width, height = self.settings.image_wh
        return len(self.rows) * width * height * 3

    def describe(self) -> str:
        """Return source, number, size and bytes of the crops as text."""
        width, height = self.settings.image_wh
        name = self.annotations.images_dir.parent.name
        return f"{len(self.rows)} crops of {name}, {width} x {height} px, {self.num_bytes / 1e9:.2f} GB"

    def open(self) -> CropCache:
        """Map the file.

        Raises:
            InputError: see CropCache.
        """
        return CropCache(self.path, self.rows)


def open_caches(folder: Path, parts: Sequence[Part], settings: SampleSettings) -> list[CropCache]:
    """Open the crops of all parts. If a part has none, one warning says so and the images are read.

    Args:
        folder: folder of files of crops (DATASET.CROP_CACHE).
        parts: groups, as of MultiviewDataset.
        settings: sizes and data format; augmentation is ignored.

    Returns:
        One cache per part; [] = read the images.
    """
    files = [CropFile.of_part(folder, part, settings) for part in parts]
    try:
        for file in files:
            if not file.path.is_file():
                raise InputError(f"{folder}: no file of the present {file.describe()}")
        caches = [file.open() for file in files]
    except InputError as error:
        logger.warning(
            "DATASET.CROP_CACHE: %s; the images are read instead; run/data/cache_crops.py with the same --cfg and "
            "--opts writes the crops",
            error,
        )
        return []
    for file in files:
        logger.info("%s, read from %s", file.describe(), file.path)
    return caches


def write_crops(file: CropFile, workers: int) -> None:
    """Read and crop all images and write the file atomically.

    Args:
        file: the file; an existing one is replaced.
        workers: number of processes.

    Raises:
        InputError: the disk has too little space, an image is missing or unreadable, or the file cannot be written.
    """
    folder = make_directory(file.path.parent)
    with atomic_path(file.path) as temporary:
        free = shutil.disk_usage(folder).free
        if free < file.num_bytes:
            raise InputError(
                f"{folder}: expected {file.num_bytes / 1e9:.2f} GB of free disk for {file.describe()}, received "
                f"{free / 1e9:.2f} GB; use another folder (DATASET.CROP_CACHE) or a larger DATASET.TRAIN_STEP"
            )
        width, height = file.settings.image_wh
        with temporary.open("wb") as stream:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(file.rows), height, width, 3)}
            np.lib.format.write_array_header_1_0(stream, header)
            start = stream.tell()
            stream.truncate(start + file.num_bytes)
        firsts = range(0, len(file.rows), _CROPS_PER_TASK)
        tasks = [_task(file, temporary, start, first) for first in firsts]
        with tqdm(total=len(file.rows), desc="crops", unit="image", disable=None, leave=False) as bar:
            for number in map_processes(_write_task, tasks, workers):
                bar.update(number)
        with temporary.open("rb+") as stream:
            os.fsync(stream)  # after a power failure a file under its final name must not have holes


@dataclass(frozen=True)
class _CropTask:
    """Images that one process crops: where to write them, and what read_crops() needs."""

    path: Path
    offset: int
    images_dir: Path
    names: list[str]
    center: np.ndarray
    scale: np.ndarray
    settings: SampleSettings


def _task(file: CropFile, path: Path, start: int, first: int) -> _CropTask:
    rows = file.rows[first : first + _CROPS_PER_TASK]
    annotations = file.annotations
    return _CropTask(
        path,
        start + file.num_bytes // len(file.rows) * first,
        annotations.images_dir,
        [annotations.image_name(row) for row in rows],
        annotations.center[rows],
        annotations.scale[rows],
        file.settings,
    )


def _write_task(task: _CropTask) -> int:
    """Write the crops of a task into the file and return their number."""
    width, height = task.settings.image_wh
    crops = np.empty((len(task.names), height, width, 3), np.uint8)
    matrix = get_affine_transform(task.center, task.scale, 0.0, task.settings.image_wh)
    read_crops(task.images_dir, task.names, matrix, task.settings, crops)
    with task.path.open("rb+") as stream:
        stream.seek(task.offset)
        stream.write(crops)
    return len(crops)


def _digest(annotations: Annotations, rows: np.ndarray, settings: SampleSettings) -> str:
    """Return a digest of names, boxes, sizes and times of the images, crop size, data format and OpenCV's version."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(repr((_VERSION, cv2.__version__, settings.image_wh, settings.data_format)).encode())
    names = [annotations.image_name(row) for row in rows]
    digest.update("\n".join(names).encode())
    for values in (annotations.center, annotations.scale):
        digest.update(np.ascontiguousarray(values[rows], np.float32))
    if settings.data_format == "zip":
        statuses = [_statuses(annotations.images_dir.parent, [f"{annotations.images_dir.name}.zip"])]
    else:
        parts = [names[i : i + _NAMES_PER_THREAD_TASK] for i in range(0, len(names), _NAMES_PER_THREAD_TASK)]
        with ThreadPoolExecutor(_STATUS_THREADS) as pool:
            statuses = list(pool.map(partial(_statuses, annotations.images_dir), parts))
    digest.update(np.concatenate(statuses))
    return digest.hexdigest()


def _statuses(folder: Path, names: Sequence[str]) -> np.ndarray:
    """Return size in bytes and modification time in ns of files, (n, 2) int64; -1 for missing ones."""
    found = np.full((len(names), 2), -1, np.int64)
    for place, name in enumerate(names):
        try:
            status = os.stat(f"{folder}/{name}")
        except (OSError, ValueError):  # ValueError: a null character
            continue
        found[place] = status.st_size, status.st_mtime_ns
    return found
