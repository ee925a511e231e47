"""Copy of a training state in CPU memory, from which a thread writes a checkpoint while training continues."""

from __future__ import annotations

import copy
from typing import Any

import torch

from lib.utils.files.torch_file import tensors_of


class Snapshot:
    """Copy of a dictionary of nested dictionaries and sequences with tensors.

    Tensors on the GPU are copied into pinned memory in the order of the current stream: later training steps wait for
    the copies, this process does not. torch keeps the pinned memory for the next snapshot.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        tensors = [tensor for _, tensor in tensors_of(state)]
        storages = {one.untyped_storage().data_ptr(): one.untyped_storage() for one in tensors}
        copied = {place: _copy_to_cpu(storage) for place, storage in storages.items()}
        copies = {}
        for one in tensors:
            storage = copied[one.untyped_storage().data_ptr()]
            empty = torch.empty(0, dtype=one.dtype)
            copies[id(one)] = empty.set_(storage, one.storage_offset(), one.shape, one.stride())
        self._state = copy.deepcopy(state, copies)  # keeps types and the attributes of state dicts
        self._copied = None
        if any(one.is_cuda for one in tensors):
            self._copied = torch.cuda.Event()
            self._copied.record()

    def with_values(self, values: dict[str, Any]) -> Snapshot:
        """Return a snapshot with copies of other values; the other entries are shared with this snapshot."""
        other = Snapshot(values)
        other._state = {key: other._state.get(key, value) for key, value in self._state.items()}
        other._copied = other._copied or self._copied  # the later event of one stream covers both
        return other

    def wait(self) -> dict[str, Any]:
        """Wait for the copies and return the state; tensors are on the CPU."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._state


def _copy_to_cpu(storage: torch.UntypedStorage) -> torch.UntypedStorage:
    content = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
    copied = content.to("cpu", non_blocking=True) if content.is_cuda else content.clone()
    return copied.untyped_storage()
