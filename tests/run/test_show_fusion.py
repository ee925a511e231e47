"""show_fusion.py from the command line."""

from __future__ import annotations

import cv2
import pytest
import torch

from lib.core.build_model import build_model
from lib.core.config_io import load_config
from lib.core.run_directory import run_directory
from lib.utils.files.torch_file import save_checkpoint


@pytest.fixture
def make_run(tiny_root, tiny_yaml):
    """make_run(num_views) returns a YAML and its run directory, which has best and final weights."""

    def make(num_views: int = 2):
        cfg = tiny_yaml(tiny_root(mpii=0, num_views=num_views))
        config = load_config(cfg)
        directory = run_directory(config, cfg)
        model = build_model(config, num_views)
        torch.nn.init.normal_(model.fusion.weight)
        save_checkpoint(model.state_dict(), directory / "model_best.pth.tar")
        torch.nn.init.constant_(model.fusion.weight, 0.1)
        save_checkpoint(model.state_dict(), directory / "final_state.pth.tar")
        return cfg, directory

    return make


def size_of(path):
    return cv2.imread(str(path)).shape[:2]


def test_show_fusion_writes_figure_and_table(make_run, run_script):
    cfg, directory = make_run(num_views=3)
    done = run_script("pose2d/show_fusion.py", "--cfg", cfg)
    assert (done.code, done.err) == (0, "")
    assert sum(line.startswith(("| 1 <- ", "| 2 <- ", "| 3 <- ")) for line in done.out.splitlines()) == 6
    assert "within 2 heatmap px of the true epipolar line" in done.out
    assert "(mean over 3 groups)" in " ".join(done.out.split())
    one_row = size_of(directory / "fusion_weights.png")
    uniform = run_script(
        "pose2d/show_fusion.py",
        "--cfg",
        cfg,
        "--state",
        "final",
        "--sample",
        2,
        "--group",
        0,
        "--view",
        3,
        "--pixel",
        100,
        95.5,
        "--pixel",
        110,
        90,
        "--out",
        directory / "other/rows.png",
    )
    assert uniform.code == 0
    total = next(line for line in uniform.out.splitlines() if line.startswith("| all "))
    assert total.rstrip(" |").endswith("1.0")  # uniform weights have the share of the area
    two_rows = size_of(directory / "other/rows.png")
    assert two_rows[1] == one_row[1]
    assert two_rows[0] > 1.6 * one_row[0]


WRONG_ARGUMENTS = [
    (["--opts", "NETWORK.AGGRE", "false"], "NETWORK.FUSION none: expected learned"),
    (["--opts", "DATASET.TEST_DATASET", "mpii"], "expected groups of calibrated views"),
    (["--group", "3"], "--group: expected one of the groups 0 to 2, received 3"),
    (["--view", "0"], "--view: expected one of the views 1 to 2, received 0"),
    (["--joint", "rwrst"], "unknown joint 'rwrst' in --joint; did you mean 'rwri'?"),
    (["--pixel", "1", "1"], "expected a point in the crop of view 1"),
    (["--pixel", "1", "left"], "invalid float value: 'left'"),
    (["--pixel", "1", "1", "--joint", "nose"], "not allowed with"),
    (["--sample", "0"], "--sample: expected at least 1 group"),
    (["--model-file", "none.pth"], "none.pth: no such checkpoint"),
    (["--out", "picture.jpg"], "--out: expected a .png file, received picture.jpg"),
]


def test_show_fusion_wrong_arguments_are_one_line(make_run, run_script):
    cfg, directory = make_run()
    for words, message in WRONG_ARGUMENTS:  # one data set for all of them
        done = run_script("pose2d/show_fusion.py", "--cfg", cfg, *words)
        assert (done.code, done.err.count("\n")) == (2, 1), words
        assert done.err.startswith("error: ")
        assert message in done.err
        assert not (directory / "fusion_weights.png").exists()
