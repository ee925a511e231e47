"""Process group of a distributed training and its collectives, which do nothing in a single process."""

import contextlib
import datetime
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lib.utils.errors import ProcessLost
from lib.utils.parallel.ranks import Ranks

TIMEOUT = datetime.timedelta(minutes=30)  # rank 0 may load or write for long while the others wait

_on_cpu: dist.ProcessGroup | None = None  # collectives on CPU tensors and objects; NCCL has none


@contextlib.contextmanager
def process_group(ranks: Ranks, device: torch.device) -> Iterator[None]:
    """Open a process group, NCCL for CUDA and gloo for the CPU, and close it when the block ends.

    Raises:
        ProcessLost: another process has ended.
    """
    global _on_cpu
    if ranks.world_size == 1:
        yield
        return
    is_cuda = device.type == "cuda"
    try:
        dist.init_process_group("nccl" if is_cuda else "gloo", timeout=TIMEOUT)
        _on_cpu = dist.new_group(backend="gloo", timeout=TIMEOUT) if is_cuda else dist.group.WORLD
        yield
        dist.barrier(_on_cpu)  # a process must not leave while others still need it
    except (RuntimeError, dist.DistBackendError) as error:
        if _is_lost_contact(error):
            raise ProcessLost(
                f"process {ranks.rank} of {ranks.world_size} lost contact with another process, which has ended; "
                "this process ends too"
            ) from error
        raise
    finally:
        _on_cpu = None
        with contextlib.suppress(RuntimeError):
            dist.destroy_process_group()


def _is_lost_contact(error: BaseException) -> bool:
    text = str(error)
    signs = ("Connection closed", "Connection reset", "Broken pipe", "gloo", "NCCL", "Timed out", "Connection refused")
    return isinstance(error, dist.DistBackendError) or any(sign in text for sign in signs)


def is_distributed() -> bool:
    """Return whether a process group is open."""
    return _on_cpu is not None


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum a tensor over all processes in place and return it."""
    if is_distributed():
        dist.all_reduce(values)
    return values


def min_over_ranks(values: Tensor) -> Tensor:
    """Take the minimum of a tensor over all processes in place and return it."""
    if is_distributed():
        dist.all_reduce(values, op=dist.ReduceOp.MIN)
    return values


def broadcast_buffers(module: nn.Module) -> None:
    """Copy the buffers of rank 0 to all processes, because the batch norm statistics of the processes differ."""
    if is_distributed():
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def any_rank(flag: bool) -> bool:
    """Return whether a flag is set in any process; all processes must call it together."""
    if not is_distributed():
        return flag
    value = torch.tensor([float(flag)])
    dist.all_reduce(value, op=dist.ReduceOp.MAX, group=_on_cpu)
    return bool(value.item())


def gather_on_main(value: Any, ranks: Ranks) -> list[Any] | None:
    """Gather an object of every process at rank 0, in order of rank; the other processes get None."""
    if not is_distributed():
        return [value]
    gathered: list[Any] | None = [None] * ranks.world_size if ranks.is_main else None
    dist.gather_object(value, gathered, dst=0, group=_on_cpu)
    return gathered
