"""Number of tensor operations, for tests and benchmarks of launches."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

# aten operations that start no kernel
_NO_KERNEL = ("view", "empty", "as_strided", "expand", "permute", "transpose", "slice", "select", "split", "detach")
_NO_KERNEL += ("alias", "unsqueeze", "squeeze", "reshape", "unbind", "t", "new_empty", "empty_like", "chunk", "narrow")
_NO_KERNEL += ("device", "record_function_enter_new", "record_function_exit", "new_zeros")  # new_zeros calls zeros


class OperationCounter(TorchDispatchMode):
    """Counts tensor operations that would start kernels on a GPU; a fused or foreach operation counts once."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = func.overloadpacket.__name__.strip("_")
        is_view = any(value.alias_info and not value.alias_info.is_write for value in func._schema.returns)
        self.count += not (is_view or name.removesuffix("_copy") in _NO_KERNEL)
        return func(*args, **(kwargs or {}))
