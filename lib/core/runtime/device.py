"""Device selection and placement of the network for train.py and valid.py."""

import logging
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lib.models.multiview_pose import MultiViewPose
from lib.models.training_pass import CompiledPass
from lib.utils.errors import InputError
from lib.utils.parallel.ranks import SINGLE_PROCESS, Ranks

logger = logging.getLogger(__name__)

CPU = "cpu"
_AUTOCAST = {"off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def select_device(gpus: str, cudnn: Any, ranks: Ranks = SINGLE_PROCESS) -> torch.device:
    """Return the GPU of this process, or the CPU without CUDA; log which one.

    Args:
        gpus: GPUS of the configuration; the entry of the local rank is used.
        cudnn: the CUDNN section, applied to torch.backends.cudnn.
        ranks: this process among the ones that run together.

    Raises:
        InputError: GPUS is malformed, or the GPU of this process does not exist.
    """
    torch.backends.cudnn.benchmark = cudnn.BENCHMARK
    torch.backends.cudnn.deterministic = cudnn.DETERMINISTIC
    torch.backends.cudnn.enabled = cudnn.ENABLED
    processes = "" if ranks.world_size == 1 else f"; {ranks.world_size} processes"
    names = device_names(gpus)
    if not torch.cuda.is_available() or names[0] == CPU:
        reason = "" if names[0] == CPU else f" (no CUDA; GPUS {gpus} is ignored)"
        logger.info("device: cpu, %d threads%s%s", torch.get_num_threads(), reason, processes)
        return torch.device("cpu")
    device = torch.device("cuda", gpu_of_rank(names, ranks.local_rank, torch.cuda.device_count()))
    torch.cuda.set_device(device)
    logger.info("device: %s, %s%s", device, torch.cuda.get_device_name(device), processes)
    return device


def num_processes(gpus: str) -> int:
    """Return the number of processes that GPUS asks for: one per CUDA device, or one per "cpu"."""
    names = device_names(gpus)
    return len(names) if names[0] == CPU or torch.cuda.is_available() else 1


def autocast_dtype(amp: str, device: torch.device) -> torch.dtype | None:
    """Return the data type of matrix products, None = float32.

    A CPU without bfloat16 or float16 instructions emulates them and is many times slower than in float32. On such a
    CPU the result is None, with a warning.

    Args:
        amp: TRAIN.AMP.
        device: device of the model.
    """
    dtype = _AUTOCAST[amp]
    if dtype is None or device.type != "cpu":
        return dtype
    is_supported = {
        torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported,
        torch.float16: torch.ops.mkldnn._is_mkldnn_fp16_supported,
    }[dtype]
    if is_supported():
        return dtype
    logger.warning(
        "TRAIN.AMP %s: this CPU has no instructions for it (%s); float32 is used",
        amp,
        torch.backends.cpu.get_cpu_capability(),
    )
    return None


def device_names(gpus: str) -> list[str]:
    """Split GPUS, e.g. "0,1" -> ["0", "1"]; "cpu,cpu" asks for two processes on the CPU.

    Raises:
        InputError: neither a list of numbers nor of "cpu".
    """
    parts = [part.strip() for part in gpus.split(",")]
    if all(part == CPU for part in parts) or all(part.isdecimal() for part in parts):
        return parts
    raise InputError(f"GPUS: expected device numbers such as 0 or 0,1, or cpu, received '{gpus}'")


def gpu_of_rank(names: list[str], local_rank: int, num_devices: int) -> int:
    """Return the index of the CUDA device of a process.

    Args:
        names: see device_names().
        local_rank: local rank of the process; if torchrun starts more processes than names, the rank is the index.
        num_devices: number of CUDA devices of this machine.

    Raises:
        InputError: the device does not exist.
    """
    index = int(names[local_rank]) if local_rank < len(names) else local_rank
    if index >= num_devices:
        raise InputError(f"GPUS: expected CUDA devices from 0 to {num_devices - 1}, received {index}")
    return index


def uses_channels_last(train: Any, device: torch.device) -> bool:
    """Return whether the backbone and its images have the channels-last memory format.

    Args:
        train: the TRAIN section; reads CHANNELS_LAST and AMP.
        device: device of the model.
    """
    if train.CHANNELS_LAST == "auto":
        return device.type == "cuda" and train.AMP != "off"
    return train.CHANNELS_LAST == "true"


def prepare_model(model: MultiViewPose, train: Any, device: torch.device, ranks: Ranks) -> nn.Module:
    """Move a network to its device and apply TRAIN.TF32, CHANNELS_LAST, COMPILE and SYNC_BN.

    Args:
        model: the network; changed in place.
        train: the TRAIN section.
        device: device of this process.
        ranks: the processes that train together.

    Returns:
        The model; for several processes, in DistributedDataParallel.

    Raises:
        InputError: TRAIN.SYNC_BN with several processes on the CPU.
    """
    syncs = train.SYNC_BN and ranks.world_size > 1
    if syncs and device.type != "cuda":
        raise InputError(
            f"TRAIN.SYNC_BN true: expected GPUs, received {ranks.world_size} processes on {device}; set it false"
        )
    torch.backends.cudnn.allow_tf32 = train.TF32 != "off"
    torch.backends.cuda.matmul.allow_tf32 = train.TF32 == "all"
    model.to(device)
    if uses_channels_last(train, device):
        model.backbone.to(memory_format=torch.channels_last)
    model.compiled = _compiled_pass(train, device, syncs)
    if ranks.world_size == 1:
        return model
    if syncs:
        model.backbone = nn.SyncBatchNorm.convert_sync_batchnorm(model.backbone)
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)


def _compiled_pass(train: Any, device: torch.device, syncs: bool) -> CompiledPass | None:
    """Return the compiled training pass of TRAIN.COMPILE, or None where the backbone has no such pass."""
    views_one_by_one = train.CHECKPOINT_ACTIVATIONS or syncs
    if train.COMPILE == "true" and (views_one_by_one or train.FREEZE_BACKBONE):
        logger.warning(
            "TRAIN.COMPILE true: no effect with TRAIN.CHECKPOINT_ACTIVATIONS, SYNC_BN or FREEZE_BACKBONE; set it auto"
        )
    is_on = device.type == "cuda" if train.COMPILE == "auto" else train.COMPILE == "true"
    if not is_on or views_one_by_one or train.FREEZE_BACKBONE:
        return None
    num_groups = -(-train.BATCH_SIZE // train.ACCUMULATE)
    return CompiledPass(num_groups, uses_graphs=device.type == "cuda" and train.ACCUMULATE == 1)
