"""Interface of the array backends of RPSM, and the numpy backend."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import scipy.sparse

from lib.multiviews.pictorial.shift_max import ShiftMax
from lib.utils.parallel.processes import usable_processors

Array = Any  # an array of the backend's library


@dataclass(frozen=True)
class Taps:
    """The four pixels around each of n points in F * V * C maps, for bilinear interpolation.

    Attributes:
        first: (F, V, C, n) int64 flat index y * W + x of the upper left pixel; the others are +1, +W and +W+1.
        weights: float64 weights of the four pixels in this order, each (F, V, C, n).
    """

    first: Array
    weights: tuple[Array, Array, Array, Array]


class Backend(ABC):
    """Array operations of rpsm() that differ between numpy and torch.

    Attributes:
        xp: module of the array library.
        num_threads: number of blocks that for_each() processes in parallel.
        block_bins: frames times bins (or pairs of bins) per block; limits memory, about 0.5 kB each with 17 joints.
        sample_bins: frames times bins of the first grid sampled together, about 1.5 kB each with 4 views.
        batch_frames: frames that a script reads and solves at a time, by default.
    """

    xp: ModuleType
    # 16 frames and 1 frame at 16 bins per axis, which fit a processor's cache.
    block_bins = 2**16
    sample_bins = 2**12
    batch_frames = 64
    # True: for_each() runs within the steps below, so they are called for all frames at once and not within for_each().
    kernels_run_in_parallel = False
    # Steps that a backend has its own kernels for, as methods with the arguments of the function without `backend`.
    # None: the function uses the array operations below.
    rpsm: Callable[..., np.ndarray] | None = None
    find_peaks: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None
    triangulate_robust: Callable[..., np.ndarray] | None = None
    peak_rays: Callable[..., Any] | None = None
    swapped_views: Callable[..., np.ndarray] | None = None
    select_candidates: Callable[..., np.ndarray] | None = None
    distinct_candidates: Callable[..., tuple[np.ndarray, np.ndarray, np.ndarray]] | None = None
    optimize_pose: Callable[..., np.ndarray] | None = None
    measured_noise: Callable[..., np.ndarray] | None = None
    fit_joints: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None
    count_supporting_views: Callable[..., np.ndarray] | None = None
    sample_maps: Callable[..., np.ndarray] | None = None

    def __init__(self, num_threads: int, **pool_options: Any) -> None:
        self.num_threads = num_threads
        self._pool = ThreadPoolExecutor(num_threads, "rpsm", **pool_options)
        self._local = threading.local()  # scratch volumes per thread

    @abstractmethod
    def floats(self, values: Any) -> Array:
        """Return float64 values on the device."""

    @abstractmethod
    def integers(self, values: Any) -> Array:
        """Return int64 values on the device."""

    @abstractmethod
    def heatmaps(self, values: np.ndarray) -> Array:
        """Return float32 values on the device."""

    def host_array(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        """Return an empty numpy array that heatmaps() copies from quickly."""
        return np.empty(shape, dtype)

    @abstractmethod
    def numpy(self, values: Array) -> np.ndarray:
        """Return a numpy array."""

    @abstractmethod
    def frames_last(self, parts: list[Array]) -> Array:
        """Concatenate blocks of frames (f, N, J) to one contiguous array (J, N, F)."""

    @abstractmethod
    def take_along(self, values: Array, index: Array, axis: int) -> Array:
        """Do as numpy's take_along_axis."""

    @abstractmethod
    def sample_shared(self, maps: Array, taps: Taps) -> Array:
        """Interpolate maps (F, V, J, H, W), clipped at 0, at taps (F, V, 1, n), and sum over the views: (F, n, J)."""

    @abstractmethod
    def sample_own(self, maps: Array, taps: Taps) -> Array:
        """Interpolate maps (F, V, J, H, W), clipped at 0, at taps (F, V, J, n), and sum over the views: (F, J, n)."""

    def shares(self, num_frames: int) -> Iterator[slice]:
        """Split frames into at most two blocks per thread: few calls, and the threads end at nearly the same time."""
        size = max(-(-num_frames // (2 * self.num_threads)), 1)
        for start in range(0, num_frames, size):
            yield slice(start, min(start + size, num_frames))

    def for_each(self, function: Callable[[slice], None], blocks: Iterable[slice]) -> None:
        """Call a function for each block of frames, in parallel; its exceptions are raised here."""
        list(self._pool.map(function, blocks))

    def shift_max(self, volume: Array, program: ShiftMax) -> Array:
        """Run a program on a float64 volume (n, n, n, F). The thread's next call overwrites the result."""
        shape = (program.num_buffers - 1, *volume.shape)
        scratch = getattr(self._local, "scratch", np.empty(0))
        if scratch.shape[1:] != shape[1:] or len(scratch) < shape[0]:
            self._local.scratch = scratch = self.floats(np.empty(shape))
        scratch = scratch[: shape[0]]
        scratch[...] = -np.inf
        buffers = [volume, *scratch]
        for target, target_part, source, source_part in program.steps:
            part = buffers[target][target_part]
            self.xp.maximum(part, buffers[source][source_part], out=part)
        return buffers[-1]


class NumpyBackend(Backend):
    """Backend for numpy, without torch.

    Args:
        num_threads: None = number of usable processors.
    """

    xp = np

    def __init__(self, num_threads: int | None = None) -> None:
        super().__init__(num_threads or usable_processors())

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

    def sample_shared(self, maps: np.ndarray, taps: Taps) -> np.ndarray:
        num_frames, num_views, num_joints, height, width = maps.shape
        num_maps = num_frames * num_views
        num_bins = taps.first.shape[-1]
        table = np.empty((num_maps, height * width, num_joints))
        for view, joint_maps in enumerate(maps.reshape(num_maps, num_joints, -1)):
            np.maximum(cv2.transpose(joint_maps), 0, out=table[view])  # faster than a numpy transpose
        map_start = np.arange(num_maps).reshape(num_frames, 1, num_views) * (height * width)
        first = taps.first[:, :, 0].swapaxes(1, 2) + map_start  # (F, n, V)
        pixels = np.empty((*first.shape, 4), np.int32)
        weights = np.empty((*first.shape, 4))
        for tap, step in enumerate((0, 1, width, width + 1)):
            pixels[..., tap] = first + step
            weights[..., tap] = taps.weights[tap][:, :, 0].swapaxes(1, 2)
        # A sparse row per bin sums its taps in all views, for all joints at once.
        row_starts = np.arange(num_frames * num_bins + 1, dtype=np.int32) * (num_views * 4)
        rows = scipy.sparse.csr_array(
            (weights.reshape(-1), pixels.reshape(-1), row_starts),
            shape=(num_frames * num_bins, num_maps * height * width),
        )
        return (rows @ table.reshape(-1, num_joints)).reshape(num_frames, num_bins, num_joints)

    def sample_own(self, maps: np.ndarray, taps: Taps) -> np.ndarray:
        return interpolate(maps, taps, lowest=0).sum(1)


def interpolate(maps: np.ndarray, taps: Taps, lowest: float = -np.inf) -> np.ndarray:
    """Interpolate maps (F, V, C, H, W), clipped below at `lowest`, at taps (F, V, C, n): (F, V, C, n) float64."""
    height, width = maps.shape[-2:]
    map_start = np.arange(maps[..., 0, 0].size).reshape(maps.shape[:3]) * (height * width)  # (F, V, C)
    first = taps.first + map_start[..., None]
    values = maps.reshape(-1)
    return sum(
        np.maximum(values.take(first + step), lowest) * weight
        for step, weight in zip((0, 1, width, width + 1), taps.weights, strict=True)
    )
