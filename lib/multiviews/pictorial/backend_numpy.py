"""What differs between array libraries in the 3D inference, and its numpy form."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import cv2
import numpy as np
import scipy.sparse

from lib.multiviews.pictorial.shift_max import ShiftMax

Array = Any  # an array of the backend's library


@dataclass(frozen=True)
class Taps:
    """The four pixels around each of C * n projected bins, in F frames and V views.

    Attributes:
        first: (F, V, C, n) int64 flat index y * W + x of the upper left pixel; the others are +1, +W and +W+1.
        weights: float64 weights of the four pixels in this order, each (F, V, C, n).
    """

    first: Array
    weights: tuple[Array, Array, Array, Array]


class Backend(Protocol):
    """Array operations behind rpsm(); numpy and torch share the rest of their functions under equal names.

    Attributes:
        xp: the library's module.
        num_threads: blocks of frames that for_each() works on at a time.
        block_bins: frames times bins of the first grid (or pairs of bins of the later ones) in a block; bounds the
            memory, some 0.5 kB each with 17 joints.
        sample_bins: frames times bins of the first grid that are sampled together, 1.5 kB each with 4 views.
    """

    xp: ModuleType
    num_threads: int
    block_bins: int
    sample_bins: int

    def floats(self, values: Any) -> Array:
        """Return float64 values on the device."""

    def integers(self, values: Any) -> Array:
        """Return int64 values on the device."""

    def heatmaps(self, values: np.ndarray) -> Array:
        """Return float32 values on the device."""

    def numpy(self, values: Array) -> np.ndarray:
        """Return a numpy array."""

    def frames_last(self, parts: list[Array]) -> Array:
        """Join blocks of frames (f, N, J) into one contiguous array (J, N, F)."""

    def take_along(self, values: Array, index: Array, axis: int) -> Array:
        """Return the entries that `index` names along an axis, as numpy's take_along_axis."""

    def for_each(self, function: Callable[[slice], None], blocks: Iterable[slice]) -> None:
        """Call a function for each block of frames, several at a time; errors are raised here."""

    def sample_shared(self, maps: Array, taps: Taps) -> Array:
        """Sum weighted pixels over the views, at bins that all joints share.

        Args:
            maps: (F, V, J, H, W); values below 0 count as 0.
            taps: of one centre (F, V, 1, n).

        Returns:
            (F, n, J) float64.
        """

    def sample_own(self, maps: Array, taps: Taps) -> Array:
        """Sum weighted pixels over the views, at bins of each joint's own.

        Args:
            maps: (F, V, J, H, W); values below 0 count as 0.
            taps: of J centres (F, V, J, n).

        Returns:
            (F, J, n) float64.
        """

    def shift_max(self, volume: Array, program: ShiftMax) -> Array:
        """Run a program on a float64 volume (n, n, n, F); the result is valid until the thread's next call."""


class NumpyBackend:
    """The backend for numpy; needs no torch.

    Args:
        num_threads: None = as many as there are processors to use.
    """

    xp = np
    # 16 frames and 1 frame at 16 bins per axis: what belongs together stays in the processor's cache.
    block_bins = 2**16
    sample_bins = 2**12

    def __init__(self, num_threads: int | None = None) -> None:
        self.num_threads = num_threads or usable_processors()
        self._pool = ThreadPoolExecutor(self.num_threads, "rpsm")
        self._local = threading.local()  # scratch volumes of each thread

    def floats(self, values: Any) -> np.ndarray:
        return np.asarray(values, np.float64)

    def integers(self, values: Any) -> np.ndarray:
        return np.asarray(values, np.int64)

    def heatmaps(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(values, np.float32)

    def numpy(self, values: np.ndarray) -> np.ndarray:
        return values

    def frames_last(self, parts: list[np.ndarray]) -> np.ndarray:
        out = np.empty((*parts[0].shape[:0:-1], sum(map(len, parts))))
        return np.concatenate([part.swapaxes(0, 2) for part in parts], -1, out=out)

    def take_along(self, values: np.ndarray, index: np.ndarray, axis: int) -> np.ndarray:
        return np.take_along_axis(values, index, axis)

    def for_each(self, function: Callable[[slice], None], blocks: Iterable[slice]) -> None:
        list(self._pool.map(function, blocks))

    def sample_shared(self, maps: np.ndarray, taps: Taps) -> np.ndarray:
        num_frames, num_views, num_joints, height, width = maps.shape
        num_maps = num_frames * num_views
        num_bins = taps.first.shape[-1]
        table = np.empty((num_maps, height * width, num_joints))
        for view, joint_maps in enumerate(maps.reshape(num_maps, num_joints, -1)):
            np.maximum(cv2.transpose(joint_maps), 0, out=table[view])  # numpy does not transpose tile by tile
        map_start = np.arange(num_maps).reshape(num_frames, 1, num_views) * (height * width)
        first = taps.first[:, :, 0].swapaxes(1, 2) + map_start  # (F, n, V)
        pixels = np.empty((*first.shape, 4), np.int32)
        weights = np.empty((*first.shape, 4))
        for tap, step in enumerate((0, 1, width, width + 1)):
            pixels[..., tap] = first + step
            weights[..., tap] = taps.weights[tap][:, :, 0].swapaxes(1, 2)
        # One sparse row per bin sums its taps in all views, for all joints at once.
        row_starts = np.arange(num_frames * num_bins + 1, dtype=np.int32) * (num_views * 4)
        rows = scipy.sparse.csr_array(
            (weights.reshape(-1), pixels.reshape(-1), row_starts),
            shape=(num_frames * num_bins, num_maps * height * width),
        )
        return (rows @ table.reshape(-1, num_joints)).reshape(num_frames, num_bins, num_joints)

    def sample_own(self, maps: np.ndarray, taps: Taps) -> np.ndarray:
        height, width = maps.shape[-2:]
        map_start = np.arange(maps[..., 0, 0].size).reshape(maps.shape[:3]) * (height * width)  # (F, V, J)
        first = taps.first + map_start[..., None]
        values = maps.reshape(-1)
        return sum(
            np.maximum(values.take(first + step), 0) * weight
            for step, weight in zip((0, 1, width, width + 1), taps.weights, strict=True)
        ).sum(1)

    def shift_max(self, volume: np.ndarray, program: ShiftMax) -> np.ndarray:
        scratch = getattr(self._local, "scratch", np.empty(0))
        if scratch.shape[1:] != volume.shape or len(scratch) < program.num_buffers - 1:
            self._local.scratch = scratch = np.empty((program.num_buffers - 1, *volume.shape))
        scratch = scratch[: program.num_buffers - 1]
        scratch.fill(-np.inf)
        buffers = [volume, *scratch]
        for target, target_part, source, source_part in program.steps:
            part = buffers[target][target_part]
            np.maximum(part, buffers[source][source_part], out=part)
        return buffers[-1]


def usable_processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
