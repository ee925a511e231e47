"""Log handlers of a run: console and a file in the run directory."""

import logging
import platform
import sys
import time
from pathlib import Path

import numpy as np


class _TqdmHandler(logging.Handler):
    """Handler that writes above progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stdout)
        sys.stdout.flush()


def setup_logging(run_directory: Path, phase: str) -> None:
    """Send log records to the console and to <run directory>/<phase>_<time>.log.

    Args:
        run_directory: existing directory.
        phase: "train", "valid", ...
    """
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    path = run_directory / f"{phase}_{time.strftime('%Y-%m-%d-%H-%M-%S')}.log"
    file_handler = logging.FileHandler(path, encoding="utf-8")
    file_handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    console = _TqdmHandler()
    console.setFormatter(logging.Formatter("%(message)s"))
    for handler in (file_handler, console):
        root.addHandler(handler)
    root.setLevel(logging.INFO)


def log_versions() -> None:
    """Log the versions of Python, NumPy and torch."""
    versions = [f"python {platform.python_version()}", f"numpy {np.__version__}"]
    if "torch" in sys.modules:
        versions.append(f"torch {sys.modules['torch'].__version__}")
    logging.getLogger(__name__).info("versions: %s", ", ".join(versions))
