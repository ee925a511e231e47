from __future__ import annotations

import pytest
from cvf_tests.own_recording import load_synchronized, poses_of

from lib.core.own_cameras import recording_results
from lib.core.own_cameras.recording_results import save_results
from lib.utils.errors import InputError


def test_save_results_poses_remain_if_a_later_file_fails(files, tmp_path, monkeypatch):
    def refuse(*_):
        raise InputError("the disk is full")

    monkeypatch.setattr(recording_results, "save_label_sheet", refuse)
    recording = load_synchronized(files.cameras, files.videos, files.detections)
    with pytest.raises(InputError, match="the disk is full"):
        save_results(tmp_path, recording, poses_of(recording), "agreement")
    assert {path.name for path in tmp_path.iterdir()} == {"poses3d.npz", "poses3d.csv", "results.json"}
