"""Speed on a GPU, part by part, compared with lower bounds.

    python benchmarks/bench_gpu.py [--only step ...] [--out FILE]
    python benchmarks/bench_gpu.py --device cpu --tiny              # tries every section on the CPU in seconds

Each measurement is printed, and written to --out, as one JSON line; tables follow. Without CUDA the benchmark prints
one line and exits with code 0. Needs no data. To add a section, add its function to SECTIONS.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests")]

import torch
from gpu_harness import Bench, Section, run_sections
from gpu_input import bench_checkpoint, bench_input, bench_validation
from gpu_pose3d import bench_pose3d
from gpu_step import bench_step

from lib.core.runtime.machine import describe_machine

# name -> function(bench) that calls bench.record() for each measurement
SECTIONS: dict[str, Section] = {
    "step": bench_step,
    "input": bench_input,
    "validation": bench_validation,
    "checkpoint": bench_checkpoint,
    "pose3d": bench_pose3d,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections to run")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="smallest sizes; the times mean nothing")
    parser.add_argument("--out", type=Path, metavar="FILE", help="append the measurements to this file as JSON lines")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("bench_gpu: no CUDA device; nothing to measure (--device cpu --tiny tries it on the CPU)")
        return
    torch.backends.cudnn.benchmark = True  # the default of CUDNN.BENCHMARK, as in train.py and valid.py
    name = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    print(f"{name}; {describe_machine(('torch', 'triton', 'numpy'))}\n")
    run_sections(Bench(torch.device(args.device), args.tiny, args.out), SECTIONS, args.only)


if __name__ == "__main__":
    main()
