"""The torch form of the 3D inference's array operations, for any device with float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lib.multiviews.shift_max import ShiftMax


class TorchKernel:
    """The kernel for torch; see lib/multiviews/kernels.py for the operations.

    Args:
        device: "cuda", "cpu" or any other torch device with float64.
    """

    xp = torch

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        # On the CPU the volumes should stay in the cache; elsewhere few large steps beat many small ones.
        self.block_bins = 2**16 if self.device.type == "cpu" else 2**18
        self._scratch = torch.empty(0)

    def floats(self, values: Any) -> torch.Tensor:
        return self._tensor(values, torch.float64)

    def integers(self, values: Any) -> torch.Tensor:
        return self._tensor(values, torch.int64)

    def _tensor(self, values: Any, dtype: torch.dtype) -> torch.Tensor:
        if isinstance(values, np.ndarray) and not values.flags.writeable:
            values = values.copy()  # torch has no read-only tensors
        return torch.as_tensor(values, dtype=dtype, device=self.device)

    def padded_maps(self, heatmaps: np.ndarray) -> torch.Tensor:
        return torch.nn.functional.pad(self._tensor(heatmaps, torch.float32).clip(0), (1, 2, 1, 2))

    def numpy(self, values: torch.Tensor) -> np.ndarray:
        return values.cpu().numpy()

    def take_along(self, values: torch.Tensor, index: torch.Tensor, axis: int) -> torch.Tensor:
        return torch.take_along_dim(values, index, axis)

    def sample_shared(self, maps: torch.Tensor, pixels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        num_frames, num_views, num_joints, height, width = maps.shape
        num_points = pixels.shape[1]
        table = maps.new_empty((num_frames, num_views, height, width, num_joints), dtype=torch.float64)
        table.copy_(maps.permute(0, 1, 3, 4, 2))
        map_start = self.integers(np.arange(num_frames * num_views)).reshape(num_frames, 1, num_views, 1)
        sums = torch.nn.functional.embedding_bag(
            (pixels + map_start * (height * width)).reshape(num_frames * num_points, -1),
            table.reshape(-1, num_joints),
            mode="sum",
            per_sample_weights=weights.reshape(num_frames * num_points, -1),
        )
        return sums.reshape(num_frames, num_points, num_joints).permute(2, 1, 0).contiguous()

    def sample_own(self, maps: torch.Tensor, pixels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        num_frames, num_views, num_joints, height, width = maps.shape
        map_start = self.integers(np.arange(num_frames * num_views * num_joints)).reshape(maps.shape[:3])
        map_start = map_start.swapaxes(1, 2)[:, :, None, :, None] * (height * width)  # (F, J, 1, V, 1)
        return (maps.take(pixels + map_start) * weights).sum((3, 4))

    def shift_max(self, volume: torch.Tensor, program: ShiftMax) -> torch.Tensor:
        if self._scratch.shape[1:] != volume.shape or len(self._scratch) < program.num_buffers - 1:
            self._scratch = volume.new_empty((program.num_buffers - 1, *volume.shape))
        scratch = self._scratch[: program.num_buffers - 1]
        scratch.fill_(-torch.inf)
        buffers = [volume, *scratch]
        for target, target_part, source, source_part in program.steps:
            part = buffers[target][target_part]
            torch.maximum(part, buffers[source][source_part], out=part)
        return buffers[-1]
