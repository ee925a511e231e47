from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cvf_tests.walk import walking

from lib.core.pose3d.results_3d import write_poses
from lib.utils.joints import H36M_17

RATE = 50.0


@pytest.fixture
def walk() -> np.ndarray:
    """A walking person (30, 17, 3), mm, z up; the left knee is unknown in frames 4 to 6, all joints in frame 20."""
    pose = walking(30, np.random.default_rng(3)) + [100, 200, 900]
    pose[4:7, H36M_17.index("lkne")] = np.nan
    pose[20] = np.nan
    return pose


@pytest.fixture
def pose_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a pose file of a recording, or with image_ids of a run."""

    def write(pose_world: np.ndarray, frame: np.ndarray | None = None, **arrays: np.ndarray) -> Path:
        if "image_ids" not in arrays:
            frame = np.arange(len(pose_world)) if frame is None else frame
            arrays = {"frame": frame, "time_s": frame / RATE}
        path = tmp_path / "poses3d.npz"
        write_poses(path, H36M_17.names, pose_world, np.full(pose_world.shape[:2], 4), 4, **arrays)
        return path

    return write
