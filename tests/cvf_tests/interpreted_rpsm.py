"""RPSM in interpreted Triton kernels, without a GPU.

They run in another process, because TRITON_INTERPRET is read when Triton is imported.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cvf_tests.scripts import REPOSITORY

from lib.multiviews.cameras import Cameras
from lib.multiviews.pictorial.limb_prior import LimbPrior
from lib.multiviews.pictorial.rpsm import PictorialSettings


@dataclass(frozen=True)
class RpsmProblem:
    """Arguments of rpsm() without the backend."""

    heatmaps: np.ndarray
    cameras: Cameras
    image_to_heatmap: np.ndarray
    root_world: np.ndarray
    limb_lengths: np.ndarray
    prior: LimbPrior
    settings: PictorialSettings

    @property
    def arguments(self) -> tuple:
        return tuple(self.__dict__.values())


def interpreted_poses(problems: Sequence[RpsmProblem], folder: Path) -> list[np.ndarray]:
    """Solve problems with the interpreted kernels, one launch per frame."""
    given, found = folder / "problems.pkl", folder / "poses.pkl"
    given.write_bytes(pickle.dumps(list(problems)))
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "1",
        "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'tests'}",
    }
    subprocess.run([sys.executable, __file__, str(given), str(found)], env=environment, check=True)
    return pickle.loads(found.read_bytes())


def main(given: str, found: str) -> None:
    import torch

    from lib.multiviews.pictorial import rpsm_triton
    from lib.multiviews.pictorial.rpsm_triton import TritonRpsm

    rpsm_triton._CHUNK_BYTES = 1
    solver = TritonRpsm(torch.device("cpu"))
    problems = pickle.loads(Path(given).read_bytes())
    poses = [solver(torch.as_tensor(each.heatmaps), *each.arguments[1:]) for each in problems]
    Path(found).write_bytes(pickle.dumps(poses))


if __name__ == "__main__":
    main(*sys.argv[1:])
