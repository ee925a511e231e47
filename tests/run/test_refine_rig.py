from __future__ import annotations

import numpy as np
from cvf_tests.wrong_rig import SIDE, filmed_walk

from lib.dataset.own_cameras.calibration_file import Rig
from lib.dataset.own_cameras.calibration_writer import write_rig
from lib.dataset.own_cameras.detections import Detections

NAMES = ("left", "middle", "right")


def test_refine_rig_keeps_files_that_it_has_not_written(tmp_path, run_script):
    walk = filmed_walk(num_frames=8)
    write_rig(tmp_path / "Calib.toml", Rig(NAMES, walk.state.cameras, np.full((3, 2), SIDE)), {})
    detections = tmp_path / "detections.npz"
    Detections(NAMES, walk.points[:, :, None]).save(detections)
    words = ("--cameras", tmp_path / "Calib.toml", "--detections", detections, "--points", "h36m17")
    out = tmp_path / "mine.toml"
    out.write_text("by hand")
    refused = run_script("data/refine_rig.py", *words, "--out", out)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "exists and is not a result of this command" in refused.err
    assert out.read_text() == "by hand"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Calib.toml", "detections.npz", "mine.toml"]
    too_short = run_script("data/refine_rig.py", *words, "--out", tmp_path / "new.toml")
    assert too_short.code == 1, too_short.err
    assert "Not to be trusted" in too_short.out
    assert not (tmp_path / "new.toml").exists()
    assert (tmp_path / "new.md").is_file()
