"""Description of the machine, for benchmark reports and the records of runs."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.utils.parallel.processes import usable_processors


def describe_machine(packages: Sequence[str] = ("numpy", "scipy", "torch")) -> str:
    """Return processor, cores, package versions and load in one line."""
    versions = [
        f"{name} {version}" if version else f"no {name}" for name, version in package_versions(packages).items()
    ]
    load = f"; load before the run {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{_processor_name()}, {usable_processors()} cores; {', '.join(versions)}{load}"


def package_versions(packages: Sequence[str]) -> dict[str, str | None]:
    """Return the versions of Python and of packages; None for a package that is not installed."""
    versions: dict[str, str | None] = {"Python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return versions


def hardware() -> dict[str, Any]:
    """Return processor, cores and memory, and the GPUs if torch is loaded."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cuda = sys.modules["torch"].cuda if "torch" in sys.modules else None
    gpus = [cuda.get_device_name(index) for index in range(cuda.device_count())] if cuda else []
    return {"processor": _processor_name(), "cores": usable_processors(), "memory_gib": round(memory, 1), "gpus": gpus}


def _processor_name() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
