from __future__ import annotations

import csv

import numpy as np
import pytest
from trc import TRCData

from lib.core.export.export_poses import FORMATS, ExportSettings, check_formats, export_poses
from lib.utils.errors import InputError


def test_export_poses_writes_all_formats(walk, pose_file, tmp_path):
    written = export_poses(pose_file(walk), list(FORMATS), tmp_path / "out")
    assert {path.name for path in written} == {path.name for path in (tmp_path / "out").iterdir()}
    assert {path.name for path in written} == {
        "poses3d.trc",
        "poses3d.c3d",
        "poses3d.bvh",
        "poses3d_export.csv",
        "poses3d_pose2sim",
    }
    assert written[tmp_path / "out/poses3d.trc"] == "30 frames, 50 per second, m, y up, names pose2sim"
    assert "constant limb lengths, which move joints by" in written[tmp_path / "out/poses3d.bvh"]
    assert "3.9 % of the positions are unknown" in written[tmp_path / "out/poses3d.bvh"]


def test_export_poses_settings_replace_the_defaults(walk, pose_file, tmp_path):
    settings = ExportSettings(unit="mm", up="z", marker_set="joints", rate=25)
    (path,) = export_poses(pose_file(walk[7:17]), ["trc"], settings=settings)
    assert path == tmp_path / "poses3d.trc"
    data = TRCData()
    data.load(path)
    assert (data["Units"], data["DataRate"], data["Markers"][1]) == ("mm", 25, "rhip")
    np.testing.assert_allclose(np.array(data["neck"]), walk[7:17, 8], atol=1.0001e-3)


def test_export_poses_of_a_run_writes_a_file_per_recording(walk, pose_file):
    ids = np.array([[f"s_0{subject}_act_02_ca_01/x_{number}.jpg"] for subject in (1, 5) for number in (1, 2, 3)])
    written = export_poses(pose_file(walk[7:13], image_ids=ids), ["csv"], settings=ExportSettings(rate=50))
    assert [path.name for path in written] == ["poses3d_s_01_act_02_export.csv", "poses3d_s_05_act_02_export.csv"]
    with open(list(written)[1]) as file:
        rows = list(csv.DictReader(file))
    assert [row["time_s"] for row in rows] == ["0.020000", "0.040000", "0.060000"]
    assert float(rows[2]["neck_z_mm"]) == np.round(walk[12, 8, 2], 3)


@pytest.mark.parametrize(
    ("formats", "settings", "message"),
    [
        (["fbx"], ExportSettings(), "unknown format 'fbx'"),
        (["trc"], ExportSettings(unit="inch"), "unknown unit 'inch'"),
        (["trc"], ExportSettings(world_up="+z"), "unknown world_up"),
    ],
)
def test_export_poses_refuses(walk, pose_file, formats, settings, message):
    with pytest.raises(InputError, match=message):
        export_poses(pose_file(walk), formats, settings=settings)


def test_check_formats_names_the_missing_package(monkeypatch):
    monkeypatch.setattr("lib.core.export.export_poses.find_spec", lambda name: None)
    check_formats(["trc", "bvh"])
    with pytest.raises(InputError, match="expected the package ezc3d"):
        check_formats(["c3d"])


def test_export_poses_of_one_frame(walk, pose_file):
    written = export_poses(pose_file(walk[:1]), list(FORMATS), settings=ExportSettings(rate=30))
    assert all(content.startswith("1 frame,") for content in written.values())
