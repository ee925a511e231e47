"""The torch backend of RPSM, for any device with float64."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lib.multiviews.pictorial.backend_numpy import Backend, Taps
from lib.multiviews.pictorial.cpu_backend import make_cpu_backend
from lib.multiviews.pictorial.rpsm import PictorialSettings, rpsm

logger = logging.getLogger(__name__)


class TorchBackend(Backend):
    """Backend for torch. The operations are documented in lib/multiviews/pictorial/backend_numpy.py.

    Args:
        device: "cuda", "cpu" or any other torch device with float64.
        num_threads: threads on the CPU; None = torch.get_num_threads().
    """

    xp = torch

    def __init__(self, device: torch.device | str = "cpu", num_threads: int | None = None) -> None:
        self.device = torch.device(device)
        if self.device.type == "cpu":
            num_threads = num_threads or torch.get_num_threads()
        else:  # few large operations are faster than many small ones
            num_threads = 1
            self.block_bins = 2**20
            self.sample_bins = 2**18
            self.batch_frames = 256  # 0.3 GB of heatmaps
        # Parallel blocks are faster than torch's own threads, because the operations are short.
        super().__init__(num_threads, initializer=torch.set_num_threads, initargs=(1,))
        self._use_cpu_kernels()
        if self.device.type == "cuda":
            self.load_kernels()

    def _use_cpu_kernels(self) -> None:
        """Run steps whose input is in the memory of the CPU in the CPU's kernels, if numba has them."""
        cpu = make_cpu_backend()
        self.triangulate_robust = cpu.triangulate_robust
        self.peak_rays = cpu.peak_rays
        self.swapped_views = cpu.swapped_views
        self.select_candidates = cpu.select_candidates
        self.distinct_candidates = cpu.distinct_candidates
        if self.device.type == "cpu":
            self.kernels_run_in_parallel = cpu.kernels_run_in_parallel
            self.find_peaks = cpu.find_peaks
            self.count_supporting_views = cpu.count_supporting_views
            self.sample_maps = cpu.sample_maps
        else:
            self.kernels_run_in_parallel = True  # refinement in one block of all frames: few large operations

    def load_kernels(self) -> None:
        """Use the Triton kernels, or log why not."""
        try:
            from lib.multiviews.pictorial.rpsm_triton import TritonRpsm
        except ImportError as error:
            logger.warning("RPSM: Triton is missing (%s); slower tensor operations are used", error)
        else:
            self.use_kernels(TritonRpsm(self.device))

    def use_kernels(self, kernels: Any) -> None:
        """Run rpsm() in kernels, a TritonRpsm; the tensor operations replace them if they do not run here."""
        self._kernels = kernels
        self.rpsm = self._rpsm_in_kernels

    def _rpsm_in_kernels(self, *arguments: Any) -> np.ndarray:
        """Do as rpsm(), whose arguments it receives without the backend."""
        settings: PictorialSettings = arguments[-1]
        try:
            reason = self._kernels.unsupported(settings)
            if not reason:
                return self._kernels(*arguments)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # compilers and drivers fail in many ways
            if self._kernels.has_run:
                raise
            text = str(error).strip().partition("\n")[0]
            reason = f"the kernels failed ({type(error).__name__}: {text})"
        logger.warning("RPSM: %s; slower tensor operations are used", reason)
        self.rpsm = None
        return rpsm(*arguments, self)

    def floats(self, values: Any) -> torch.Tensor:
        return self._tensor(values, torch.float64)

    def integers(self, values: Any) -> torch.Tensor:
        return self._tensor(values, torch.int64)

    def _tensor(self, values: Any, dtype: torch.dtype) -> torch.Tensor:
        if isinstance(values, np.ndarray) and not values.flags.writeable:
            values = values.copy()  # torch has no read-only tensors
        return torch.as_tensor(values, dtype=dtype, device=self.device)

    def heatmaps(self, values: np.ndarray) -> torch.Tensor:
        return self._tensor(values, torch.float32)

    def host_array(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        if self.device.type != "cuda" or dtype != np.float32:
            return super().host_array(shape, dtype)
        return torch.empty(tuple(shape), dtype=torch.float32, pin_memory=True).numpy()

    def numpy(self, values: torch.Tensor) -> np.ndarray:
        return values.cpu().numpy()

    def frames_last(self, parts: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([part.swapaxes(0, 2) for part in parts], -1).contiguous()

    def take_along(self, values: torch.Tensor, index: torch.Tensor, axis: int) -> torch.Tensor:
        return torch.take_along_dim(values, index, axis)

    def sample_shared(self, maps: torch.Tensor, taps: Taps) -> torch.Tensor:
        num_frames, num_views, num_joints, height, width = maps.shape
        table = maps.clip(0).permute(0, 1, 3, 4, 2).to(torch.float64, memory_format=torch.contiguous_format)
        map_start = torch.arange(num_frames * num_views, device=self.device) * (height * width)
        first = taps.first[:, :, 0].swapaxes(1, 2) + map_start.reshape(num_frames, 1, num_views)  # (F, n, V)
        pixels = first[..., None] + torch.tensor([0, 1, width, width + 1], device=self.device)
        weights = torch.stack([weight[:, :, 0].swapaxes(1, 2) for weight in taps.weights], -1)
        sums = torch.nn.functional.embedding_bag(
            pixels.reshape(-1, num_views * 4),
            table.reshape(-1, num_joints),
            mode="sum",
            per_sample_weights=weights.reshape(-1, num_views * 4),
        )
        return sums.reshape(num_frames, -1, num_joints)

    def sample_own(self, maps: torch.Tensor, taps: Taps) -> torch.Tensor:
        height, width = maps.shape[-2:]
        map_start = torch.arange(maps.shape[:3].numel(), device=self.device).reshape(maps.shape[:3]) * (height * width)
        first = taps.first + map_start[..., None]
        values = maps.reshape(-1)
        return sum(
            values.take(first + step).clip(0) * weight
            for step, weight in zip((0, 1, width, width + 1), taps.weights, strict=True)
        ).sum(1)
