"""The device that train.py and valid.py run on, and the network there."""

from __future__ import annotations

import ctypes
import logging
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lib.utils.errors import InputError
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks

logger = logging.getLogger(__name__)

CPU = "cpu"
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # of glibc's malloc.h
_TOP_PAD_BYTES = 1 << 26
_TYPES = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def select_device(config: Any, ranks: Ranks = SINGLE_PROCESS) -> torch.device:
    """Return the GPU of this process where there is CUDA, else the CPU; says which in one line.

    Args:
        config: the configuration: GPUS, of which the local rank's is taken, and CUDNN.
        ranks: which of several processes this one is.

    Raises:
        InputError: GPUS is no list of numbers, or this process's one is no device here.
    """
    torch.backends.cudnn.benchmark = config.CUDNN.BENCHMARK
    torch.backends.cudnn.deterministic = config.CUDNN.DETERMINISTIC
    torch.backends.cudnn.enabled = config.CUDNN.ENABLED
    processes = "" if ranks.world_size == 1 else f"; {ranks.world_size} processes"
    names = device_names(config.GPUS)
    if not torch.cuda.is_available() or names[0] == CPU:
        reason = "" if names[0] == CPU else f" (no CUDA here; GPUS {config.GPUS} is ignored)"
        logger.info("device: cpu, %d threads%s%s", torch.get_num_threads(), reason, processes)
        keep_freed_memory()
        return torch.device("cpu")
    index = gpu_of_rank(names, ranks.local_rank, torch.cuda.device_count())
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    logger.info("device: %s, %s%s", device, torch.cuda.get_device_name(device), processes)
    return device


def keep_freed_memory() -> None:
    """Have glibc keep large blocks that were freed instead of giving them back; nothing happens with other C libraries.

    torch takes the memory of every activation anew from malloc, which hands blocks above 32 MB back to the kernel at
    once: the kernel then clears their pages again in each layer of each step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, -1)  # never
    mallopt(_M_TOP_PAD, _TOP_PAD_BYTES)


def num_processes(config: Any) -> int:
    """Return how many processes GPUS asks for: one per CUDA device, or as many as it says "cpu"."""
    names = device_names(config.GPUS)
    return len(names) if names[0] == CPU or torch.cuda.is_available() else 1


def autocast_dtype(config: Any, device: torch.device) -> torch.dtype | None:
    """Return the type of the products that TRAIN.AMP asks for, None for float32.

    A CPU without instructions for bfloat16 emulates them, many times slower than float32; there AMP is switched off,
    with a warning. The same holds for float16.
    """
    products = _TYPES[config.TRAIN.AMP]
    if products is None or device.type != "cpu":
        return products
    has_it = {
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported,
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported,
    }[products]
    if has_it():
        return products
    logger.warning(
        "TRAIN.AMP %s: this CPU has no instructions for it (%s); float32 is used",
        config.TRAIN.AMP,
        torch.backends.cpu.get_cpu_capability(),
    )
    return None


def device_names(gpus: str) -> list[str]:
    """Read GPUS, e.g. "0,1" -> ["0", "1"]; "cpu,cpu" stands for processes on the CPU.

    Raises:
        InputError: not a list of numbers, nor of "cpu".
    """
    parts = [part.strip() for part in gpus.split(",")]
    if all(part == CPU for part in parts) or all(part.isdecimal() for part in parts):
        return parts
    raise InputError(f"GPUS: expected device numbers such as 0 or 0,1, or cpu, received '{gpus}'")


def gpu_of_rank(names: list[str], local_rank: int, num_devices: int) -> int:
    """Return the CUDA device of a process.

    Args:
        names: of device_names().
        local_rank: of the process; more processes than names (torchrun counts by itself) take the device of their rank.
        num_devices: CUDA devices of this machine.

    Raises:
        InputError: there is no such device.
    """
    index = int(names[local_rank]) if local_rank < len(names) else local_rank
    if index >= num_devices:
        raise InputError(f"GPUS: there is no CUDA device {index}, only 0 to {num_devices - 1}")
    return index


def prepare_model(model: nn.Module, config: Any, device: torch.device, ranks: Ranks) -> nn.Module:
    """Put the model on its device, and into DistributedDataParallel where several processes train.

    Args:
        model: a MultiViewPose; it is changed in place.
        config: the configuration: TRAIN.CHANNELS_LAST, COMPILE, SYNC_BN.
        device: of this process.
        ranks: the processes that train together.

    Returns:
        The model or, around it, DistributedDataParallel.

    Raises:
        InputError: TRAIN.SYNC_BN for several processes without GPUs.
    """
    if config.TRAIN.SYNC_BN and ranks.world_size > 1 and device.type != "cuda":
        raise InputError(
            f"TRAIN.SYNC_BN: torch synchronises batch norm on GPUs alone, {ranks.world_size} processes "
            f"train on {device}; set it false"
        )
    model.to(device)
    if config.TRAIN.CHANNELS_LAST:
        model.backbone.to(memory_format=torch.channels_last)
    if config.TRAIN.COMPILE:
        model.backbone.compile()
    if ranks.world_size == 1:
        return model
    if config.TRAIN.SYNC_BN:
        model.backbone = nn.SyncBatchNorm.convert_sync_batchnorm(model.backbone)
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)
