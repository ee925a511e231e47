"""The device that train.py and valid.py run on."""

from __future__ import annotations

import logging
from typing import Any

import torch

logger = logging.getLogger(__name__)


def select_device(config: Any) -> torch.device:
    """Return the first GPU of GPUS where there is CUDA, else the CPU; says which in one line."""
    torch.backends.cudnn.benchmark = config.CUDNN.BENCHMARK
    torch.backends.cudnn.deterministic = config.CUDNN.DETERMINISTIC
    torch.backends.cudnn.enabled = config.CUDNN.ENABLED
    if not torch.cuda.is_available():
        threads = torch.get_num_threads()
        logger.info("device: cpu, %d threads (no CUDA here; GPUS %s is ignored)", threads, config.GPUS)
        return torch.device("cpu")
    device = torch.device("cuda", int(config.GPUS.split(",")[0]))
    logger.info("device: %s, %s", device, torch.cuda.get_device_name(device))
    return device
