"""Rank of this process among the training processes; does not import torch."""

import os
from dataclasses import dataclass

from lib.utils.errors import InputError

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
_MAX_PORT = 65535


@dataclass(frozen=True)
class Ranks:
    """Position of a process in a distributed training.

    Attributes:
        rank: index of the process; rank 0 writes all files.
        world_size: number of processes on all machines.
        local_rank: index of the process on its machine; selects the GPU.
        local_world_size: number of processes on this machine, which share its CPUs.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes logs, checkpoints and results."""
        return self.rank == 0


SINGLE_PROCESS = Ranks()


def ranks_from_environment() -> Ranks | None:
    """Read the variables that torchrun sets; None if they are not set.

    Raises:
        InputError: some variables are missing or not numbers.
    """
    values = {name: os.environ.get(name) for name in _VARIABLES}
    if all(value is None for value in values.values()):
        return None
    if not all(value is not None and value.isdecimal() for value in values.values()):
        raise InputError(
            f"environment: expected numbers in {', '.join(_VARIABLES)} as set by torchrun, received "
            f"{', '.join(f'{name}={value}' for name, value in values.items())}"
        )
    _check_rendezvous(values)
    local_world_size = os.environ.get("LOCAL_WORLD_SIZE", "1")  # other launchers may not set it
    if not local_world_size.isdecimal() or not int(local_world_size):
        raise InputError(f"environment: LOCAL_WORLD_SIZE: expected a positive number, received {local_world_size}")
    return Ranks(*(int(values[name]) for name in _VARIABLES), int(local_world_size))


def _check_rendezvous(values: dict[str, str]) -> None:
    """Raise an InputError if the numbers exclude each other, or if the place where the processes meet is not named."""
    rank, world_size = int(values["RANK"]), int(values["WORLD_SIZE"])
    if rank >= world_size:
        raise InputError(f"environment: RANK: expected less than WORLD_SIZE {world_size}, received {rank}")
    address, port = (os.environ.get(name, "") for name in ("MASTER_ADDR", "MASTER_PORT"))
    if world_size > 1 and not (address and port.isdecimal() and 0 < int(port) <= _MAX_PORT):
        raise InputError(
            f"environment: expected MASTER_ADDR and MASTER_PORT with RANK and WORLD_SIZE, received '{address}' and "
            f"'{port}'; start with torchrun, or unset RANK, WORLD_SIZE and LOCAL_RANK for one process"
        )
