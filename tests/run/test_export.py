"""run/pose3d/export.py, run as a user runs it."""

from __future__ import annotations

import numpy as np
from cvf_tests.walk import walking

from lib.core.pose3d.results_3d import write_poses
from lib.utils.joints import H36M_17


def test_export_writes_files_and_says_what_they_hold(run_script, tmp_path):
    poses, frame = walking(12, np.random.default_rng(1)), np.arange(12)
    path = tmp_path / "poses3d.npz"
    write_poses(path, H36M_17.names, poses, np.full((12, 17), 3), 4, frame=frame, time_s=frame / 30)
    done = run_script("pose3d/export.py", "--poses", path, "--to", "trc", "bvh", "--unit", "mm", "--world-up=-z")
    assert done.code == 0, done.err
    assert "poses3d.trc: 12 frames, 30 per second, mm, y up, names pose2sim" in done.out
    assert (tmp_path / "poses3d.bvh").read_text().startswith("HIERARCHY\nROOT Hips")


def test_export_refuses_in_one_line(run_script, tmp_path):
    flags = ["--to", "trc"]
    for words in (["--poses", tmp_path / "none.npz", *flags], ["--poses", tmp_path, *flags], flags):
        done = run_script("pose3d/export.py", *words)
        assert done.code == 2
        assert len(done.err.strip().splitlines()) == 1
    (tmp_path / "broken.npz").write_bytes(b"PK")
    done = run_script("pose3d/export.py", "--poses", tmp_path / "broken.npz", *flags)
    assert (done.code, len(done.err.strip().splitlines())) == (2, 1)
    assert "not a file of 3D poses" in done.err
