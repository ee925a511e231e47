"""Peak memory of this process, and of its tensors by purpose."""

import resource
import sys
import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory in MB: allocated by torch on a GPU, resident memory of the process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


class MemoryLedger(TorchDispatchMode):
    """Context that records when tensor storages appear in operations and when they are freed.

    Views and in-place results count once. The context works with real tensors and, to compute sizes only, inside
    FakeTensorMode. Memory that an operation allocates internally (workspaces) is not recorded.

    Args:
        rest: part name of tensors without a label.
    """

    def __init__(self, rest: str) -> None:
        super().__init__()
        self._rest = rest
        self._numbers: dict[int, int] = {}  # id of a live storage -> number
        self._parts: dict[int, str] = {}  # number -> part
        self._log: list[tuple[int, int]] = []  # (number, allocated bytes, negative when freed)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._number(leaf.untyped_storage())
        return result

    def label(self, part: str, tensors: Iterable[Tensor]) -> None:
        """Assign the storages of tensors to a part; the first label of a storage counts."""
        for tensor in tensors:
            self._parts.setdefault(self._number(tensor.untyped_storage()), part)

    def peak(self) -> dict[str, int]:
        """Return the bytes of each part at the moment of the largest sum."""
        now: Counter[str] = Counter()
        largest: Counter[str] = Counter()
        for number, size in self._log:
            now[self._parts.get(number, self._rest)] += size
            if now.total() > largest.total():
                largest = now.copy()
        return dict(largest)

    def _number(self, storage: UntypedStorage) -> int:
        if id(storage) not in self._numbers:
            number = self._numbers[id(storage)] = len(self._log)
            self._log.append((number, storage.nbytes()))
            # torch keeps the Python object of a storage for as long as the storage itself lives.
            weakref.finalize(storage, self._free, id(storage), storage.nbytes()).atexit = False
        return self._numbers[id(storage)]

    def _free(self, key: int, size: int) -> None:
        self._log.append((self._numbers.pop(key), -size))
