"""Cost of averaging the gradients of a training on several processes.

    python benchmarks/bench_exchange.py [--weights 20] [--rounds 5]

Two processes on the CPU (gloo) average the gradients of a learned fusion in DistributedDataParallel, with and without
exchange in turns. A second table computes the exchange of all weights for other links: a ring of n processes moves
2 (n-1)/n of the gradients through each link.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lib.core.runtime.machine import describe_machine
from lib.utils.tables import markdown_table

FUSION_WEIGHTS = 4 * 3 * 4096**2  # 4 views, 64 x 64 px
RESNET50_WEIGHTS = 34.0e6  # with the head
LINKS_GB_PER_S = {"NVLink 4 (H100, H200)": 450.0, "PCIe 5.0 x16": 63.0, "PCIe 4.0 x16": 31.5, "25 Gbit/s network": 3.1}
WORLD_SIZES = (2, 4, 8)
PORT = "29571"


class Matrices(nn.Module):
    """As many weights as asked, with a gradient that costs one copy."""

    def __init__(self, num_weights: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_weights))

    def forward(self, scale: torch.Tensor) -> torch.Tensor:
        return (self.weight * scale).sum()


def measure(rank: int, num_weights: int, rounds: int) -> None:
    """Print the time of forward and backward with and without exchange, as one of two processes."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": PORT}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.set_num_threads(1)
    model = DistributedDataParallel(Matrices(num_weights), gradient_as_bucket_view=True)
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(rounds + 1):
        for exchanges in times:
            model.zero_grad(set_to_none=True)
            dist.barrier()
            start = time.perf_counter()
            if exchanges:
                model(torch.ones(())).backward()
            else:
                with model.no_sync():
                    model(torch.ones(())).backward()
            times[exchanges].append(time.perf_counter() - start)
    if rank == 0:
        with_exchange, without = (statistics.median(times[exchanges][1:]) for exchanges in (True, False))
        size = 4e-9 * num_weights
        rows = [
            [f"{size:.2f} GB of gradients, with exchange", 1e3 * with_exchange],
            ["without exchange", 1e3 * without],
            ["exchange, GB/s", size / (with_exchange - without)],
        ]
        print(markdown_table(["two processes, gloo", "ms"], rows), flush=True)
    dist.destroy_process_group()


def computed_table() -> str:
    """Return the exchange of ResNet-50 with learned fusion in ms, by link and number of processes."""
    size = 4e-9 * (FUSION_WEIGHTS + RESNET50_WEIGHTS)
    rows = [
        [link, speed, *(1e3 * 2 * (n - 1) / n * size / speed for n in WORLD_SIZES)]
        for link, speed in LINKS_GB_PER_S.items()
    ]
    return markdown_table([f"{size:.2f} GB", "GB/s", *(f"{n} processes, ms" for n in WORLD_SIZES)], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=float, default=20, help="millions of weights to exchange (20)")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds; the median is reported (5)")
    args = parser.parse_args()
    print(describe_machine(("torch",)) + "\n")
    mp.spawn(measure, (round(1e6 * args.weights), args.rounds), nprocs=2)
    print(f"\n{computed_table()}")


if __name__ == "__main__":
    main()
