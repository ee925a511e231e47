"""One pass from images to poses gives the results of valid.py followed by estimate_cuda.py."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lib.core.build_data import build_dataset
from lib.core.build_model import build_model
from lib.core.config_io import load_config
from lib.core.run_directory import FINAL_NAME, run_directory

SETTINGS = ("PICT_STRUCT.FIRST_NBINS", "9", "PICT_STRUCT.LIMB_LENGTH_TOLERANCE", "200")


@pytest.fixture
def experiment(tiny_root, tiny_yaml, tmp_path, run_script):
    """experiment(name) returns command line words and the run directory, with the same random weights for all names."""
    yaml = tiny_yaml(tiny_root(frames=5, mpii=0))

    def make(name, *opts):
        words = ["--cfg", yaml, "--opts", "NAME", name, "PICT_STRUCT.PAIRWISE_FILE", tmp_path / "pairwise.pkl"]
        words = [*map(str, words), *SETTINGS, *opts]
        config = load_config(yaml, words[3:])
        directory = run_directory(config, yaml)
        directory.mkdir(parents=True)
        torch.manual_seed(0)
        num_views = build_dataset(config, config.DATASET.ROOT, is_train=False).num_views
        torch.save(build_model(config, num_views).state_dict(), directory / FINAL_NAME)
        if not (tmp_path / "pairwise.pkl").exists():
            assert run_script("data/make_limb_prior.py", *words).code == 0
        return words, directory

    return make


def results_of(directory):
    """Results that do not depend on time and place, and the poses."""
    results_2d = json.loads((directory / "results_2d.json").read_text())
    (name, results_3d), *_ = json.loads((directory / "results_3d.json").read_text()).items()
    del results_2d["weights"], results_3d["frames_per_second"]
    is_stored = results_3d.pop("predictions_stored", True)
    with np.load(directory / results_3d["poses"]) as file:
        return is_stored, (results_2d, name, results_3d), dict(file)


@pytest.mark.parametrize(
    ("method", "batch_size", "opts"),
    [
        ("rpsm", 2, ()),
        ("rpsm+refine", 3, ("TEST.HEATMAP_DTYPE", "float16")),
        ("triangulate", 64, ("TEST.PEAK_MODE", "quarter", "TEST.JOINTS", '["root", "rhip", "lhip", "neck", "head"]')),
        ("triangulate_robust", 1, ("NETWORK.FUSION", "none")),
    ],
)
def test_estimate_cuda_from_images_equals_two_scripts(experiment, run_script, method, batch_size, opts):
    two, one = experiment("two", *opts), experiment("one", *opts)
    flags = ("--device", "cpu", "--method", method, "--batch-size", batch_size)
    assert run_script("pose2d/valid.py", "--state", "final", *two[0]).code == 0
    done = run_script("pose3d/estimate_cuda.py", *flags, *two[0])
    assert done.code == 0, done.err
    done = run_script("pose3d/estimate_cuda.py", *flags, "--from-images", "--state", "final", *one[0])
    assert done.code == 0, done.err
    assert not list(one[1].glob("*.h5"))
    assert "predictions are not stored" in done.out
    assert "| **mean over actions** |" in done.out
    found, expected = results_of(one[1]), results_of(two[1])
    assert (found[0], expected[0]) == (False, True)
    assert found[1] == expected[1]
    assert found[2].keys() == expected[2].keys()
    for name, values in expected[2].items():
        np.testing.assert_array_equal(found[2][name], values, err_msg=name)


def test_estimate_cuda_from_images_and_file_share_results(experiment, run_script):
    """Predictions in memory have the fingerprint of the file, so neither invalidates the other."""
    words, directory = experiment("both")
    flags = ("--device", "cpu", "--method")
    assert run_script("pose2d/valid.py", "--state", "final", *words).code == 0
    assert run_script("pose3d/estimate_cuda.py", *flags, "triangulate", *words).code == 0
    done = run_script(
        "pose3d/estimate_cuda.py", *flags, "triangulate_robust", "--from-images", "--state", "final", *words
    )
    assert done.code == 0, done.err
    results = json.loads((directory / "results_3d.json").read_text())
    assert len(results) == 2
    assert "removed results" not in done.out


def test_estimate_cuda_from_images_missing_weights_is_one_line(experiment, run_script):
    words, directory = experiment("none")
    (directory / FINAL_NAME).unlink()
    done = run_script("pose3d/estimate_cuda.py", "--device", "cpu", "--from-images", "--state", "final", *words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert FINAL_NAME in done.err
    assert not (directory / "results_2d.json").exists()
