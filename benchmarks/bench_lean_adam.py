"""Time of an update of 64 M weights: torch's fused Adam against LeanAdam. One thread.

python -m bench_lean_adam
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn

from lib.core.training.lean_adam import LeanAdam

NUM_WEIGHTS = 64_000_000
REPEATS = 5


def seconds(make_optimizer) -> float:
    """Median over the steps that follow the first, which makes the state."""
    matrix = nn.Parameter(torch.randn(NUM_WEIGHTS))
    other = nn.Parameter(torch.zeros(1))
    matrix.grad = torch.randn(NUM_WEIGHTS)
    other.grad = torch.ones(1)
    optimizer = make_optimizer(matrix, other)
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


if __name__ == "__main__":
    torch.set_num_threads(1)
    plain = seconds(lambda matrix, other: torch.optim.Adam([matrix, other], lr=1e-3, fused=True))
    lean = seconds(lambda matrix, other: LeanAdam([matrix], [other], 1e-3, 0))
    print(f"fused Adam {plain:.3f} s, LeanAdam {lean:.3f} s")
