"""A trace of some training steps, for chrome://tracing or Perfetto."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from lib.utils.checks import InputError

logger = logging.getLogger(__name__)

WARM_UP_STEPS = 3
TRACE_NAME = "trace.json"
NUM_ROWS = 15


class StepProfiler:
    """Records steps WARM_UP_STEPS + 1, ...; writes trace.json and logs the costliest operations."""

    def __init__(self, num_steps: int, directory: Path, device: torch.device) -> None:
        """
        Args:
            num_steps: steps to record; 0 = none.
            directory: receives the trace.
            device: where the model lives.
        """
        if num_steps < 0:
            raise InputError(f"--profile: expected a number of steps, received {num_steps}")
        self._profile: profile | None = None
        self._path, self._is_cuda = directory / TRACE_NAME, device.type == "cuda"
        if num_steps:
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._is_cuda else [])]
            plan = schedule(wait=WARM_UP_STEPS - 1, warmup=1, active=num_steps, repeat=1)
            self._profile = profile(activities=activities, schedule=plan, on_trace_ready=self._write)
            self._profile.start()

    def step(self) -> None:
        """Tell that a step is done."""
        if self._profile is not None:
            self._profile.step()

    def _write(self, recorded: profile) -> None:
        recorded.export_chrome_trace(str(self._path))
        order = "self_device_time_total" if self._is_cuda else "self_cpu_time_total"
        logger.info("profile: %s\n%s", self._path, recorded.key_averages().table(sort_by=order, row_limit=NUM_ROWS))

    def stop(self) -> None:
        """End the recording; a training shorter than planned leaves what there is."""
        if self._profile is not None:
            self._profile.stop()
            self._profile = None
