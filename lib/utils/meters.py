"""Running averages."""

from __future__ import annotations


class AverageMeter:
    """Keeps the last value and the mean over all.

    Attributes:
        value: the last value.
        average: weighted mean, 0 before the first value.
        count: sum of the weights.
    """

    def __init__(self) -> None:
        self.value = 0.0
        self.count = 0
        self._sum = 0.0

    def update(self, value: float, weight: int = 1) -> None:
        """Add a value that stands for `weight` samples."""
        self.value = value
        self._sum += value * weight
        self.count += weight

    @property
    def average(self) -> float:
        return self._sum / self.count if self.count else 0.0
