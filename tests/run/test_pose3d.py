"""make_limb_prior.py, estimate.py and estimate_cuda.py."""

from __future__ import annotations

import json
import pickle
import runpy
import subprocess
import sys

import numpy as np
import pytest
from cvf_tests.predictions import write_perfect_predictions
from cvf_tests.scripts import REPOSITORY, WITHOUT_TORCH

from lib.core.config_io import load_config
from lib.core.run_directory import run_directory

POSES = "poses3d_rpsm_FIRST_NBINS_12.npz"


@pytest.fixture
def experiment(tiny_root, tiny_yaml, tmp_path):
    """Command line words --cfg YAML --opts ... for a data set with images."""
    yaml = tiny_yaml(tiny_root())
    opts = [
        "NETWORK.IMAGE_SIZE",
        "256",
        "NETWORK.HEATMAP_SIZE",
        "64",
        "PICT_STRUCT.FIRST_NBINS",
        "12",
        "PICT_STRUCT.PAIRWISE_FILE",
        str(tmp_path / "pict/pairwise.pkl"),
    ]
    return ["--cfg", str(yaml), "--opts", *opts]


@pytest.fixture
def directory(experiment):
    """Write perfect predictions into the experiment's run directory and return it."""
    config = load_config(experiment[1], experiment[3:])
    path = run_directory(config, experiment[1])
    write_perfect_predictions(config, path, sigma=2.0)
    return path


def test_estimate_numpy_equals_torch(run_script, experiment, directory, tmp_path):
    prior = run_script("data/make_limb_prior.py", *experiment)
    assert prior.code == 0, prior.err
    assert "| rhip-rkne  |" in prior.out
    assert (tmp_path / "pict/pairwise.pkl").is_file()

    numpy = run_script("pose3d/estimate.py", "--batch-size", 2, *experiment)
    assert numpy.code == 0, numpy.err
    assert "| **mean over actions** |" in numpy.out
    assert "| lwri  |" in numpy.out
    assert "root: triangulated" in numpy.out
    torch = run_script("pose3d/estimate_cuda.py", "--device", "cpu", "--check", POSES, *experiment)
    assert torch.code == 0, torch.err
    assert f"largest distance to the joints of {POSES}" in torch.out
    results = json.loads((directory / "results_3d.json").read_text())
    poses = {entry["poses"]: np.load(directory / entry["poses"])["pose_world"] for entry in results.values()}
    assert list(poses) == [POSES, POSES.replace(".npz", "_torch.npz")]
    np.testing.assert_allclose(*poses.values(), atol=0.1)
    assert all(entry["mpjpe"]["absolute"]["frames"] < 25 for entry in results.values())
    assert len(results) == 2


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n picture", b"", pickle.dumps({"state_dict": 1}), None])
def test_make_limb_prior_other_file_is_not_replaced(run_script, experiment, tmp_path, content):
    path = tmp_path / "pict/pairwise.pkl"
    path.parent.mkdir()
    path.mkdir() if content is None else path.write_bytes(content)
    refused = run_script("data/make_limb_prior.py", *experiment)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "pairwise.pkl: exists and is not a limb prior" in refused.err
    assert path.is_dir() if content is None else path.read_bytes() == content


def test_make_limb_prior_other_grid_is_replaced(run_script, experiment, tmp_path):
    for bins in (8, 12):
        assert run_script("data/make_limb_prior.py", *experiment, "PICT_STRUCT.FIRST_NBINS", bins).code == 0
    assert pickle.loads((tmp_path / "pict/pairwise.pkl").read_bytes())["num_bins"] == 12


@pytest.mark.parametrize("script", ["pose3d/estimate.py", "pose3d/estimate_cuda.py"])
def test_estimate_triangulation_needs_no_prior(run_script, experiment, directory, script):
    library = "torch" if "cuda" in script else "numpy"
    done = run_script(script, "--method", "triangulate_robust", *experiment)
    assert done.code == 0, done.err
    assert f"triangulate_robust ({library}); mm" in done.out
    suffix = "_torch" if library == "torch" else ""
    stored = np.load(directory / f"poses3d_triangulate_robust{suffix}.npz")
    assert stored["confidence"].shape == (3, 17)
    np.testing.assert_allclose(stored["pose_world"], stored["gt_world"], atol=1e-2)
    unknown = run_script(script, "--method", "dlt", *experiment)
    assert (unknown.code, unknown.err.count("\n")) == (2, 1)
    assert "'triangulate_robust'" in unknown.err


def test_estimate_evaluations_keep_their_results_and_names(run_script, experiment, directory):
    def errors(place):
        entry = json.loads((place / "results_3d.json").read_text())["triangulate (numpy)"]
        return entry["fusion"], entry["mpjpe"]["absolute"]["frames"]

    command = ("pose3d/estimate.py", "--method", "triangulate", *experiment)
    assert run_script(*command).code == 0
    own = errors(directory)
    other = (*experiment, "NETWORK.FUSION", "epipolar_max")
    refused = run_script(*command, "NETWORK.FUSION", "epipolar_max")
    place = directory / "evaluations/fusion=epipolar_max"
    assert refused.code == 2
    assert f"{place}/predicted_heatmaps.h5: no such prediction file" in refused.err

    def shift(heatmaps, locations):
        locations[..., 0] += 5

    write_perfect_predictions(load_config(other[1], other[3:]), place, sigma=2.0, edit=shift)
    done = run_script(*command, "NETWORK.FUSION", "epipolar_max")
    assert done.code == 0, done.err
    assert "epipolar_max, triangulate (numpy); mm" in done.out
    assert errors(directory) == own
    assert errors(place)[0] == "epipolar_max"
    assert errors(place)[1] > own[1] + 5
    table = run_script("compare.py", directory).out
    assert "| tiny (learned) " in table
    assert "| tiny (epipolar_max) " in table
    report = run_script("pose3d/report.py", "--tables-only", *experiment).out
    assert "| tiny (learned): triangulate (numpy) " in report
    assert "| tiny (epipolar_max): triangulate (numpy) " in report
    report = run_script("pose3d/report.py", "--tables-only", *other).out
    assert len(list(place.glob("report*/comparison.md"))) == 1
    assert "learned" not in report


def run_without_torch(script, *words):
    command = [sys.executable, "-c", WITHOUT_TORCH, str(REPOSITORY / "run" / script), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)


def test_estimate_needs_no_torch(experiment, directory):
    for script in ("data/make_limb_prior.py", "pose3d/estimate.py"):
        done = run_without_torch(script, *experiment)
        assert done.returncode == 0, done.stderr
    assert (directory / POSES).is_file()
    assert "ModuleNotFoundError: torch" in run_without_torch("pose3d/estimate_cuda.py", *experiment).stderr


@pytest.mark.parametrize("script", ["pose3d/estimate.py", "pose3d/estimate_cuda.py"])
def test_estimate_unusable_input_is_one_line(run_script, experiment, directory, script, tmp_path):
    missing_prior = run_script(script, *experiment)
    assert (missing_prior.code, missing_prior.err.count("\n")) == (2, 1)
    assert "pairwise.pkl" in missing_prior.err
    assert run_script("data/make_limb_prior.py", *experiment).code == 0
    other_grid = run_script(script, *experiment, "PICT_STRUCT.GRID_SIZE", 2500)
    assert (other_grid.code, other_grid.err.count("\n")) == (2, 1)
    assert "GRID_SIZE" in other_grid.err
    data = (directory / "predicted_heatmaps.h5").read_bytes()
    (directory / "predicted_heatmaps.h5").write_bytes(data[: len(data) // 2])
    cut_off = run_script(script, *experiment)
    assert (cut_off.code, cut_off.err.count("\n")) == (2, 1)
    assert "predicted_heatmaps.h5" in cut_off.err
    (directory / "predicted_heatmaps.h5").unlink()
    no_predictions = run_script(script, *experiment)
    assert (no_predictions.code, no_predictions.err.count("\n")) == (2, 1)
    assert "valid.py" in no_predictions.err
    assert not (directory / "results_3d.json").exists()


def test_estimate_threads(run_script, experiment, directory):
    refused = run_script("pose3d/estimate.py", "--threads", 0, *experiment)
    assert refused.code == 2
    assert "--threads: expected at least 1, received 0" in refused.err
    done = run_script("pose3d/estimate.py", "--threads", 3, "--method", "triangulate_robust", *experiment)
    assert done.code == 0, done.err


def test_estimate_check_file_is_read_first(run_script, experiment, directory):
    assert run_script("data/make_limb_prior.py", *experiment).code == 0
    np.savez(directory / "foreign.npz", pose_world=np.zeros((3, 17, 3)))
    done = run_script("pose3d/estimate.py", "--check", "foreign.npz", *experiment)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "foreign.npz: not a file of 3D poses: it has no 'joint_names'" in done.err
    assert not (directory / "results_3d.json").exists()


@pytest.mark.parametrize("method", ["rpsm", "triangulate"])
def test_estimate_root_out_of_range_names_key(run_script, experiment, directory, method):
    assert run_script("data/make_limb_prior.py", *experiment).code == 0
    done = run_script("pose3d/estimate.py", "--method", method, *experiment, "DATASET.ROOTIDX", 99)
    assert (done.code, done.err) == (2, "error: DATASET.ROOTIDX: expected a joint index below 17, received 99\n")
    assert not list(directory.glob("*.npz"))


def test_estimate_cuda_device_cuda_without_cuda_is_refused(run_script, experiment):
    done = run_script("pose3d/estimate_cuda.py", "--device", "cuda", *experiment)
    assert done.code == 2
    assert "--device cpu" in done.err


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_estimate_cuda_default_device_is_logged(caplog, device):
    module = runpy.run_path(str(REPOSITORY / "run/pose3d/estimate_cuda.py"))
    caplog.set_level("INFO")
    backend = module["make_backend"](None)
    assert backend.device.type == device
    assert f"device: {device}" in caplog.text
