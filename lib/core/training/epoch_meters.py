"""Sums of a training epoch, kept on the device and read seldom: reading makes the CPU wait for the GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from lib.core.evaluation2d.metrics_2d import heatmap_accuracy
from lib.core.loss import Losses
from lib.utils.parallel.distributed import min_over_ranks, sum_over_ranks

_LOSSES = ("loss", "loss_routed", "loss_raw")
_NEVER = 2**53 - 1  # later than any step, and a double holds it exactly


class EpochMeters:
    """Losses, weighted by groups, and hits of an epoch so far and since the last reading.

    Attributes:
        first_bad_step: (1,) int64 on the device, the first step whose loss was not finite here.
    """

    def __init__(self, num_joints: int, device: torch.device) -> None:
        self._sums = torch.zeros(2, len(_LOSSES) + 1, dtype=torch.float64, device=device)  # epoch, window
        self._hits = torch.zeros(2, 2, num_joints, dtype=torch.float64, device=device)
        self.first_bad_step = torch.full((1,), _NEVER, dtype=torch.int64, device=device)

    def update(self, losses: Losses, hits: Tensor, num_groups: int, step: int) -> None:
        """Add a step; nothing is read from the device.

        Args:
            losses: means over this process's groups.
            hits: (2, J) of heatmap_hits().
            num_groups: of this process.
            step: its number, for first_bad_step.
        """
        row = torch.stack([*losses, torch.ones_like(losses.total)]).double() * num_groups
        self._sums += row
        self._hits += hits
        bad = ~torch.isfinite(losses.total) & (self.first_bad_step == _NEVER)
        self.first_bad_step = torch.where(bad, step, self.first_bad_step)

    def bad_step(self) -> int:
        """Return the first bad step of any process, -1 = none; every process must ask at the same step."""
        return _step_number(min_over_ranks(self.first_bad_step.clone()).item())

    def read(self) -> tuple[dict[str, float], dict[str, float], int]:
        """Read the sums of all processes and begin a new window; every process must call it at the same step.

        Returns:
            Means of the epoch so far and of the window: loss, loss_routed, loss_raw, accuracy, groups; and the first
            bad step of any process, -1 = none.
        """
        sums, hits = sum_over_ranks(self._sums.clone()), sum_over_ranks(self._hits.clone())
        bad = min_over_ranks(self.first_bad_step.clone())
        means = sums[:, :-1] / sums[:, -1:].clamp(min=1)
        accuracy = torch.stack([heatmap_accuracy(part) for part in hits])
        everything = torch.cat([means, accuracy[:, None], sums[:, -1:]], 1)  # (2, 5)
        *values, bad_step = torch.cat([everything.flatten(), bad.double()]).tolist()
        self._sums[1], self._hits[1] = 0, 0
        names = (*_LOSSES, "accuracy", "groups")
        epoch, window = (dict(zip(names, values[i : i + 5], strict=True)) for i in (0, 5))
        return epoch, window, _step_number(bad_step)

    def state(self) -> dict[str, Tensor]:
        """Return the sums of the epoch so far over all processes, for a checkpoint; all must ask at the same step."""
        sums = {"sums": self._sums[0], "hits": self._hits[0]}
        return {name: sum_over_ranks(values.clone()).cpu() for name, values in sums.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from the sums of a checkpoint; at one process alone, since they are those of all."""
        self._sums[0], self._hits[0] = state["sums"].to(self._sums), state["hits"].to(self._hits)


def _step_number(first_bad: float) -> int:
    return -1 if first_bad == _NEVER else int(first_bad)
