"""Writer of memory-mapped annotations; lib/dataset/storage/memmap.py opens them."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import BinaryIO

import numpy as np

from lib.dataset.annotations import Annotations
from lib.dataset.storage.memmap import (
    CAMERA_ARRAYS,
    IMAGE_ARRAYS,
    LABEL_ARRAYS,
    META,
    OPTIONAL_ARRAYS,
    VERSION,
    AnnotationFile,
    file_fingerprint,
)
from lib.multiviews.cameras import Cameras
from lib.utils.errors import InputError
from lib.utils.files.atomic import atomic_directory
from lib.utils.files.json_file import write_json


class _ArrayFile:
    """A .npy file that is written in parts.

    It is written instead of mapped, because a full disk kills a process that writes to a map.
    """

    def __init__(self, path: Path, num_rows: int) -> None:
        self._path = path
        self._num_rows = num_rows
        self._dtype = np.dtype(float)
        self._file: BinaryIO | None = None

    def append(self, rows: np.ndarray) -> None:
        if self._file is None:
            self._dtype = rows.dtype
            self._file = open(self._path, "wb")  # noqa: SIM115 - closed by close()
            np.lib.format.write_array_header_1_0(
                self._file,
                {
                    "descr": np.lib.format.dtype_to_descr(rows.dtype),
                    "fortran_order": False,
                    "shape": (self._num_rows, *rows.shape[1:]),
                },
            )
        if rows.dtype.itemsize > self._dtype.itemsize:
            raise InputError(
                f"{self._path.name}: expected image names of at most {self._dtype.itemsize} bytes, "
                f"received {rows.dtype.itemsize}"
            )
        self._file.write(np.ascontiguousarray(rows, self._dtype).tobytes())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class CompactWriter:
    """Writes annotations in parts; only the cameras are kept in memory."""

    def __init__(self, folder: Path, num_images: int) -> None:
        self._folder, self._left = folder, num_images
        self._arrays = {
            name: _ArrayFile(folder / f"{name}.npy", num_images)
            for name in (*IMAGE_ARRAYS, *OPTIONAL_ARRAYS, *LABEL_ARRAYS)
        }
        self._optional: set[str] = set()
        self._cameras: list[Cameras] = []
        self._known: dict[bytes, int] = {}
        self._source = ""
        self._joint_names = []

    def append(self, part: Annotations) -> None:
        """Write a part. Its image names must fit the longest name of the first part."""
        labels = part.labels3d
        self._left -= len(part)
        self._source = part.source
        self._joint_names = list(part.joint_set.names)
        numbers = np.array(
            [self._number(labels.cameras[camera : camera + 1]) for camera in range(len(labels.cameras.R))]
        )
        for name in IMAGE_ARRAYS:
            self._arrays[name].append(getattr(part, name))
        for name in OPTIONAL_ARRAYS:
            if getattr(part, name) is not None:
                self._arrays[name].append(getattr(part, name))
                self._optional.add(name)
        for name in LABEL_ARRAYS:
            values = getattr(labels, name)
            self._arrays[name].append(numbers[values].astype(np.int32) if name == "camera_idx" else values)

    def _number(self, camera: Cameras) -> int:
        content = b"".join(getattr(camera, field.name).tobytes() for field in fields(camera))
        if content not in self._known:
            self._known[content] = len(self._cameras)
            self._cameras.append(camera)
        return self._known[content]

    def finish(self, file: AnnotationFile) -> None:
        """Write the cameras and meta.json. The pickle must exist."""
        if self._left:
            raise ValueError(f"the parts have {self._left} images less than announced")
        for array in self._arrays.values():
            array.close()
        for name in CAMERA_ARRAYS:
            values = np.concatenate([getattr(camera, name) for camera in self._cameras])
            np.save(self._folder / f"camera_{name}.npy", values, allow_pickle=False)
        write_json(
            self._folder / META,
            {
                "version": VERSION,
                "source": self._source,
                "num_images": len(np.load(self._folder / "image.npy", mmap_mode="r")),
                "joint_names": self._joint_names,
                "optional": sorted(self._optional),
                "made_with": file.made_with,
                "pickle": file_fingerprint(file.path),
            },
        )

    def close(self) -> None:
        """Close the files."""
        for array in self._arrays.values():
            with contextlib.suppress(OSError):
                array.close()


@contextlib.contextmanager
def compact_writer(file: AnnotationFile, num_images: int) -> Iterator[Callable[[Annotations], None]]:
    """Write the arrays of an annotation file, atomically.

    Args:
        file: annotation file. The pickle must exist when the block ends; its fingerprint is stored to detect changes.
        num_images: total number of images.

    Yields:
        Function that writes the next part of the annotations, with 3D labels.

    Raises:
        InputError: the folder cannot be written.
    """
    with atomic_directory(file.compact_folder) as folder:
        writer = CompactWriter(folder, num_images)
        try:
            yield writer.append
            writer.finish(file)
        finally:
            writer.close()


def save_compact(annotations: Annotations, file: AnnotationFile) -> None:
    """Write the arrays of an annotation file from annotations in memory. See compact_writer()."""
    with compact_writer(file, len(annotations)) as append:
        append(annotations)
