"""Results of all seeds, read from the run directories of a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.core.run_directory import RESULTS_2D_NAME, RESULTS_3D_NAME
from lib.utils.files.json_file import read_json

# column of the paper's Table 1 -> joints
TABLE_1_JOINTS = {
    "shoulder": ("lsho", "rsho"),
    "elbow": ("lelb", "relb"),
    "wrist": ("lwri", "rwri"),
    "hip": ("lhip", "rhip"),
    "knee": ("lkne", "rkne"),
    "ankle": ("lank", "rank"),
}
LIMB_JOINTS = tuple(name for joints in TABLE_1_JOINTS.values() for name in joints)
VISIBILITY = ("all", "occluded", "visible")


@dataclass(frozen=True)
class SeedValues:
    """One number per seed."""

    by_seed: Mapping[int, float]  # seed -> value; seeds without a result are missing

    @property
    def mean(self) -> float:
        """Mean over the seeds; NaN without seeds."""
        return float(np.mean(list(self.by_seed.values()))) if self.by_seed else float("nan")

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; NaN with fewer than two seeds."""
        return float(np.std(list(self.by_seed.values()), ddof=1)) if len(self.by_seed) > 1 else float("nan")

    def __str__(self) -> str:
        if not self.by_seed:
            return "-"
        return f"{self.mean:.1f}" if np.isnan(self.spread) else f"{self.mean:.1f} ± {self.spread:.1f}"

    def minus(self, other: SeedValues) -> SeedValues:
        """Return the differences of the common seeds."""
        common = self.by_seed.keys() & other.by_seed.keys()
        return SeedValues({seed: self.by_seed[seed] - other.by_seed[seed] for seed in sorted(common)})


class SeedResults:
    """Results of a plan; missing results are left out."""

    def __init__(self, directories: Mapping[str, Mapping[int, Path]], seeds: Sequence[int]) -> None:
        """
        Args:
            directories: row -> seed -> run directory.
            seeds: seeds to read.
        """
        self._directories = directories
        self._seeds = seeds
        self._files: dict[Path, Any] = {}

    def incomplete(self) -> dict[str, tuple[int, ...]]:
        """Return row -> seeds without results, of the rows with results of other seeds."""
        missing = {row: self._seeds_without_results(by_seed) for row, by_seed in self._directories.items()}
        return {row: seeds for row, seeds in missing.items() if 0 < len(seeds) < len(self._seeds)}

    def _seeds_without_results(self, by_seed: Mapping[int, Path]) -> tuple[int, ...]:
        files = {seed: directory / RESULTS_2D_NAME for seed, directory in by_seed.items()}
        return tuple(seed for seed in self._seeds if seed not in files or not files[seed].is_file())

    def detection_rate(self, row: str, joints: Sequence[str] = (), visibility: str = "all") -> SeedValues:
        """Return the joint detection rate (JDR, %) of a row.

        Args:
            row: e.g. "mixed/fusion".
            joints: joints to average over; () = all.
            visibility: "all", "occluded" or "visible" joints.
        """

        def read(results: Any) -> float | None:
            first = next(iter(results["jdr"]))
            entry = results["jdr"].get(first if visibility == "all" else f"{first}, {visibility} joints")
            rates = [] if entry is None else [entry["per_joint"][name] for name in joints or entry["per_joint"]]
            known = [rate for rate in rates if rate is not None]
            return 100 * float(np.mean(known)) if known else None

        return self._values(row, RESULTS_2D_NAME, read)

    def error(self, row: str, method: str, action: str | None = None, joints: Sequence[str] = ()) -> SeedValues:
        """Return the absolute MPJPE (mm) of a row.

        Args:
            row: e.g. "mixed/fusion".
            method: name in results_3d.json without its backend, e.g. "rpsm" or "rpsm, depth 3".
            action: frames of this action alone; None = all frames.
            joints: joints to average over, over all frames; () = all.
        """

        def read(results: Any) -> float | None:
            entry = results.get(f"{method} (numpy)")
            if entry is None:
                return None
            if joints:
                return float(np.mean([entry["per_joint"][name]["absolute"] for name in joints]))
            if action is None:
                return entry["mpjpe"]["absolute"]["frames"]
            return entry["per_action"].get(action, {}).get("absolute")

        return self._values(row, RESULTS_3D_NAME, read)

    def num_frames(self, row: str) -> int | None:
        """Return the number of evaluated groups of a row."""
        for directory in self._directories.get(row, {}).values():
            if (directory / RESULTS_3D_NAME).is_file():
                return next(iter(read_json(directory / RESULTS_3D_NAME).values()))["num_frames"]
        return None

    def _values(self, row: str, name: str, read: Callable[[Any], float | None]) -> SeedValues:
        values = {}
        for seed, directory in self._directories.get(row, {}).items():
            path = directory / name
            if seed in self._seeds and path not in self._files and path.is_file():
                self._files[path] = read_json(path)
            value = read(self._files[path]) if path in self._files else None
            if value is not None:
                values[seed] = float(value)
        return SeedValues(values)
