"""Names and helpers for tests that run the scripts."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# Run directory of the tiny experiment, below output/.
RUN = "multiview_h36m/multiview_pose_resnet_18/tiny"

# Options of a training that does not end before the test stops it.
LONG = ("--opts", "TRAIN.END_EPOCH", 500, "TRAIN.VALIDATE_EVERY", 500, "PRINT_FREQ", 1, "TRAIN.BATCH_SIZE", 1)

# Runs a script with every import of torch failing.
WITHOUT_TORCH = """
import runpy, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass
class Finished:
    """Exit code, standard output and standard error of a script."""

    code: int
    out: str
    err: str


def wait_for(path: Path, text: str, process: subprocess.Popen) -> None:
    """Wait until a file holds some text."""
    until = time.monotonic() + 120
    while not (path.exists() and text in path.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
