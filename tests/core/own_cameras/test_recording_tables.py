from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.own_recording import load_synchronized, poses_of

from lib.core.own_cameras.recording_poses import check_cameras
from lib.core.own_cameras.recording_tables import error_summary, pose_statistics, ranges, warnings_of
from lib.dataset.own_cameras.detections import Detections, load_detections
from lib.multiviews.body import H36M_BODY
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17

LIMBS = {name: {"mean": 400.0} for name in H36M_BODY.limb_names}


def test_warnings_of_short_legs_and_few_kept_joints(files):
    recording = load_synchronized(files.cameras, None, files.detections)
    statistics = pose_statistics(poses_of(recording), recording)
    check, names = check_cameras(recording), recording.rig.names
    assert warnings_of(statistics, check, names) == []
    short = {name: {"mean": 150.0} for name in LIMBS}
    (text,) = warnings_of({**statistics, "limbs": short}, check, names)
    assert "legs are 300 mm long: a child, or the scale of the calibration is wrong" in text
    (text,) = warnings_of({**statistics, "kept_share": 0.2, "limbs": LIMBS}, check, names)
    assert "20 % of the joints" in text


def test_pose_statistics_without_hips(files, tmp_path):
    found = load_detections(files.detections, files.rig.names)
    hidden = found.points.copy()
    hidden[..., H36M_17.indices(["root", "belly", "rhip", "lhip"]), :] = np.nan
    Detections(found.view_names, hidden).save(tmp_path / "no_hips.npz")
    recording = load_synchronized(files.cameras, None, tmp_path / "no_hips.npz")
    poses = poses_of(recording)
    assert np.linalg.norm(poses.positions - files.pose_world[:, 0], axis=-1).max() < 400  # crops cover 2 m
    statistics = pose_statistics(poses, recording)
    assert np.isnan(statistics["limbs"]["rhip-rkne"]["mean"])
    assert warnings_of(statistics, check_cameras(recording), recording.rig.names) == []


@pytest.mark.parametrize(
    ("factor", "unit", "message"),
    [
        (1000, "m", "--unit m: the largest distance between cameras would be .* m; --unit mm fits"),
        (1, "mm", "--unit mm: the largest distance between cameras would be 0.0.* m; --unit m fits"),
        (100, "m", "--unit m: the person's legs would be .* m long; --unit cm fits"),
        (100, "mm", "--unit mm: the person's legs would be .* m long; --unit cm fits"),
    ],
)
def test_require_consensus_fitting_unit_is_named(files, tmp_path, factor, unit, message):
    tables = [line.split(" = ") for line in files.cameras.read_text().splitlines()]
    lines = [
        f"translation = {[factor * float(value) for value in words[1].strip('[]').split(',')]}"
        if words[0] == "translation"
        else " = ".join(words)
        for words in tables
    ]
    (tmp_path / "Calib.toml").write_text("\n".join(lines))
    legless = load_detections(files.detections, files.rig.names).points.copy()
    legless[..., H36M_17.indices(["rkne", "lkne", "rank", "lank"]), :] = np.nan
    Detections(files.rig.names, legless).save(tmp_path / "legless.npz")
    for detections in (files.detections, tmp_path / "legless.npz"):
        with pytest.raises(InputError, match=message):
            poses_of(load_synchronized(tmp_path / "Calib.toml", None, detections, unit=unit))


@pytest.mark.filterwarnings("error")
def test_error_summary_ignores_unknown_errors():
    known = error_summary(np.array([[1.0, 3, np.nan], [2, np.inf, 2]]))
    assert known == pytest.approx({"median": 2.0, "mean": 2.0, "p95": 2.85})
    assert np.isnan(list(error_summary(np.full((2, 3), np.nan)).values())).all()


def test_ranges_join_consecutive_numbers():
    assert ranges([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"
    assert ranges([]) == ""
