"""The code blocks of docs/own_cameras.md run as they stand, in a folder with the files that they name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from cvf_tests.own_recording import load_synchronized, make_recording, poses_of
from cvf_tests.scripts import REPOSITORY
from cvf_tests.walk import film, walking

from lib.core.own_cameras import heatmap_poses

PAGE = REPOSITORY / "docs/own_cameras.md"


@pytest.fixture
def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)


def test_block_for_recordings_runs(blocks, tmp_path, monkeypatch, capsys):
    """BlazePose, which a test cannot fetch, is replaced by the detections; its configuration is checked."""
    files = make_recording(tmp_path, num_frames=12)
    monkeypatch.chdir(tmp_path)
    used = []

    def poses_from_heatmaps(recording, config, method, settings, prior, checkpoint):
        used.append((config.BACKBONE_MODEL, config.NETWORK.FUSION, method, settings.cutoff))
        detected = load_synchronized(files.cameras, files.videos, files.detections)
        return replace(recording, points=detected.points), poses_of(detected)

    monkeypatch.setattr(heatmap_poses, "poses_from_heatmaps", poses_from_heatmaps)
    names: dict = {}
    exec(blocks[0], names)
    assert used == [("blazepose", "epipolar_max", "rpsm+refine", "auto")]
    assert np.median(np.linalg.norm(names["found"].pose_world - files.pose_world, axis=-1)) < 15
    assert cv2.imread("frames.jpg") is not None
    assert Path("poses.mp4").stat().st_size > 0
    written = {path.name for path in Path("out").iterdir()}
    assert {"poses3d.npz", "report.md", "poses3d.trc", "poses3d.c3d", "poses3d.bvh"} <= written
    assert len(blocks[0].strip().splitlines()) <= 10


def test_block_for_arrays_runs(blocks):
    points, cameras = film(walking(12, np.random.default_rng(2)), 3, np.random.default_rng(3))
    names = {"points": points, "cameras": cameras[0]}
    exec(blocks[1].replace("coco17", "h36m17"), names)
    assert names["poses"].pose_world.shape == (12, 17, 3)
