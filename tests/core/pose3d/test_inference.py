"""Predictions of a run -> poses, results and tables."""

from __future__ import annotations

import json
import os
import pickle
import shutil

import h5py
import numpy as np
import pytest
from cvf_tests.predictions import take_for_default, write_perfect_predictions
from cvf_tests.scenes import make_backend

from lib.core.pose3d.frames import load_frames
from lib.core.pose3d.inference import run_estimate
from lib.core.pose3d.make_prior import build_prior
from lib.multiviews.body import H36M_BODY
from lib.multiviews.pictorial.limb_offsets import offsets_to_csr
from lib.multiviews.pictorial.limb_prior import PAIRS_KEY, save_limb_prior
from lib.utils.errors import InputError

SETTINGS = ("NETWORK.IMAGE_SIZE", "256", "NETWORK.HEATMAP_SIZE", "64", "PICT_STRUCT.FIRST_NBINS", "12")


@pytest.fixture
def make_run(tiny_root, tiny_config, tmp_path, monkeypatch):
    """make_run(*opts) makes a data set, its prior and perfect predictions: (configuration, run directory)."""
    take_for_default(monkeypatch, "PICT_STRUCT", "FIRST_NBINS", 12)

    def make(*opts, edit=None, sigma=2.0, edit_records=None, **root_options):
        root = tiny_root(edit=edit_records, **root_options)
        config = tiny_config(root, *SETTINGS, "PICT_STRUCT.PAIRWISE_FILE", str(tmp_path / "pairwise.pkl"), *opts)
        save_limb_prior(build_prior(config)[0], tmp_path / "pairwise.pkl")
        write_perfect_predictions(config, tmp_path / "run", sigma, edit)
        return config, tmp_path / "run"

    return make


def estimate(config, directory, library="numba", method="rpsm", batch_size=2, name=None):
    return run_estimate(config, directory, make_backend(library), method, batch_size, name)


@pytest.mark.parametrize("num_views", [3, 4])
@pytest.mark.parametrize("crop", ["true", "false"])
def test_run_estimate_perfect_predictions_are_accurate(make_run, num_views, crop):
    config, directory = make_run("DATASET.CROP", crop, num_views=num_views, sigma=2.0 if crop == "true" else 1.0)
    results = estimate(config, directory)
    # a heatmap px of the whole image is 3 image px, about 15 mm at the person
    assert results["mpjpe"]["absolute"]["frames"] < 25
    assert results["num_frames"] == 3
    assert set(results["per_action"]) == {"Directions", "Discussion", "Eating"}


def test_run_estimate_files_equal_returned_results(make_run):
    config, directory = make_run()
    results = estimate(config, directory)
    stored = np.load(directory / "poses3d.npz")
    assert stored["pose_world"].shape == stored["gt_world"].shape == (3, 17, 3)
    assert stored["image_ids"].shape == (3, 4)
    assert stored["image_ids"][1, 2] == load_frames(config).image_ids[1, 2]
    assert list(stored["joint_names"][[0, 8]]) == ["root", "neck"]
    error = np.linalg.norm(stored["pose_world"] - stored["gt_world"], axis=-1).mean()
    assert results["mpjpe"]["absolute"]["frames"] == pytest.approx(error)
    entry = json.loads((directory / "results_3d.json").read_text())["rpsm (numpy)"]
    assert entry["mpjpe"]["absolute"]["frames"] == pytest.approx(error)
    assert (entry["root_source"], entry["limb_length_source"]) == ("triangulated", "prior")


def test_run_estimate_sources_are_recorded(make_run):
    def move_roots(heatmaps, locations):
        heatmaps[:, :, 0] = np.roll(heatmaps[:, :, 0], 4, -2)  # 4 px lower in all views

    config, directory = make_run(edit=move_roots)
    config.PICT_STRUCT.ROOT_SOURCE = "ground_truth"
    true_root = estimate(config, directory)
    stored = [np.load(directory / "poses3d_rpsm_true_root.npz")["pose_world"]]
    config.PICT_STRUCT.ROOT_SOURCE = "triangulated"
    shifted = estimate(config, directory)
    stored.append(np.load(directory / "poses3d.npz")["pose_world"])
    assert (true_root["root_source"], shifted["root_source"]) == ("ground_truth", "triangulated")
    assert not np.allclose(*stored)  # another grid center, other bins
    assert max(true_root["mpjpe"]["absolute"]["frames"], shifted["mpjpe"]["absolute"]["frames"]) < 40
    config.PICT_STRUCT.LIMB_LENGTH_SOURCE = "ground_truth"
    assert estimate(config, directory)["limb_length_source"] == "ground_truth"
    kept = json.loads((directory / "results_3d.json").read_text())
    assert set(kept) == {"rpsm, true root (numpy)", "rpsm (numpy)", "rpsm, true limbs (numpy)"}


def test_run_estimate_no_joint_found_uses_box_center(make_run, caplog):
    def no_root(heatmaps, locations):
        heatmaps[1, 1:] = 0
        locations[1, 1:] = 0

    config, directory = make_run(edit=no_root)
    results = estimate(config, directory)
    assert results["num_box_roots"] == 1
    assert "1 frames" in caplog.text
    errors = np.linalg.norm(np.diff(_poses_and_gt(directory), axis=0)[0], axis=-1).mean(1)
    assert np.delete(errors, 1).max() < 30


def _poses_and_gt(directory):
    with np.load(directory / "poses3d.npz") as stored:
        return np.stack([stored["pose_world"], stored["gt_world"]])


@pytest.mark.parametrize("method", ["rpsm", "rpsm+refine"])
def test_run_estimate_library_and_batch_size_do_not_matter(make_run, method):
    def jitter(heatmaps, locations):
        for index in np.ndindex(heatmaps.shape[:3]):
            heatmaps[index] = np.roll(heatmaps[index], rng.integers(-1, 2, 2), (0, 1))

    rng = np.random.default_rng(0)
    config, directory = make_run(frames=5, edit=jitter)
    settings = {"numba": 64, "numpy": 2, "torch": 3, "one": 1}
    for name, batch_size in settings.items():
        estimate(config, directory, "numba" if name == "one" else name, method, batch_size, f"{name}.npz")
    stored = [np.load(directory / f"{name}.npz") for name in settings]
    for other in stored[1:]:
        np.testing.assert_allclose(other["pose_world"], stored[0]["pose_world"], atol=0.1)
        np.testing.assert_array_equal(other["num_views_agree"], stored[0]["num_views_agree"])
    results = json.loads((directory / "results_3d.json").read_text())
    assert set(results) == {f"{method} (numpy)", f"{method} (torch)"}
    has_uncertainty = method == "rpsm+refine"
    assert ("sd_mm" in stored[0]) == ("coverage" in results[f"{method} (numpy)"]) == has_uncertainty
    if has_uncertainty:
        assert stored[0]["covariance"].shape == (5, 17, 3, 3)
        assert stored[0]["degrees_of_freedom"].shape == (5,)
        assert np.median(stored[0]["sd_mm"]) == pytest.approx(results["rpsm+refine (numpy)"]["median_sd_mm"], rel=0.01)


def test_run_estimate_entries_follow_content_of_predictions(make_run, tmp_path, caplog):
    """The content counts, not the time stamp, which a copy changes."""
    config, directory = make_run()
    estimate(config, directory, method="triangulate")
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    os.utime(copy / "predicted_heatmaps.h5", (0, 0))
    estimate(config, copy, method="triangulate_robust")
    both = {"triangulate (numpy)", "triangulate_robust (numpy)"}
    assert set(json.loads((copy / "results_3d.json").read_text())) == both
    assert "dropped" not in caplog.text

    def edit(heatmaps, locations):
        locations[0, 0, 0, 0] += 1

    config.TEST.HEATMAP_LOCATION_FILE = "other.h5"
    write_perfect_predictions(config, copy, 2.0, edit)
    estimate(config, copy, method="triangulate")
    names = {*both, "triangulate, from other.h5 (numpy)"}
    assert set(json.loads((copy / "results_3d.json").read_text())) == names
    assert (copy / "poses3d_triangulate_from_other.h5.npz").is_file()
    assert "dropped" not in caplog.text
    (copy / "other.h5").replace(copy / "predicted_heatmaps.h5")
    config.TEST.HEATMAP_LOCATION_FILE = "predicted_heatmaps.h5"
    estimate(config, copy, method="triangulate")
    names -= {"triangulate_robust (numpy)"}
    assert set(json.loads((copy / "results_3d.json").read_text())) == names
    assert "contents of predicted_heatmaps.h5: triangulate_robust (numpy)" in caplog.text


def test_run_estimate_check_of_outdated_poses_warns(make_run, caplog):
    config, directory = make_run()
    estimate(config, directory, method="triangulate")

    def check():
        run_estimate(config, directory, make_backend("numpy"), "triangulate", 2, "new.npz", "poses3d_triangulate.npz")

    check()
    assert "made from other predictions" not in caplog.text
    write_perfect_predictions(config, directory, 2.0, lambda heatmaps, locations: locations.__iadd__(1))
    check()
    assert "than the current ones: poses3d_triangulate.npz; run run/pose3d/estimate.py again" in caplog.text


def test_run_estimate_damaged_results_file_is_replaced(make_run, caplog):
    config, directory = make_run()
    (directory / "results_3d.json").write_text("{")
    estimate(config, directory, method="triangulate")
    assert set(json.loads((directory / "results_3d.json").read_text())) == {"triangulate (numpy)"}
    assert "replaced by a new file" in caplog.text


def test_run_estimate_original_code_files_work(make_run, tmp_path, caplog):
    """The original code writes a prior without lengths, and predictions without image names."""
    config, directory = make_run()
    prior = build_prior(config)[0]
    pairs = {edge: offsets_to_csr(offsets, 12) for edge, offsets in zip(prior.body.edges, prior.offsets, strict=True)}
    (tmp_path / "pairwise.pkl").write_bytes(pickle.dumps({PAIRS_KEY: pairs}, protocol=2))
    with h5py.File(directory / "predicted_heatmaps.h5", "a") as file:
        del file["image_ids"], file["joint_names_order"]
        file["joint_names_order"] = np.arange(17)
    results = estimate(config, directory)
    assert results["mpjpe"]["absolute"]["frames"] < 25
    assert "no limb lengths" in caplog.text


def test_run_estimate_unusable_input_is_refused(make_run):
    config, directory = make_run()
    with pytest.raises(InputError, match="--batch-size"):
        estimate(config, directory, batch_size=0)
    with pytest.raises(InputError, match="--poses"):
        estimate(config, directory, name="poses")
    with pytest.raises(InputError, match=r"method 'triangulation'.*'triangulate'"):
        estimate(config, directory, method="triangulation")
    with pytest.raises(InputError, match=r"valid\.py"):
        estimate(config, directory / "elsewhere")
    config.NETWORK.HEATMAP_SIZE = [32, 32]
    with pytest.raises(InputError, match="HEATMAP_SIZE"):
        estimate(config, directory)
    config.NETWORK.HEATMAP_SIZE = [64, 64]
    config.DATASET.TEST_STEP = 2
    with pytest.raises(InputError, match="another data set"):
        estimate(config, directory)
    config.DATASET.TEST_DATASET = "mpii"
    with pytest.raises(InputError, match="TEST_DATASET"):
        estimate(config, directory)


@pytest.mark.parametrize(
    ("method", "array"),
    [
        ("rpsm", "heatmaps"),
        ("triangulate_robust", "heatmaps"),
        ("triangulate", "heatmaps"),
        ("triangulate", "locations"),
    ],
)
def test_run_estimate_not_finite_predictions_are_refused(make_run, method, array):
    def spoil(heatmaps, locations):
        {"heatmaps": heatmaps[1, 2, 3, 4], "locations": locations[1, 2, 3]}[array][1] = np.nan

    config, directory = make_run(edit=spoil)
    with pytest.raises(InputError, match=rf"predicted_heatmaps\.h5: .*{array}: frame 1 of the batch"):
        estimate(config, directory, method=method)
    assert not (directory / "results_3d.json").exists()


# --- methods ------------------------------------------------------------------------------------------------------


def test_run_estimate_methods_have_own_entries_and_files(make_run):
    config, directory = make_run()
    floor = {"rpsm": 25, "psm": 120, "triangulate": 1e-3, "triangulate_robust": 1e-3}  # perfect peaks: exact
    for method, most in floor.items():
        results = estimate(config, directory, method=method)
        assert results["mpjpe"]["absolute"]["frames"] < most, method
        assert results["poses"] == ("poses3d.npz" if method == "rpsm" else f"poses3d_{method}.npz")
        stored = np.load(directory / results["poses"])
        error = np.linalg.norm(stored["pose_world"] - stored["gt_world"], axis=-1).mean()
        assert results["mpjpe"]["absolute"]["frames"] == pytest.approx(error)
    stored = json.loads((directory / "results_3d.json").read_text())
    assert set(stored) == {f"{method} (numpy)" for method in floor}
    assert stored["psm (numpy)"]["settings"]["RECUR_DEPTH"] == 0
    assert stored["triangulate (numpy)"]["root_source"] is stored["triangulate (numpy)"]["limb_length_source"] is None
    for method in ("psm", "triangulate", "triangulate_robust"):
        estimate(config, directory, "torch", method, name="torch.npz")
        poses = [np.load(directory / name)["pose_world"] for name in (f"poses3d_{method}.npz", "torch.npz")]
        np.testing.assert_allclose(*poses, atol=0.1)


def test_run_estimate_recursion_depths_have_own_entries(make_run):
    """As in the paper's Table 4, the error falls with the depth."""
    config, directory = make_run()
    error = []
    for depth in (0, 1, 3, 5, 10):
        config.PICT_STRUCT.RECUR_DEPTH = depth
        error.append(estimate(config, directory)["mpjpe"]["absolute"]["frames"])
    assert error[0] > error[2] > error[3] > 0.8 * error[4]
    psm = estimate(config, directory, method="psm")  # RECUR_DEPTH has no effect
    assert psm["mpjpe"]["absolute"]["frames"] == error[0]
    names = {"rpsm (numpy)", "psm (numpy)", *(f"rpsm, depth {depth} (numpy)" for depth in (0, 1, 3, 5))}
    assert set(json.loads((directory / "results_3d.json").read_text())) == names


def test_run_estimate_triangulation_needs_no_prior(make_run):
    config, directory = make_run()
    config.PICT_STRUCT.PAIRWISE_FILE = ""
    for method in ("triangulate", "triangulate_robust"):
        assert estimate(config, directory, method=method)["mpjpe"]["absolute"]["frames"] < 1e-3
    with pytest.raises(InputError, match="PAIRWISE_FILE"):
        estimate(config, directory, method="psm")


# --- missing and wrong detections ---------------------------------------------------------------------------------

WRIST = 13
NOSE = 9


def test_run_estimate_confidence_is_share_of_supporting_views(make_run):
    def spoil(heatmaps, locations):
        heatmaps[0, 0, WRIST] = np.roll(heatmaps[0, 0, WRIST], 30, -1)  # wrong in one view
        heatmaps[0, 1:3, NOSE] = 0  # not seen in two views
        heatmaps[1, :, NOSE] = 0  # not seen in any view

    config, directory = make_run(edit=spoil)
    expected = np.full((3, 17), 1.0)
    expected[0, WRIST], expected[0, NOSE], expected[1, NOSE] = 0.75, 0.5, 0
    for method in ("rpsm", "triangulate_robust"):
        results = estimate(config, directory, method=method)
        stored = np.load(directory / results["poses"])
        np.testing.assert_array_equal(stored["confidence"], expected)
        np.testing.assert_array_equal(stored["num_views_agree"], 4 * expected)
        assert results["mean_confidence"] == pytest.approx(expected.mean())


def test_run_estimate_triangulate_robust_ignores_wrong_view(make_run):
    def spoil(heatmaps, locations):
        heatmaps[:, 1, WRIST] = 1.5 * np.roll(heatmaps[:, 1, WRIST], 25, -2)
        locations[:, 1, WRIST, :2] += [0, 25 * 120 / 64]

    config, directory = make_run(edit=spoil)
    robust = estimate(config, directory, method="triangulate_robust")
    plain = estimate(config, directory, method="triangulate")
    assert robust["per_joint"]["lwri"]["absolute"] < 1e-3
    assert plain["per_joint"]["lwri"]["absolute"] > 50
    assert robust["num_filled_joints"] == plain["num_filled_joints"] == 0


def test_run_estimate_joints_without_two_views_copy_neighbor(make_run, caplog):
    def lose(heatmaps, locations):
        for joint in (WRIST, 12):  # wrist and elbow
            heatmaps[2, 1:, joint] = 0
            locations[2, 1:, joint, 2] = 0
        heatmaps[1], locations[1, ..., 2] = 0, 0  # nothing in the whole frame

    config, directory = make_run(edit=lose)
    for method in ("triangulate", "triangulate_robust"):
        results = estimate(config, directory, method=method)
        stored = np.load(directory / results["poses"])
        pose = stored["pose_world"]
        assert np.isfinite(pose).all()
        np.testing.assert_array_equal(pose[2, [12, WRIST]], pose[2, [11, 11]])  # position of the shoulder
        np.testing.assert_allclose(pose[2, :12], stored["gt_world"][2, :12], atol=1e-2)
        assert np.linalg.norm(pose[1] - stored["gt_world"][1], axis=-1).max() < 1200  # the box centers
        assert not stored["num_views_agree"][2, [12, WRIST]].any()
        assert not stored["num_views_agree"][1].any()
        assert (results["num_filled_joints"], results["num_box_roots"]) == (19, 1)
    assert "19 of 51 joints" in caplog.text


def test_run_estimate_unseen_joint_is_placed_by_limb_length(make_run):
    def lose(heatmaps, locations):
        heatmaps[:, :, WRIST] = 0

    config, directory = make_run(edit=lose)
    estimate(config, directory, name="lost.npz")
    write_perfect_predictions(config, directory, 2.0)
    estimate(config, directory)
    lost, full = (np.load(directory / name)["pose_world"] for name in ("lost.npz", "poses3d.npz"))
    others = np.arange(17) != WRIST
    np.testing.assert_allclose(lost[:, others], full[:, others], atol=20)  # the wrist no longer affects its arm
    forearm = np.linalg.norm(lost[:, WRIST] - lost[:, 12], axis=-1)
    mean_length = build_prior(config)[0].mean_lengths[H36M_BODY.limb_names.index("lelb-lwri")]
    assert (abs(forearm - mean_length) < config.PICT_STRUCT.LIMB_LENGTH_TOLERANCE).all()


def turn_away(record):
    """Turn the camera around, so that the person is behind it."""
    record["camera"]["R"] = record["camera"]["R"] * np.array([[-1.0], [1.0], [-1.0]])


def look_past(record):
    """Move the box away from the person."""
    record["center"] = record["center"] + [400.0, 0.0]


@pytest.mark.parametrize("change", [turn_away, look_past])
@pytest.mark.parametrize("method", ["rpsm", "psm", "triangulate_robust"])
def test_run_estimate_view_without_person_has_no_effect(make_run, change, method):
    """Add a fifth view full of peaks, from a camera turned away or with a box next to the person."""

    def with_blind_view(records):
        blind = [record | {"camera": dict(record["camera"])} for record in records if record["camera_id"] == 0]
        for record in blind:
            record["camera_id"], record["image"] = 4, record["image"].replace("ca_01", "ca_05")
            change(record)
        return records + blind

    def full_of_peaks(heatmaps, locations):
        heatmaps[:, 4], locations[:, 4, :, 2] = np.random.default_rng(0).random(heatmaps[:, 4].shape), 0
        heatmaps[:, 4, :, 10, 10] = 2

    config, directory = make_run()
    four = np.load(directory / estimate(config, directory, method=method)["poses"])
    config, directory = make_run(edit=full_of_peaks, edit_records=with_blind_view)
    five = np.load(directory / estimate(config, directory, method=method)["poses"])
    assert five["image_ids"].shape == (3, 5)
    np.testing.assert_allclose(five["pose_world"], four["pose_world"], atol=1e-3)
    np.testing.assert_array_equal(five["num_views_agree"], four["num_views_agree"])
