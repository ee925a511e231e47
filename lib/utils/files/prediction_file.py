"""HDF5 file of 2D predictions: written in the background, read lazily."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np

from lib.utils.errors import InputError, brief, check_shape
from lib.utils.files.atomic import atomic_path
from lib.utils.files.hdf5_reading import read_rows, read_texts

COMPRESSIONS = ("none", "lzf", "gzip")
DTYPES = ("float32", "float16")
_MAX_COMPRESSION = 1100  # numbers per byte of a file; gzip compresses to 1/1032 at most
_PEAKS = "single_view_peaks"  # dataset, and attribute with the mode of find_peaks()
_BATCHES_AHEAD = 2  # maximum number of batches that wait to be written


class PredictionWriter:
    """Writer of `heatmaps`, `locations`, `joint_names_order` and `image_ids`, rows in the order of append().

    Use as a context manager: the file replaces `path` when the block succeeds and all rows are written. A thread writes
    while the next batch is predicted; its errors are raised by a later append() or at the end.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        num_images: int,
        joint_names: Sequence[str],
        heatmap_wh: Sequence[int] | None,
        rows_per_chunk: int = 4,
        compression: str = "none",
        dtype: str = "float32",
        attributes: Mapping[str, str] | None = None,
        peaks: tuple[int, str] | None = None,
    ) -> None:
        """
        Args:
            path: final file.
            num_images: total number of rows (groups * views).
            joint_names: names of the J joints, in the order of the heatmaps.
            heatmap_wh: (width, height) of a heatmap; None writes locations only.
            rows_per_chunk: rows stored together, usually the views of a group.
            compression: lossless compression of the heatmaps, one of COMPRESSIONS.
            dtype: type of the heatmaps, one of DTYPES.
            attributes: provenance, name -> text.
            peaks: number K of single-view peaks per map and the mode of find_peaks(); None = without these peaks.
        """
        self.path = Path(path)
        self._num_images = num_images
        self._joint_names = list(joint_names)
        self._heatmap_wh = heatmap_wh
        self._rows_per_chunk = min(rows_per_chunk, num_images)
        self._compression = compression
        self._dtype = dtype
        self._num_peaks = 0 if peaks is None else peaks[0]
        self._attributes = {**(attributes or {}), **({} if peaks is None else {_PEAKS: peaks[1]})}
        self._image_ids: list[str] = []
        self._row = 0
        self._thread = ThreadPoolExecutor(1, "write-behind")
        self._pending: deque[Future] = deque()

    def __enter__(self) -> PredictionWriter:
        self._context = atomic_path(self.path)
        temporary = self._context.__enter__()
        try:
            self._create(temporary)
        except OSError as error:
            self._context.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def _create(self, temporary: Path) -> None:
        num_joints = len(self._joint_names)
        # Without a chunk cache a full disk is an error of append(). With one, HDF5 crashes when it closes the file.
        # From 1.10 on, HDF5 has checksums of the structure. Texts have a fixed length, see hdf5_reading.
        self._file = h5py.File(temporary, "w", libver=("v110", "v110"), rdcc_nbytes=0)
        for name, text in self._attributes.items():
            self._file.attrs[name] = _fixed_length([text])[0]
        if self._heatmap_wh is not None:
            width, height = self._heatmap_wh
            self._heatmaps = self._file.create_dataset(
                "heatmaps",
                (self._num_images, num_joints, height, width),
                self._dtype,
                chunks=(self._rows_per_chunk, num_joints, height, width),
                compression=None if self._compression == "none" else self._compression,
                shuffle=self._compression != "none",  # a third smaller
            )
        self._locations = self._file.create_dataset("locations", (self._num_images, num_joints, 3), np.float32)
        if self._num_peaks:
            shape = (self._num_images, num_joints, self._num_peaks, 3)
            self._peaks = self._file.create_dataset(_PEAKS, shape, np.float32)
        self._file["joint_names_order"] = _fixed_length(self._joint_names)

    def append(
        self,
        heatmaps: np.ndarray | None,
        locations: np.ndarray,
        image_ids: Sequence[str],
        single_view_peaks: np.ndarray | None = None,
    ) -> None:
        """Write the next rows. The arrays must not change afterwards.

        Args:
            heatmaps: (n, J, H, W); None in a file without heatmaps.
            locations: (n, J, 3) x and y in original image px, peak value.
            image_ids: n image names.
            single_view_peaks: (n, J, K, 3) x, y, heatmap px, and value of the peaks before fusion; None in a file
                without them.
        """
        while len(self._pending) >= _BATCHES_AHEAD:
            self._pending.popleft().result()
        self._pending.append(self._thread.submit(self._write, heatmaps, locations, image_ids, single_view_peaks))

    def _write(
        self,
        heatmaps: np.ndarray | None,
        locations: np.ndarray,
        image_ids: Sequence[str],
        single_view_peaks: np.ndarray | None,
    ) -> None:
        rows = slice(self._row, self._row + len(locations))
        if heatmaps is not None:
            self._heatmaps[rows] = heatmaps
        self._locations[rows] = locations
        if self._num_peaks:
            self._peaks[rows] = single_view_peaks
        self._image_ids.extend(image_ids)
        self._row = rows.stop

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failures = [future.exception() for future in self._pending]  # waits for the thread
        self._thread.shutdown()
        try:
            with self._file:
                self._file["image_ids"] = _fixed_length(self._image_ids)
        except (OSError, RuntimeError) as close_error:  # a full disk is noticed when buffers are flushed
            failures.append(OSError(str(close_error)))
        failure = next((one for one in failures if one is not None), None)
        if error is None and failure is not None:
            kind = type(failure)
            error = failure
        if error is None and self._row != self._num_images:
            kind = ValueError
            error = ValueError(f"{self._row} of {self._num_images} rows were written")
        self._context.__exit__(kind, error, trace)
        if error is not None:
            raise error


class PredictionFile:
    """Lazy reader of a prediction file of this project or of the original code.

    Attributes:
        heatmaps: (M, J, H, W) float32 or float16 dataset, read on access; None in a file without heatmaps.
        locations: (M, J, 3) dataset: x and y in original image px, peak value.
        joint_names: names of the J joints; numbers "0", "1", ... in files of the original code.
        image_ids: M image names; None in files of the original code.
        single_view_peaks: (M, J, K, 3) dataset: x and y in heatmap px and value of the K highest peaks before fusion,
            NaN, NaN, 0 = missing; None = not stored.
        attributes: provenance, name -> text; empty in files of the original code.
    """

    def __init__(self, path: str | os.PathLike, needs_heatmaps: bool = True) -> None:
        """
        Args:
            path: the file.
            needs_heatmaps: refuse a file without heatmaps.

        Raises:
            InputError: the file is missing, truncated, not HDF5 or lacks arrays.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{path}: no such prediction file; run/pose2d/valid.py with the same --opts writes it")
        try:
            texts = read_texts(path, ("joint_names_order", "image_ids"))
            self._file = h5py.File(path, "r")
            has_heatmaps = "heatmaps" in self._file
            self.heatmaps = self._file["heatmaps"] if has_heatmaps else None
            self.locations = self._file["locations"]
            self.joint_names = list(map(str, texts.columns["joint_names_order"]))
            self.image_ids = list(map(str, texts.columns["image_ids"])) if "image_ids" in texts.columns else None
            self.attributes = texts.attributes
            self.single_view_peaks = self._file.get(_PEAKS)
            shapes = self.heatmaps.shape if has_heatmaps else None, self.locations.shape
        except (OSError, KeyError, RuntimeError, AttributeError, TypeError, ValueError) as error:
            if "unable to lock file" in str(error) or "already open for write" in str(error):
                raise InputError(
                    f"{path}: another program has it open, or ended while it had; close it (e.g. a notebook), "
                    "or run run/pose2d/valid.py again"
                ) from None
            raise InputError(f"{path}: not a prediction file, or truncated ({brief(error)})") from None
        if needs_heatmaps and not has_heatmaps:
            raise InputError(f"{path}: has no heatmaps; call run/pose2d/valid.py without --locations-only")
        check_shape(f"{path}: locations", shapes[1], ("M", "J", 3))
        claimed = sum(math.prod(shape) for shape in shapes if shape is not None)
        if claimed > _MAX_COMPRESSION * self.path.stat().st_size:
            raise InputError(f"{path}: not a prediction file, or truncated (it claims {claimed:.2g} numbers)")
        if has_heatmaps and (len(shapes[0]) != 4 or shapes[1] != (*shapes[0][:2], 3)):
            raise InputError(
                f"{path}: expected heatmaps (M, J, H, W) and locations (M, J, 3), received {shapes[0]} and {shapes[1]}"
            )
        if self.single_view_peaks is not None:
            peaks_shape = getattr(self.single_view_peaks, "shape", ())  # empty for a folder of datasets
            check_shape(f"{path}: {_PEAKS}", peaks_shape, (*shapes[1][:2], "K", 3))
        if self.image_ids is not None:
            check_shape(f"{path}: image_ids", (len(self.image_ids),), (shapes[1][0],))

    def check_matches(self, image_ids: Sequence[str], joint_names: Sequence[str]) -> None:
        """Check that the predictions belong to a data set.

        Args:
            image_ids: image names of the data set, group by group, view by view.
            joint_names: joints of the data set, in union order.

        Raises:
            InputError: the images or joints differ.
        """
        if len(image_ids) != len(self.locations):
            raise InputError(
                f"{self.path}: expected the {len(image_ids)} images of the data set, received {len(self.locations)}; "
                "it was made for another data set or step"
            )
        numbers = [str(joint) for joint in range(len(joint_names))]  # the original code writes numbers
        if self.joint_names not in (list(joint_names), numbers):
            raise InputError(
                f"{self.path}: expected the joints {list(joint_names)} of the data set, received {self.joint_names}"
            )
        if self.image_ids is not None and self.image_ids != list(image_ids):
            row = next(i for i, pair in enumerate(zip(self.image_ids, image_ids, strict=True)) if pair[0] != pair[1])
            raise InputError(
                f"{self.path}: expected '{image_ids[row]}' in row {row}, received '{self.image_ids[row]}'; it was made "
                "for another data set"
            )

    def read(
        self, start: int, stop: int, allocate: Callable[..., np.ndarray] = np.empty
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read heatmaps (n, J, H, W) and locations (n, J, 3) of rows [start, stop), float32.

        Args:
            start, stop: rows.
            allocate: (shape, type) -> array for the heatmaps.

        Raises:
            InputError: the file is damaged.
        """
        try:
            heatmaps = read_rows(self.heatmaps, start, stop, allocate)
            return heatmaps.astype(np.float32, copy=False), read_rows(self.locations, start, stop)
        except (OSError, RuntimeError) as error:
            raise InputError(f"{self.path}: rows {start} to {stop} are damaged ({brief(error)})") from None

    @property
    def peaks_format(self) -> tuple[int, str] | None:
        """Number of single-view peaks per map and their mode of find_peaks(); None = not stored."""
        stored = self.single_view_peaks
        return None if stored is None else (stored.shape[2], self.attributes.get(_PEAKS, "unknown"))

    def read_single_view_peaks(self, start: int, stop: int) -> np.ndarray:
        """Read the single-view peaks of rows [start, stop), (n, J, K, 3) float32.

        Raises:
            InputError: the file is damaged.
        """
        try:
            return read_rows(self.single_view_peaks, start, stop).astype(np.float32, copy=False)
        except (OSError, RuntimeError) as error:
            raise InputError(f"{self.path}: {_PEAKS} {start} to {stop} are damaged ({brief(error)})") from None

    def read_locations(self) -> np.ndarray:
        """Read all locations, (M, J, 3): x and y in original image px, peak value.

        Raises:
            InputError: the file is damaged.
        """
        try:
            return self.locations[:]
        except (OSError, RuntimeError) as error:
            raise InputError(f"{self.path}: the locations are damaged ({brief(error)})") from None

    def fingerprint(self) -> str:
        """Return a digest of sizes, type, joints, images and locations; the large heatmaps are not read.

        Raises:
            InputError: the locations are damaged.
        """
        kind = None if self.heatmaps is None else (self.heatmaps.shape, str(self.heatmaps.dtype))
        return predictions_fingerprint(kind, self.joint_names, self.image_ids, self.read_locations(), self.peaks_format)

    def batches(
        self, num_rows: int, allocate: Callable[..., np.ndarray] = np.empty
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read all rows in batches of `num_rows`. A thread reads the next batch ahead.

        Close the iterator (contextlib.closing) before the file.

        Args:
            num_rows: rows per batch.
            allocate: see read().

        Yields:
            Heatmaps (n, J, H, W) and locations (n, J, 3), float32.

        Raises:
            InputError: the file is damaged.
        """
        with ThreadPoolExecutor(1, "read-ahead") as reader:
            coming = reader.submit(self.read, 0, num_rows, allocate)
            for stop in range(num_rows, len(self.heatmaps), num_rows):
                batch = coming.result()
                coming = reader.submit(self.read, stop, stop + num_rows, allocate)
                yield batch
            yield coming.result()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> PredictionFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def predictions_fingerprint(
    heatmaps: tuple[Sequence[int], str] | None,
    joint_names: Sequence[str],
    image_ids: Sequence[str] | None,
    locations: np.ndarray,
    peaks: tuple[int, str] | None = None,
) -> str:
    """Return the fingerprint of a prediction file, stored or not.

    Args:
        heatmaps: shape and type of the heatmaps; None = without heatmaps.
        joint_names: J names.
        image_ids: M image names; None = unknown.
        locations: (M, J, 3) float32.
        peaks: number and mode of the single-view peaks; None = without.
    """
    kind = None if heatmaps is None else [*heatmaps[0], heatmaps[1], *(peaks or ())]
    digest = hashlib.sha256(json.dumps([kind, joint_names, image_ids]).encode())
    digest.update(locations.tobytes())
    return digest.hexdigest()[:16]


def _fixed_length(texts: Sequence[str]) -> np.ndarray:
    """Return texts as an array of UTF-8 that HDF5 stores with a fixed length."""
    encoded = [text.encode() for text in texts]
    return np.array(encoded, h5py.string_dtype("utf-8", max([1, *map(len, encoded)])))
