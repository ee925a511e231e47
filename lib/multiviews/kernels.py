"""What differs between array libraries in the 3D inference, and its numpy form."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Protocol

import numpy as np
import scipy.sparse

from lib.multiviews.shift_max import ShiftMax

Array = Any  # an array of the kernel's library


class Kernel(Protocol):
    """Array operations behind rpsm(); numpy and torch share the rest of their functions under equal names.

    Attributes:
        xp: the library's module.
        block_bins: frames times bins of the first grid that are worked on together; bounds the memory, some 1.5 kB
            each with 4 views and 17 joints.
    """

    xp: ModuleType
    block_bins: int

    def floats(self, values: Any) -> Array:
        """Return float64 values on the device."""

    def integers(self, values: Any) -> Array:
        """Return int64 values on the device."""

    def padded_maps(self, heatmaps: np.ndarray) -> Array:
        """Return heatmaps (F, V, J, H, W) as float32 on the device, values below 0 as 0, with a border of zeros.

        The border is 1 px before and 2 px after the map along both axes: (F, V, J, H+3, W+3).
        """

    def numpy(self, values: Array) -> np.ndarray:
        """Return a numpy array."""

    def take_along(self, values: Array, index: Array, axis: int) -> Array:
        """Return the entries that `index` names along an axis, as numpy's take_along_axis."""

    def sample_shared(self, maps: Array, pixels: Array, weights: Array) -> Array:
        """Sum weighted pixels over the views, at points that all joints share.

        Args:
            maps: (F, V, J, H, W).
            pixels: (F, P, V, 4) int64 flat pixels y * W + x.
            weights: (F, P, V, 4) float64.

        Returns:
            (J, P, F) float64, contiguous.
        """

    def sample_own(self, maps: Array, pixels: Array, weights: Array) -> Array:
        """Sum weighted pixels over the views, at points of each joint's own.

        Args:
            maps: (F, V, J, H, W).
            pixels: (F, J, P, V, 4) int64 flat pixels y * W + x.
            weights: (F, J, P, V, 4) float64.

        Returns:
            (F, J, P) float64.
        """

    def shift_max(self, volume: Array, program: ShiftMax) -> Array:
        """Run a program on a float64 volume (n, n, n, F); the result is valid until the next call."""


class NumpyKernel:
    """The kernel for numpy; needs no torch."""

    xp = np
    block_bins = 2**16  # 16 frames at 16 bins per axis: a volume is 0.5 MB and stays in the processor's cache

    def __init__(self) -> None:
        self._scratch = np.empty(0)

    def floats(self, values: Any) -> np.ndarray:
        return np.asarray(values, np.float64)

    def integers(self, values: Any) -> np.ndarray:
        return np.asarray(values, np.int64)

    def padded_maps(self, heatmaps: np.ndarray) -> np.ndarray:
        height, width = heatmaps.shape[3:]
        maps = np.zeros((*heatmaps.shape[:3], height + 3, width + 3), np.float32)
        np.maximum(heatmaps, 0, out=maps[..., 1:-2, 1:-2], casting="same_kind")
        return maps

    def numpy(self, values: np.ndarray) -> np.ndarray:
        return values

    def take_along(self, values: np.ndarray, index: np.ndarray, axis: int) -> np.ndarray:
        return np.take_along_axis(values, index, axis)

    def sample_shared(self, maps: np.ndarray, pixels: np.ndarray, weights: np.ndarray) -> np.ndarray:
        num_frames, num_views, num_joints, height, width = maps.shape
        num_points = pixels.shape[1]
        table = maps.reshape(num_frames * num_views, num_joints, -1).swapaxes(1, 2)
        table = table.astype(np.float64, order="C").reshape(-1, num_joints)  # (F*V*H*W, J)
        map_start = np.arange(num_frames * num_views).reshape(num_frames, 1, num_views, 1) * (height * width)
        row_starts = np.arange(num_frames * num_points + 1) * (num_views * 4)
        # One sparse row per point sums its taps in all views, for all joints at once.
        rows = scipy.sparse.csr_array(
            (weights.reshape(-1), (pixels + map_start).astype(np.int32).reshape(-1), row_starts.astype(np.int32)),
            shape=(num_frames * num_points, len(table)),
        )
        sums = (rows @ table).reshape(num_frames, num_points, num_joints)
        return np.ascontiguousarray(sums.transpose(2, 1, 0))

    def sample_own(self, maps: np.ndarray, pixels: np.ndarray, weights: np.ndarray) -> np.ndarray:
        num_frames, num_views, num_joints, height, width = maps.shape
        map_start = np.arange(num_frames * num_views * num_joints).reshape(num_frames, num_views, num_joints)
        map_start = map_start.swapaxes(1, 2)[:, :, None, :, None] * (height * width)  # (F, J, 1, V, 1)
        return (maps.reshape(-1)[pixels + map_start] * weights).sum((3, 4))

    def shift_max(self, volume: np.ndarray, program: ShiftMax) -> np.ndarray:
        if self._scratch.shape[1:] != volume.shape or len(self._scratch) < program.num_buffers - 1:
            self._scratch = np.empty((program.num_buffers - 1, *volume.shape))
        scratch = self._scratch[: program.num_buffers - 1]
        scratch.fill(-np.inf)
        buffers = [volume, *scratch]
        for target, target_part, source, source_part in program.steps:
            part = buffers[target][target_part]
            np.maximum(part, buffers[source][source_part], out=part)
        return buffers[-1]
