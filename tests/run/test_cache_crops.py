from __future__ import annotations

import pytest
import torch


@pytest.mark.slow
def test_training_with_ready_crops_equals_one_with_images(tiny_root, tiny_yaml, tmp_path, run_script):
    cfg = tiny_yaml(tiny_root(num_views=2))
    opts = ["--opts", "DATASET.TRAIN_DATASET", "mixed", "DATASET.CROP_CACHE", tmp_path / "crops"]
    done = run_script("data/cache_crops.py", "--cfg", cfg, "--workers", 1, *opts)
    assert (done.code, done.err) == (0, "")
    assert [line.partition(": ")[2] for line in done.out.splitlines()[::2]] == [
        "6 crops of h36m, 64 x 64 px, 0.00 GB",
        "8 crops of mpii, 64 x 64 px, 0.00 GB",
        "6 crops of h36m, 64 x 64 px, 0.00 GB",
    ]
    again = run_script("data/cache_crops.py", "--cfg", cfg, *opts)
    assert again.out.count("exists") == 3
    weights = []
    for name, more in (("ready", []), ("images", ["DATASET.CROP_CACHE", ""])):
        trained = run_script("pose2d/train.py", "--cfg", cfg, "--modelDir", tmp_path / name, *opts, *more)
        assert trained.code == 0, trained.err
        assert ("px, 0.00 GB, read from" in trained.out) == (name == "ready")
        weights.append(torch.load(next((tmp_path / name).rglob("final_state*")), weights_only=True))
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), key


def test_the_command_without_a_folder(tiny_root, tiny_yaml, run_script):
    done = run_script("data/cache_crops.py", "--cfg", tiny_yaml(tiny_root(frames=1, mpii=0)))
    assert (done.code, done.err) == (
        2,
        "error: DATASET.CROP_CACHE: expected a folder, received ''; add --opts DATASET.CROP_CACHE DIR\n",
    )


def test_the_command_with_random_rotation(tiny_root, tiny_yaml, tmp_path, run_script):
    cfg = tiny_yaml(tiny_root(frames=1, mpii=0))
    opts = ["--opts", "DATASET.ROT_FACTOR", 20, "DATASET.CROP_CACHE", tmp_path / "crops"]
    done = run_script("data/cache_crops.py", "--cfg", cfg, "--workers", 1, *opts)
    assert done.code == 0, done.err
    assert done.out.startswith("training data: scale, rotation or shift is random, so no crop is ready\n")
    assert len(list((tmp_path / "crops").iterdir())) == 1
