"""Poses of a run. The tiny data set has subject 9 with actions 3, 4, 2, 3, 4 in frames 0 to 4."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cvf_tests.predictions import write_perfect_predictions, write_poses

from lib.core.report.run_poses import load_run_poses
from lib.utils.errors import InputError


@pytest.fixture
def make_run(tiny_root, tiny_config, tmp_path):
    """make_run(pose_world=None) writes predictions and poses of 5 frames: (configuration, RunPoses)."""
    config = tiny_config(tiny_root(frames=5, mpii=0))
    write_perfect_predictions(config, tmp_path / "run")

    def make(pose_world=None):
        write_poses(config, tmp_path / "run", pose_world)
        return config, load_run_poses(config, tmp_path / "run", "poses3d.npz")

    return make


def test_run_poses_describe_frames(make_run, h36m_pickle, tmp_path):
    _, run = make_run()
    assert len(run) == 5
    assert run.frames.actions.tolist() == [3, 4, 2, 3, 4]
    np.testing.assert_allclose(run.frame_errors(), 30.0)
    assert run.title(3) == "frame 3: S9 Discussion 1, image 4, error 30 mm"
    records = h36m_pickle(tmp_path / "root_0", "validation")
    assert run.frames.image_ids.ravel().tolist() == [record["image"] for record in records]
    np.testing.assert_allclose(run.frames.cameras[2].T[3], records[11]["camera"]["T"].ravel())


def test_typical_and_worst_and_evenly_spaced_frames(make_run):
    _, run = make_run()
    errors = np.array([50.0, 10, 30, 20, 40])
    changed = replace(run, pose_world=run.gt_world.copy())
    changed.pose_world[..., 2] += errors[:, None]
    assert changed.typical_and_worst() == [2, 0]
    changed.pose_world[3] = np.nan  # a frame without a pose is the worst
    assert changed.typical_and_worst()[1] == 3
    assert np.isnan(changed.frame_errors()[3])
    assert run.evenly_spaced(3) == [0, 2, 4]
    assert run.evenly_spaced(9) == [0, 1, 2, 3, 4]


def test_recording_by_name_or_id(make_run):
    _, run = make_run()
    assert run.recording("9", "Discussion") == [0, 3]
    assert run.recording("S9", "4", "1") == [1, 4]
    assert run.recording("s9", "directions") == [2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("11", "Walking"), "no test frame of subject 11; there are 9"),
        (("9", "Walking"), r"no test frame of action 14 \(Walking\); there are 2, 3, 4"),
        (("9", "4", "2"), "no test frame of subaction 2; there are 1"),
        (("9", "Discusion"), "unknown action 'Discusion' in --sequence; did you mean 'Discussion'"),
        (("nine", "4"), "expected the number of a subject, received 'NINE'"),
        (("²", "4"), "expected the number of a subject, received '²'"),
        (("9", "²"), "unknown action '²' in --sequence"),
    ],
)
def test_recording_unknown_is_refused(make_run, words, message):
    _, run = make_run()
    with pytest.raises(InputError, match=message):
        run.recording(*words)


def test_recording_total_capture(tiny_totalcapture, tiny_config, tmp_path):
    opts = [word for phase in ("TRAIN", "TEST") for word in (f"DATASET.{phase}_DATASET", "multiview_totalcapture")]
    config = tiny_config(tiny_totalcapture(frames=2), *opts, "DATASET.CAMERAS", "[6, 0]")
    frames = write_perfect_predictions(config, tmp_path / "run")
    joint_names = np.array(frames.joint_set.names)
    np.savez(
        tmp_path / "run/poses3d.npz",
        pose_world=frames.gt_world,
        gt_world=frames.gt_world,
        image_ids=frames.image_ids,
        joint_names=joint_names,
    )
    run = load_run_poses(config, tmp_path / "run", "poses3d.npz")
    # 2 frames each of Walking 2, Freestyle 3, Acting 3 of S1, then of S2, ...
    assert run.recording("4", "acting", "3") == run.recording("S4", "3", "3") == [22, 23]
    assert run.title(20) == "frame 20: S4 Freestyle 3, image 1, error 0 mm"
    assert set(run.frames.actions) == {"Acting 3", "Freestyle 3", "Walking 2"}
    assert np.flatnonzero(run.frames.parts["FS3"]["unseen subjects"]).tolist() == [20, 21, 26, 27]
    with pytest.raises(InputError, match="unknown action 'Freestile' in --sequence; did you mean 'Freestyle'"):
        run.recording("4", "Freestile")
    np.savez(
        tmp_path / "run/poses3d.npz",
        pose_world=run.pose_world,
        gt_world=run.gt_world,
        image_ids=frames.image_ids,
        joint_names=np.insert(joint_names, 10, "head"),
    )
    with pytest.raises(InputError, match="joints are"):
        load_run_poses(config, tmp_path / "run", "poses3d.npz")


def test_check_frames_missing_frame_is_refused(make_run):
    _, run = make_run()
    with pytest.raises(InputError, match="--frames: 5 does not exist; the data set has frames 0 to 4"):
        run.check_frames([0, 5], "--frames")


def test_load_run_poses_other_frames_are_refused(make_run, tmp_path):
    config, _ = make_run()
    config.DATASET.TEST_STEP = 2
    with pytest.raises(InputError, match="made for other images"):
        load_run_poses(config, tmp_path / "run", "poses3d.npz")


def test_load_run_poses_image_names_with_accents(tiny_root, tiny_config, tmp_path):
    def rename(records):
        for record in records:
            record["image"] = record["image"].replace("s_", "sé_")

    config = tiny_config(tiny_root(mpii=0, edit=rename))
    write_perfect_predictions(config, tmp_path / "run")
    write_poses(config, tmp_path / "run")
    run = load_run_poses(config, tmp_path / "run", "poses3d.npz")
    assert len(run) == 3
    assert "sé_09" in run.frames.image_ids.ravel().tolist()[0]
