"""Counting the bytes of all tensors that exist while something runs, by what they are for."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable
from typing import Any

from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

PASSING = "passing tensors"


class MemoryLedger(TorchDispatchMode):
    """A context that books every storage when an operation first gives or takes it, and when it goes.

    Views and results in place count once. Works on real tensors and, where only sizes are wanted, under FakeTensorMode
    (entered first). What an operation allocates inside itself (workspaces) is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
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

    def balance(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return the bytes per part: the most of each at any time, and what existed when the sum was largest.

        Storages without a label are PASSING.
        """
        now: Counter[str] = Counter()
        most: Counter[str] = Counter()
        peak: Counter[str] = Counter()
        for number, size in self._log:
            part = self._parts.get(number, PASSING)
            now[part] += size
            most[part] = max(most[part], now[part])
            if now.total() > peak.total():
                peak = now.copy()
        return dict(most), dict(peak)

    def _number(self, storage: UntypedStorage) -> int:
        if id(storage) not in self._numbers:
            number = self._numbers[id(storage)] = len(self._log)
            self._log.append((number, storage.nbytes()))
            # torch keeps the Python object of a storage for as long as the storage itself lives.
            weakref.finalize(storage, self._gone, id(storage), storage.nbytes()).atexit = False
        return self._numbers[id(storage)]

    def _gone(self, key: int, size: int) -> None:
        self._log.append((self._numbers.pop(key), -size))
