"""One-line description of the machine, for benchmark reports."""

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from lib.utils.parallel.processes import usable_processors


def describe_machine(packages: Sequence[str] = ("numpy", "scipy", "torch")) -> str:
    """Return processor, cores, package versions and load in one line."""
    versions = [f"Python {platform.python_version()}"]
    for package in packages:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    load = f"; load before the run {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{_processor_name()}, {usable_processors()} cores; {', '.join(versions)}{load}"


def _processor_name() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
