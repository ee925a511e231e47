"""Peak memory of this process, and of its tensors by purpose."""

from __future__ import annotations

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
    """Return the largest memory so far, MB: what torch took of the GPU, or on the CPU the process's resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


class MemoryLedger(TorchDispatchMode):
    """A context that books every storage when an operation first gives or takes it, and when it goes.

    Views and results in place count once. Works on real tensors and, where only sizes are wanted, under FakeTensorMode
    (entered first). What an operation allocates inside itself (workspaces) is not seen.

    Args:
        rest: name of the part of tensors without a label.
    """

    def __init__(self, rest: str) -> None:
        super().__init__()
        self._rest = rest
        self._numbers: dict[int, int] = {}  # id of a living storage -> its number
        self._parts: dict[int, str] = {}  # number -> part
        self._log: list[tuple[int, int]] = []  # (number, bytes that came or, negative, went)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._number(leaf.untyped_storage())
        return result

    def label(self, part: str, tensors: Iterable[Tensor]) -> None:
        """Say what tensors are for, from their beginning on; the first label of a storage stays."""
        for tensor in tensors:
            self._parts.setdefault(self._number(tensor.untyped_storage()), part)

    def peak(self) -> dict[str, int]:
        """Return the bytes of each part in the moment when the sum was largest."""
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
            weakref.finalize(storage, self._gone, id(storage), storage.nbytes()).atexit = False
        return self._numbers[id(storage)]

    def _gone(self, key: int, size: int) -> None:
        self._log.append((self._numbers.pop(key), -size))
