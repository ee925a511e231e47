"""run/pose2d/export_onnx.py, run as a user runs it."""

from __future__ import annotations

import pytest
import torch

from lib.core.build_model import build_model
from lib.core.config_io import load_config
from lib.core.run_directory import run_directory


@pytest.mark.slow
def test_export_onnx_writes_the_weights_of_the_run(tiny_yaml, tmp_path, run_script):
    cfg = tiny_yaml(tmp_path)
    config = load_config(cfg)
    directory = run_directory(config, cfg)
    directory.mkdir(parents=True)
    torch.save(build_model(config, 4).state_dict(), directory / "model_best.pth.tar")
    done = run_script("pose2d/export_onnx.py", "--cfg", cfg)
    assert done.code == 0, done.err
    assert (directory / "network.onnx").is_file()
    assert "4 views, batch 1" in done.out
    assert "largest difference from torch: single_view" in done.out


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--views", "0"], "--views: expected at least 1"), (["--checkpoint", "none.pth.tar"], "none.pth.tar")],
)
def test_export_onnx_refuses_in_one_line(tiny_yaml, tmp_path, run_script, flags, message):
    done = run_script("pose2d/export_onnx.py", "--cfg", tiny_yaml(tmp_path), *flags)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1
