"""Section "step" of bench_gpu.py: the training step and its parts."""

from __future__ import annotations

from gpu_harness import Bench


def bench_step(bench: Bench) -> None:
    """Measure the training step of ResNet-50 with learned fusion, and its parts alone."""
    bench.record("step", "not implemented yet")
