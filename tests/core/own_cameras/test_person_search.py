from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.knowing_network import Centered, Knowing

from lib.core.config_io import load_config
from lib.core.own_cameras import person_search
from lib.core.own_cameras.person_search import SearchSettings, SearchTracker
from lib.core.own_cameras.recording import load_recording

CFG = "experiments-local/own/resnet18/96_fusion.yaml"
OPTS = ["NETWORK.IMAGE_SIZE", "256", "NETWORK.HEATMAP_SIZE", "64"]


@pytest.fixture
def track(files):
    """track(roots, kind) follows the person and returns (frames, joints in the images)."""

    def run(roots_world=None, kind=Knowing):
        recording = load_recording(files.cameras, files.videos)
        kind.show(recording, files.pose_world)
        tracker = SearchTracker(kind(load_config(CFG, OPTS), None, None), recording.rig, roots_world)
        return [tracker(images) for images in kind.known], kind.joints

    return run


@pytest.mark.parametrize("with_roots", [True, False])
def test_search_tracker_locates_and_tracks_the_person(files, track, with_roots, monkeypatch):
    monkeypatch.setattr(person_search, "SEARCH", SearchSettings(grid_reach=2))  # the next test searches the room
    frames, joints = track(files.pose_world[:, 0] if with_roots else None)
    assert len(frames) == 20
    for frame, expected in zip(frames, joints, strict=True):
        assert np.median(np.linalg.norm(frame.locations[..., :2] - expected, axis=-1)) < 0.3
        side_px = 64 / frame.image_to_heatmap[:, 0, 0]
        assert (np.abs(expected[:, 0] - frame.center) < 0.2 * side_px[:, None]).all()


def test_search_tracker_centered_network_finds_the_person(track):
    frames, joints = track(kind=Centered)
    for frame, expected in zip(frames, joints, strict=True):
        off = np.linalg.norm(expected[:, 0] - frame.center, axis=-1) * frame.image_to_heatmap[:, 0, 0] / 64
        assert off.max() < 0.04  # 80 mm
