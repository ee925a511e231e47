from __future__ import annotations

import pytest

from lib.core.config_io import load_config
from lib.core.run_directory import board_directory, record_config, start_run
from lib.utils.errors import InputError


@pytest.fixture
def cfg(tmp_path):
    path = tmp_path / "256_fusion.yaml"
    path.write_text(f"OUTPUT_DIR: {tmp_path}/out\nSEED: 11\nDATASET: {{TRAIN_DATASET: multiview_h36m}}")
    return path


@pytest.mark.usefixtures("restored_root_logger")
def test_a_run_directory_holds_configuration_and_log(cfg, tmp_path):
    config = load_config(cfg, ["TRAIN.LR", "0.5"])
    directory = start_run(config, str(cfg), "valid")
    assert directory == tmp_path / "out/multiview_h36m/multiview_pose_resnet_50/256_fusion"
    assert not (directory / "config_valid.yaml").exists()  # not before all is accepted
    record_config(config, directory, "valid")
    assert load_config(directory / "config_valid.yaml") == config
    (log,) = directory.glob("valid_*.log")
    text = log.read_text()
    assert "seed: 11" in text
    assert "versions: python" in text
    assert str(directory) in text


@pytest.mark.usefixtures("restored_root_logger")
def test_a_place_that_cannot_be_written(cfg, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="cannot be created"):
        start_run(load_config(cfg), str(cfg), "train")


@pytest.mark.usefixtures("restored_root_logger")
def test_tensorboards_place_is_made_before_a_training(cfg, tmp_path):
    config = load_config(cfg, ["LOG_DIR", str(tmp_path / "log")])
    directory = start_run(config, str(cfg), "train")
    assert board_directory(config, directory) == tmp_path / "log/multiview_h36m/multiview_pose_resnet_50/256_fusion"
    assert board_directory(config, directory).is_dir()
    (tmp_path / "file").touch()
    config.LOG_DIR = str(tmp_path / "file")
    with pytest.raises(InputError, match=r"file/multiview_h36m/.*: cannot be created"):
        start_run(config, str(cfg), "train")
    start_run(config, str(cfg), "valid")  # writes nothing there
