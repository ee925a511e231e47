"""From the files of a run to poses, results and tables."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from lib.core.estimate3d import load_frames, run_estimate
from lib.core.make_prior import build_prior
from lib.multiviews.limb_offsets import offsets_to_csr
from lib.multiviews.limb_prior import PAIRS_KEY, save_limb_prior
from lib.utils.checks import InputError
from tests.core.predictions import write_perfect_predictions
from tests.multiviews.scenes import make_kernel

SETTINGS = ("NETWORK.IMAGE_SIZE", "256", "NETWORK.HEATMAP_SIZE", "64", "PICT_STRUCT.FIRST_NBINS", "12")


@pytest.fixture
def make_run(tiny_root, tiny_config, tmp_path):
    """Make a data set, its prior and perfect predictions; return (configuration, run directory)."""

    def make(*opts, edit=None, sigma=2.0, **root_options):
        config = tiny_config(
            tiny_root(**root_options), *SETTINGS, "PICT_STRUCT.PAIRWISE_FILE", str(tmp_path / "pairwise.pkl"), *opts
        )
        save_limb_prior(build_prior(config)[0], tmp_path / "pairwise.pkl")
        write_perfect_predictions(config, tmp_path / "run", sigma, edit)
        return config, tmp_path / "run"

    return make


def estimate(config, directory, library="numpy", method="rpsm (numpy)", batch_size=2, name="poses3d.npz"):
    return run_estimate(config, directory, make_kernel(library), method, batch_size, name)


@pytest.mark.parametrize("num_views", [3, 4])
@pytest.mark.parametrize("crop", ["true", "false"])
def test_perfect_predictions_give_the_poses(make_run, num_views, crop):
    config, directory = make_run("DATASET.CROP", crop, num_views=num_views, sigma=2.0 if crop == "true" else 1.0)
    results = estimate(config, directory)
    # a heatmap px of the whole image (64 px for 200) is 3 px, about 15 mm of the person at 5 m
    assert results["mpjpe"]["absolute"]["frames"] < 25
    assert results["num_frames"] == 3
    assert set(results["per_action"]) == {"Directions", "Discussion", "Eating"}


def test_files_hold_what_was_returned(make_run):
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


def test_ground_truth_comes_from_the_annotation(make_run, h36m_pickle):
    config, _ = make_run()
    records = h36m_pickle(Path(config.DATASET.ROOT), "validation")
    frames = load_frames(config)
    record = next(r for r in records if r["image"] == frames.image_ids[2, 3])
    camera = record["camera"]
    world = record["joints_3d_camera"] @ camera["R"] + camera["T"].ravel()
    np.testing.assert_allclose(frames.truth_world[2], world, atol=1e-2)
    assert frames.actions[2] == record["action"]


def test_sources_of_root_and_limb_lengths(make_run):
    def lose_roots(heatmaps, locations):
        locations[:, :, 0, :2] += [40.0, 0.0]

    config, directory = make_run(edit=lose_roots)
    config.PICT_STRUCT.ROOT_SOURCE = "ground_truth"
    true_root = estimate(config, directory)
    config.PICT_STRUCT.ROOT_SOURCE = "triangulated"
    shifted = estimate(config, directory)
    assert true_root["root_source"] == "ground_truth"
    assert true_root["mpjpe"]["absolute"]["frames"] < 25
    assert shifted["mpjpe"]["absolute"]["frames"] != true_root["mpjpe"]["absolute"]["frames"]
    config.PICT_STRUCT.LIMB_LENGTH_SOURCE = "ground_truth"
    assert estimate(config, directory)["limb_length_source"] == "ground_truth"


def test_root_without_peaks_is_taken_from_the_boxes_and_counted(make_run, caplog):
    def no_root(heatmaps, locations):
        heatmaps[1, 1:, 0] = 0
        locations[1, 1:, 0] = 0

    config, directory = make_run(edit=no_root)
    results = estimate(config, directory)
    assert results["num_box_roots"] == 1
    assert "1 frames" in caplog.text
    assert results["mpjpe"]["absolute"]["frames"] < 30


def test_numpy_equals_torch_and_batches_do_not_matter(make_run):
    config, directory = make_run(frames=5)
    estimate(config, directory, "numpy", batch_size=64)
    estimate(config, directory, "torch", "rpsm (torch)", 3, "torch.npz")
    poses = [np.load(directory / name)["pose_world"] for name in ("poses3d.npz", "torch.npz")]
    np.testing.assert_allclose(poses[0], poses[1], atol=0.1)
    assert set(json.loads((directory / "results_3d.json").read_text())) == {"rpsm (numpy)", "rpsm (torch)"}


def test_results_of_older_predictions_go(make_run):
    config, directory = make_run()
    estimate(config, directory, method="old")
    stored = json.loads((directory / "results_3d.json").read_text())
    stored["old"]["predictions"]["written"] = "2001-01-01 00:00:00"
    (directory / "results_3d.json").write_text(json.dumps(stored))
    estimate(config, directory, method="new")
    assert set(json.loads((directory / "results_3d.json").read_text())) == {"new"}
    (directory / "results_3d.json").write_text("{")
    estimate(config, directory, method="newer")
    assert set(json.loads((directory / "results_3d.json").read_text())) == {"newer"}


def test_published_prior_and_predictions_work(make_run, tmp_path, caplog):
    """A prior without lengths, predictions without image names."""
    config, directory = make_run()
    prior = build_prior(config)[0]
    pairs = {edge: offsets_to_csr(offsets, 12) for edge, offsets in zip(prior.body.edges, prior.offsets, strict=True)}
    (tmp_path / "pairwise.pkl").write_bytes(pickle.dumps({PAIRS_KEY: pairs}, protocol=2))
    with h5py.File(directory / "predicted_heatmaps.h5", "a") as file:
        del file["image_ids"]
    results = estimate(config, directory)
    assert results["mpjpe"]["absolute"]["frames"] < 25
    assert "no limb lengths" in caplog.text


def test_input_that_cannot_be_used(make_run):
    config, directory = make_run()
    with pytest.raises(InputError, match="--batch-size"):
        estimate(config, directory, batch_size=0)
    with pytest.raises(InputError, match="--poses"):
        estimate(config, directory, name="poses")
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


def test_heatmaps_that_are_not_finite(make_run):
    def spoil(heatmaps, locations):
        heatmaps[1, 2, 3, 4, 5] = np.nan

    config, directory = make_run(edit=spoil)
    with pytest.raises(InputError, match=r"heatmaps: frame 1 of the batch"):
        estimate(config, directory)
    assert not (directory / "results_3d.json").exists()
