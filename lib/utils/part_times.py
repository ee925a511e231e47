"""Time spent in the parts of a computation."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class PartTimes:
    """Seconds by part since the creation; time outside of parts counts as the rest."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Add the time of the block to a part; blocks must not be nested."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[part] = self._seconds.get(part, 0.0) + time.perf_counter() - start

    def describe(self, num_frames: int, rest: str) -> str:
        """Return the frames per second and the share of each part; `rest` names the time outside of them."""
        total = max(time.perf_counter() - self._start, 1e-9)
        parts = {**self._seconds, rest: total - sum(self._seconds.values())}
        shares = ", ".join(f"{part} {100 * seconds / total:.0f} %" for part, seconds in parts.items())
        return f"{num_frames / total:.1f} frames per second: {shares}"
