"""Names and files of 3D results."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from lib.core.config_io import load_config
from lib.core.pose3d.frames import Poses, load_frames
from lib.core.pose3d.metrics_3d import summarize
from lib.core.pose3d.results_3d import (
    default_poses_name,
    load_poses,
    poses_source,
    read_poses,
    results_name,
    save_poses,
    save_results,
    sources_and_settings,
    write_poses,
)
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17

TRUE = ("PICT_STRUCT.ROOT_SOURCE", "ground_truth", "PICT_STRUCT.LIMB_LENGTH_SOURCE", "ground_truth")
OTHERS = (
    "PICT_STRUCT.FIRST_NBINS",
    "12",
    "PICT_STRUCT.REFINE_LENGTH_STD",
    "0.1",
    "PICT_STRUCT.REFINE_PERSON",
    "false",
    "TRIANGULATE.NUM_PEAKS",
    "1",
    "TRIANGULATE.WEIGHTS",
    "equal",
    "PICT_STRUCT.PAIRWISE_FILE",
    "a/b.pkl",
)


@pytest.fixture
def make_config(tmp_path):
    (tmp_path / "a.yaml").write_text("")
    return lambda *opts: load_config(tmp_path / "a.yaml", opts)


@pytest.mark.parametrize(
    ("method", "opts", "name", "poses"),
    [
        ("rpsm", (), "rpsm", "poses3d"),
        (
            "rpsm",
            ("PICT_STRUCT.RECUR_DEPTH", "3", "TRIANGULATE.WEIGHTS", "equal"),
            "rpsm, depth 3",
            "poses3d_rpsm_depth_3",
        ),
        ("rpsm+refine", TRUE, "rpsm+refine, true root, true limbs", "poses3d_rpsm+refine_true_root_true_limbs"),
        ("psm", TRUE, "psm, true root", "poses3d_psm_true_root"),
        ("triangulate", ("PICT_STRUCT.RECUR_DEPTH", "3", *TRUE), "triangulate", "poses3d_triangulate"),
        (
            "triangulate",
            ("TRIANGULATE.WEIGHTS", "equal"),
            "triangulate, equal weights",
            "poses3d_triangulate_equal_weights",
        ),
        ("triangulate_robust", ("TRIANGULATE.WEIGHTS", "equal"), "triangulate_robust", "poses3d_triangulate_robust"),
        ("rpsm", OTHERS, "rpsm, FIRST_NBINS 12, NUM_PEAKS 1", "poses3d_rpsm_FIRST_NBINS_12_NUM_PEAKS_1"),
        (
            "rpsm+refine",
            OTHERS,
            "rpsm+refine, FIRST_NBINS 12, REFINE_PERSON False, REFINE_LENGTH_STD 0.1, NUM_PEAKS 1",
            "poses3d_rpsm+refine_FIRST_NBINS_12_REFINE_PERSON_False_REFINE_LENGTH_STD_0.1_NUM_PEAKS_1",
        ),
        (
            "psm",
            ("PICT_STRUCT.GRID_SIZE", "2500", "PICT_STRUCT.LIMB_LENGTH_TOLERANCE", "100"),
            "psm, GRID_SIZE 2500, LIMB_LENGTH_TOLERANCE 100",
            "poses3d_psm_GRID_SIZE_2500_LIMB_LENGTH_TOLERANCE_100",
        ),
        ("rpsm", ("PICT_STRUCT.RECUR_NBINS", "3"), "rpsm, RECUR_NBINS 3", "poses3d_rpsm_RECUR_NBINS_3"),
        (
            "triangulate_robust",
            (*OTHERS, "TRIANGULATE.TOLERANCE", "0.06", "TRIANGULATE.PEAK_MODE", "argmax"),
            "triangulate_robust, NUM_PEAKS 1, PEAK_MODE argmax, TOLERANCE 0.06",
            "poses3d_triangulate_robust_NUM_PEAKS_1_PEAK_MODE_argmax_TOLERANCE_0.06",
        ),
        (
            "rpsm",
            ("TEST.HEATMAP_LOCATION_FILE", "other maps.h5"),
            "rpsm, from other maps.h5",
            "poses3d_rpsm_from_other_maps.h5",
        ),
    ],
)
def test_names_mention_settings_that_are_not_default(method, opts, name, poses, make_config):
    config = make_config(*opts)
    assert results_name(config, method, "numpy") == f"{name} (numpy)"
    assert default_poses_name(config, method, "numpy") == f"{poses}.npz"
    assert results_name(config, method, "torch") == f"{name} (torch)"
    assert default_poses_name(config, method, "torch") == f"{poses}_torch.npz"


def test_sources_and_settings_hold_keys_of_method(make_config):
    stored = sources_and_settings(make_config(*OTHERS), "rpsm+refine")
    assert (stored["root_source"], stored["limb_length_source"]) == ("triangulated", "prior")
    assert stored["settings"]["TRIANGULATE"] == {"NUM_PEAKS": 1, "PEAK_MODE": "log_quadratic", "TOLERANCE": 0.04}
    assert (stored["settings"]["REFINE_PERSON"], stored["settings"]["PAIRWISE_FILE"]) == (False, "a/b.pkl")
    assert "REFINE_LEARNED" not in stored["settings"]
    stored = sources_and_settings(make_config("PICT_STRUCT.REFINE_LEARNED", "a.npz"), "rpsm+learned")
    assert stored["settings"]["REFINE_LEARNED"] == "a.npz"
    stored = sources_and_settings(make_config(*TRUE), "psm")
    assert (stored["root_source"], stored["limb_length_source"]) == ("ground_truth", "prior")
    assert stored["settings"]["RECUR_DEPTH"] == 0
    stored = sources_and_settings(make_config(*OTHERS), "triangulate")
    assert stored == {
        "root_source": None,
        "limb_length_source": None,
        "settings": {"TRIANGULATE": {"WEIGHTS": "equal"}},
    }


# --- poses3d*.npz -------------------------------------------------------------------------------------------------

NAMES = H36M_17.names


@pytest.fixture
def frames(tiny_root, tiny_config):
    """Three frames of four views."""
    return load_frames(tiny_config(tiny_root(mpii=0)))


@pytest.fixture
def poses_path(frames, tmp_path):
    path = tmp_path / "poses3d.npz"
    poses = Poses(frames.gt_world + 1, num_views_agree=np.full((3, 17), [[4], [0], [2]]))
    save_poses(path, frames, poses, {"file": "a.h5", "fingerprint": "1"})
    return path


def test_save_poses_round_trip(frames, poses_path):
    poses = load_poses(poses_path, frames.image_ids, NAMES)
    np.testing.assert_array_equal(poses["confidence"][:, 5], [1, 0, 0.5])
    np.testing.assert_array_equal(poses["pose_world"], poses["gt_world"] + 1)
    assert poses_source(poses) == {"file": "a.h5", "fingerprint": "1"}
    np.savez(poses_path, **{name: values for name, values in poses.items() if name != "predictions_file"})
    assert poses_source(load_poses(poses_path, frames.image_ids, NAMES)) is None


def test_read_poses_reads_files_without_ground_truth(poses_path):
    write_poses(poses_path, NAMES, np.ones((2, 17, 3)), np.full((2, 17), 3), 4, known=np.ones((2, 17), bool))
    poses = read_poses(str(poses_path))
    assert set(poses) == {"pose_world", "num_views_agree", "confidence", "joint_names", "known"}
    assert (poses["confidence"] == 0.75).all()
    np.savez(poses_path, other=np.ones(3))
    with pytest.raises(InputError, match="not a file of 3D poses: it has no 'joint_names'"):
        read_poses(poses_path)


def test_load_poses_other_images_or_joints_are_refused(frames, poses_path):
    with pytest.raises(InputError, match=r"none\.npz: no such file; .*estimate\.py writes it; there are poses3d\.npz"):
        load_poses(poses_path.with_name("none.npz"), frames.image_ids, NAMES)
    with pytest.raises(InputError, match="made for other images"):
        load_poses(poses_path, frames.image_ids[:2], NAMES)
    with pytest.raises(InputError, match="joints are"):
        load_poses(poses_path, frames.image_ids, NAMES[::-1])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"gt_world": None}, "no 'gt_world'"),
        ({"image_ids": None}, "no 'image_ids'"),
        ({"pose_world": np.ones((3, 16, 3))}, r"pose_world: expected shape \(3, 17"),
        ({"pose_world": np.array(["a", "b"])}, "pose_world: expected shape"),
        ({"gt_world": np.full((3, 17, 3), "a")}, "gt_world: expected distances in mm"),
        ({"image_ids": np.array("a")}, "made for other images"),
    ],
)
def test_load_poses_unusable_arrays_are_refused(frames, poses_path, changed, message):
    arrays = {**np.load(poses_path), **changed}
    np.savez(poses_path, **{name: values for name, values in arrays.items() if values is not None})
    with pytest.raises(InputError, match=message):
        load_poses(poses_path, frames.image_ids, NAMES)


def test_load_poses_truncated_file_is_refused(frames, poses_path):
    poses_path.write_bytes(poses_path.read_bytes()[:500])
    with pytest.raises(InputError, match="truncated"):
        load_poses(poses_path, frames.image_ids, NAMES)


# --- results_3d.json ----------------------------------------------------------------------------------------------

FIRST = {"file": "a.h5", "fingerprint": "1"}


@pytest.fixture
def results():
    gt = np.zeros((2, 2, 3))
    return summarize(gt + 1.0, gt, np.array([2, 3]), ["root", "knee"])


@pytest.fixture
def stored(tmp_path):
    return lambda: json.loads((tmp_path / "results_3d.json").read_text())


def test_save_results_new_predictions_invalidate_entries(tmp_path, results, stored, caplog):
    """Entries of another file stay. Entries of earlier contents of the file are removed and named."""
    for name in ("rpsm", "psm", "triangulate"):
        save_results(tmp_path, FIRST, name, results)
    save_results(tmp_path, {"file": "b.h5", "fingerprint": "2"}, "rpsm, from b.h5", results)
    assert list(stored()) == ["rpsm", "psm", "triangulate", "rpsm, from b.h5"]
    assert not caplog.messages
    save_results(tmp_path, FIRST | {"fingerprint": "3"}, "rpsm", results)
    assert list(stored()) == ["rpsm, from b.h5", "rpsm"]
    assert stored()["rpsm"]["predictions"] == {"file": "a.h5", "fingerprint": "3"}
    (message,) = caplog.messages
    assert "results_3d.json" in message
    assert message.endswith("earlier contents of a.h5: psm; triangulate")


def test_save_results_entries_without_fingerprint_are_removed(tmp_path, results, stored, caplog):
    old = {
        "psm (numpy)": results | {"predictions": {"file": "a.h5", "written": "2001-01-01 00:00:00"}},
        "mine": results,
        "rpsm (numpy)": results | {"predictions": {"file": "b.h5", "written": ""}},
    }
    (tmp_path / "results_3d.json").write_text(json.dumps(old))
    save_results(tmp_path, FIRST, "rpsm (numpy)", results)
    assert list(stored()) == ["rpsm (numpy)"]
    assert caplog.messages[0].endswith("earlier contents of a.h5: psm (numpy); mine; rpsm (numpy)")


def test_save_results_foreign_entry_is_left_out_of_csv(tmp_path, results, stored, caplog):
    bad = {
        "no action": {name: value for name, value in results.items() if name != "per_action"},
        "no means": results | {"mpjpe": {"absolute": {"frames": "3"}}},
    }
    without_pa = results | {"per_joint": {"root": {"absolute": 1.0}, "knee": {"absolute": 2.0}}}
    entries = {name: entry | {"predictions": FIRST} for name, entry in (*bad.items(), ("without pa", without_pa))}
    (tmp_path / "results_3d.json").write_text(json.dumps(entries))
    save_results(tmp_path, FIRST, "rpsm", results)
    assert list(stored()) == [*entries, "rpsm"]
    assert caplog.messages[0].endswith("left out of results_3d.csv: no action; no means")
    with (tmp_path / "results_3d.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(dict.fromkeys(row["method"] for row in rows)) == ["without pa", "rpsm"]
    knee = [row for row in rows if (row["method"], row["name"]) == ("without pa", "knee")]
    assert [(row["alignment"], row["statistic"], row["value"]) for row in knee] == [("absolute", "mean", "2.0")]
