from __future__ import annotations

import tomllib

import numpy as np
from trc import TRCData

from lib.core.export.pose2sim_folder import write_pose2sim
from lib.core.export.pose_sequence import load_sequences

# Markers_Halpe26.xml of Pose2Sim 0.10.49, without the feet and the head
HALPE_26 = ["Nose", "Neck", "Hip"] + [
    side + part for side in "LR" for part in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")
]


def test_write_pose2sim_has_what_its_kinematics_reads(walk, pose_file, tmp_path):
    (sequence,) = load_sequences(pose_file(walk[7:17]))
    write_pose2sim(tmp_path / "trial", sequence.turned("y").scaled("m"))
    config = tomllib.loads((tmp_path / "trial/Config.toml").read_text())
    assert config["pose"]["pose_model"] == "Body_with_feet"
    assert config["kinematics"]["use_augmentation"] is False
    (trc,) = (tmp_path / "trial/pose-3d").glob("*.trc")
    data = TRCData()
    data.load(trc)
    assert sorted(data["Markers"]) == sorted(HALPE_26)
    assert data["Units"] == "m"
    np.testing.assert_allclose(np.array(data["Neck"])[:, 1], walk[7:17, 8, 2] / 1000, atol=2e-6)


def test_write_pose2sim_again_keeps_other_files(walk, pose_file, tmp_path):
    (sequence,) = load_sequences(pose_file(walk))
    (tmp_path / "kinematics").mkdir()
    (tmp_path / "Config.toml").write_text("[project]\nparticipant_mass = 55.0\nframe_rate = 7 # of the videos\n")
    write_pose2sim(tmp_path, sequence.turned("y").scaled("m"))
    text = (tmp_path / "Config.toml").read_text()
    assert tomllib.loads(text)["project"] == {"participant_mass": 55.0, "frame_rate": sequence.rate}
    assert "# of the videos" in text
    assert (tmp_path / "kinematics").is_dir()
