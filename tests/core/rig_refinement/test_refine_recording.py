from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cvf_tests.wrong_rig import SIDE, bumped, filmed_walk

from lib.core.own_cameras.recording import Recording, associate, load_recording
from lib.core.rig_refinement.refine_recording import first_offsets, refine_recording, save_refined_recording
from lib.dataset.own_cameras.calibration_file import Rig, load_rig
from lib.dataset.own_cameras.calibration_writer import write_rig
from lib.dataset.own_cameras.detections import Detections
from lib.multiviews.rig.rig_verdict import NOT_TRUSTED, REFINED, RIGHT
from lib.utils.errors import InputError
from lib.utils.files.json_file import read_json

NAMES = ("left", "middle", "right")


def recorded(folder, degrees: float, num_frames: int = 100) -> Recording:
    """Write calibration and detections, with one camera bumped, and load them."""
    walk = filmed_walk(num_frames=num_frames)
    cameras = bumped(walk.state.cameras, 1, degrees)
    write_rig(folder / "Calib.toml", Rig(NAMES, cameras, np.full((3, 2), SIDE)), {})
    Detections(NAMES, walk.points[:, :, None]).save(folder / "detections.npz")
    return associate(load_recording(folder / "Calib.toml", detections=folder / "detections.npz", point_set="h36m17"))


def test_refine_recording_writes_calibration_and_report(tmp_path):
    recording = recorded(tmp_path, 1.0)
    result = refine_recording(recording, height_mm=1800.0)
    assert result.verdict.kind == REFINED, result.verdict.reasons
    assert result.scale * result.height_mm == pytest.approx(1800.0)
    out = tmp_path / "out.toml"
    save_refined_recording(out, tmp_path / "Calib.toml", recording, result)
    written = load_rig(out)
    np.testing.assert_allclose(written.cameras.T, result.rig.cameras.T, atol=1e-6)
    results = read_json(tmp_path / "out.json")
    assert results["views"]["middle"]["turned_deg"] == pytest.approx(1.0, abs=0.1)
    assert results["views"]["left"]["turned_deg"] < 0.1
    assert (tmp_path / "out.png").stat().st_size > 5000
    assert "middle moved" in (tmp_path / "out.md").read_text()


def test_refine_recording_copies_a_right_calibration(tmp_path):
    recording = recorded(tmp_path, 0.0)
    result = refine_recording(recording)
    assert result.verdict.kind == RIGHT, result.verdict.reasons
    save_refined_recording(tmp_path / "out.toml", tmp_path / "Calib.toml", recording, result)
    assert (tmp_path / "out.toml").read_bytes() == (tmp_path / "Calib.toml").read_bytes()


def test_save_refined_recording_removes_a_calibration_that_is_not_to_be_trusted(tmp_path):
    recording = recorded(tmp_path, 1.0, num_frames=8)
    (tmp_path / "out.toml").write_text("stale")
    result = refine_recording(recording)
    assert result.verdict.kind == NOT_TRUSTED
    save_refined_recording(tmp_path / "out.toml", tmp_path / "Calib.toml", recording, result)
    assert not (tmp_path / "out.toml").exists()
    assert read_json(tmp_path / "out.json")["reasons"]


def test_refine_recording_checks_the_height(tmp_path):
    with pytest.raises(InputError, match="--height: expected"):
        refine_recording(recorded(tmp_path, 0.0, num_frames=8), height_mm=178.0)


def test_first_offsets_are_those_of_the_first_frame():
    state = filmed_walk(num_frames=8).state
    state = replace(state, offset=np.array([0.0, 2.0, 3.0]), drift=np.array([0.0, 1.0, 0.0]))
    np.testing.assert_allclose(first_offsets(state), [0.0, 1.5, 3.0])
