"""Which of several training processes this one is. Imports no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass

from lib.utils.errors import InputError

_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


@dataclass(frozen=True)
class Ranks:
    """Place of a process among those that train together.

    Attributes:
        rank: from 0; rank 0 writes.
        world_size: number of processes, on all machines.
        local_rank: from 0 on each machine; chooses the GPU.
        local_world_size: number of processes on this machine; they share its CPUs.
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
    """Read what torchrun sets, for a single process too; None where nothing is set.

    Raises:
        InputError: some of the variables are missing or are no numbers.
    """
    values = {name: os.environ.get(name) for name in _VARIABLES}
    if all(value is None for value in values.values()):
        return None
    if not all(value is not None and value.isdecimal() for value in values.values()):
        raise InputError(
            f"environment: expected numbers in {', '.join(_VARIABLES)}, as torchrun sets them, received "
            f"{', '.join(f'{name}={value}' for name, value in values.items())}"
        )
    local_world_size = os.environ.get("LOCAL_WORLD_SIZE", "1")  # may be missing where torchrun is not what started us
    if not local_world_size.isdecimal() or not int(local_world_size):
        raise InputError(f"environment: LOCAL_WORLD_SIZE: expected a number of processes, received {local_world_size}")
    return Ranks(*(int(values[name]) for name in _VARIABLES), int(local_world_size))
