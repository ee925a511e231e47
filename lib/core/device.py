"""The device that train.py and valid.py run on."""

from __future__ import annotations

import logging
from typing import Any

import torch

from lib.utils.checks import InputError

logger = logging.getLogger(__name__)


def select_device(config: Any) -> torch.device:
    """Return the first GPU of GPUS where there is CUDA, else the CPU; says which in one line.

    Raises:
        InputError: GPUS is no list of numbers, or its first one is no device here.
    """
    torch.backends.cudnn.benchmark = config.CUDNN.BENCHMARK
    torch.backends.cudnn.deterministic = config.CUDNN.DETERMINISTIC
    torch.backends.cudnn.enabled = config.CUDNN.ENABLED
    if not torch.cuda.is_available():
        threads = torch.get_num_threads()
        logger.info("device: cpu, %d threads (no CUDA here; GPUS %s is ignored)", threads, config.GPUS)
        return torch.device("cpu")
    indices = gpu_indices(config.GPUS, torch.cuda.device_count())
    device = torch.device("cuda", indices[0])
    logger.info("device: %s, %s", device, torch.cuda.get_device_name(device))
    if len(indices) > 1:
        logger.info("one process uses one GPU: the others of GPUS %s stay idle", config.GPUS)
    return device


def autocast_dtype(config: Any, device: torch.device) -> torch.dtype | None:
    """Return the type of the products that TRAIN.AMP asks for, None for float32.

    A CPU without instructions for bfloat16 emulates them, many times slower than float32; there AMP is switched off,
    with a warning.
    """
    if config.TRAIN.AMP == "off":
        return None
    if device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        logger.warning("TRAIN.AMP %s: this CPU has no instructions for it (%s); float32 is used", config.TRAIN.AMP,
                       torch.backends.cpu.get_cpu_capability())  # fmt: skip
        return None
    return torch.bfloat16


def gpu_indices(gpus: str, num_devices: int) -> list[int]:
    """Read GPUS, e.g. "0,1" -> [0, 1].

    Raises:
        InputError: not a list of numbers, or the first one is not below `num_devices`.
    """
    parts = [part.strip() for part in gpus.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"GPUS: expected device numbers such as 0 or 0,1, received '{gpus}'")
    if int(parts[0]) >= num_devices:
        raise InputError(f"GPUS: there is no CUDA device {parts[0]}, only 0 to {num_devices - 1}")
    return [int(part) for part in parts]
