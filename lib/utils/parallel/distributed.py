"""Several processes that train together: the group, sums, agreement and gathering; all do nothing for one process."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lib.utils.errors import ProcessLost
from lib.utils.parallel.ranks import Ranks

TIMEOUT = datetime.timedelta(minutes=30)  # rank 0 may prepare or write for long while the others wait

_on_cpu: dist.ProcessGroup | None = None  # numbers and objects that live on the CPU, beside NCCL's tensors


@contextlib.contextmanager
def process_group(ranks: Ranks, device: torch.device) -> Iterator[None]:
    """Connect the processes (NCCL for CUDA, gloo for the CPU) and part when the block ends.

    Raises:
        ProcessLost: another process ended while this one worked with it.
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
        dist.barrier(_on_cpu)  # nobody leaves while another one still needs it
    except (RuntimeError, dist.DistBackendError) as error:
        if _is_lost_contact(error):
            raise ProcessLost(
                f"process {ranks.rank} of {ranks.world_size} lost contact with another one, which ended; "
                "this one ends too"
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
    """Whether a process group is open."""
    return _on_cpu is not None


def sum_over_ranks(values: Tensor) -> Tensor:
    """Add a tensor over all processes, in place; returns it."""
    if is_distributed():
        dist.all_reduce(values)
    return values


def min_over_ranks(values: Tensor) -> Tensor:
    """Take the least of a tensor over all processes, in place; returns it."""
    if is_distributed():
        dist.all_reduce(values, op=dist.ReduceOp.MIN)
    return values


def broadcast_buffers(module: nn.Module) -> None:
    """Give the buffers of rank 0 to all processes: each has running statistics of batch norm of its own."""
    if is_distributed():
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def any_rank(flag: bool) -> bool:
    """Whether a flag is set in any process; all must ask at the same time."""
    if not is_distributed():
        return flag
    value = torch.tensor([float(flag)])
    dist.all_reduce(value, op=dist.ReduceOp.MAX, group=_on_cpu)
    return bool(value.item())


def gather_on_main(value: Any, ranks: Ranks) -> list[Any] | None:
    """Collect an object of every process at rank 0, in the order of the ranks; None at the others."""
    if not is_distributed():
        return [value]
    gathered: list[Any] | None = [None] * ranks.world_size if ranks.is_main else None
    dist.gather_object(value, gathered, dst=0, group=_on_cpu)
    return gathered
