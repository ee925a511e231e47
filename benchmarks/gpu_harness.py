"""Measurements of bench_gpu.py: timing on a device, records as JSON lines, and their table."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lib.utils.tables import markdown_table


@dataclass
class Bench:
    """Device, size and records of a run of the benchmark.

    Attributes:
        device: device of the measurements.
        is_tiny: use the smallest sizes, to try the benchmark on a CPU; its times mean nothing.
        path: file that receives each record as one JSON line as soon as it is measured; None = no file.
        records: all records so far.
    """

    device: torch.device
    is_tiny: bool = False
    path: Path | None = None
    records: list[dict[str, Any]] = field(default_factory=list)

    def record(self, section: str, name: str, **values: Any) -> None:
        """Store and print one measurement.

        Args:
            section: name of the section.
            name: what was measured.
            values: column of the table -> value.
        """
        entry = {"section": section, "name": name, **values}
        self.records.append(entry)
        line = json.dumps(entry)
        print(line, flush=True)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def synchronize(self) -> None:
        """Wait until the device is idle."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def milliseconds(self, work: Callable[[], Any], repeats: int = 10, warm_up: int = 3, rounds: int = 3) -> float:
        """Return the time of a call: the median over rounds of the mean of a round.

        Args:
            work: the call.
            repeats: calls per round; 1 if `is_tiny`.
            warm_up: calls before the first round.
            rounds: number of rounds; 1 if `is_tiny`.
        """
        repeats, rounds = (1, 1) if self.is_tiny else (repeats, rounds)
        for _ in range(warm_up):
            work()
        times = []
        for _ in range(rounds):
            self.synchronize()
            start = time.perf_counter()
            for _ in range(repeats):
                work()
            self.synchronize()
            times.append(1e3 * (time.perf_counter() - start) / repeats)
        return statistics.median(times)

    def table(self, section: str) -> str:
        """Return the records of a section as a Markdown table; its columns are the union of the records' values."""
        records = [entry for entry in self.records if entry["section"] == section]
        columns = list(dict.fromkeys(key for entry in records for key in entry if key != "section"))
        return markdown_table(columns, [[entry.get(column) for column in columns] for entry in records], digits=2)


Section = Callable[[Bench], None]


def run_sections(bench: Bench, sections: dict[str, Section], names: Sequence[str]) -> None:
    """Run sections one after the other and print the table of each. An exception becomes a record.

    Args:
        bench: receives the records.
        sections: name -> function that measures.
        names: the sections to run.
    """
    for name in names:
        start = time.perf_counter()
        try:
            sections[name](bench)
        except Exception as error:  # the other sections still run
            bench.record(name, "failed", error=f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")
        print(f"\n## {name} ({time.perf_counter() - start:.0f} s)\n\n{bench.table(name)}\n", flush=True)
