"""Interrupts: SIGTERM, SIGHUP and Ctrl-C end a training at a point from which it can resume."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType

from lib.utils.parallel.distributed import any_rank
from lib.utils.parallel.processes import termination_signals


class InterruptGuard:
    """Context in which the first signal only sets a flag. A second Ctrl-C ends the program at once."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> InterruptGuard:
        self._previous = {number: signal.signal(number, self._receive) for number in termination_signals()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received = number

    def requested(self) -> bool:
        """Return whether any rank received a signal. All ranks must call it at the same step."""
        return any_rank(self._received is not None)
