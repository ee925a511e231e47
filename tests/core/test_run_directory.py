from __future__ import annotations

from pathlib import Path

import pytest

from lib.core.config_io import load_config
from lib.core.run_directory import board_directory, record_config, run_directory, run_name, start_run, weights_file
from lib.utils.errors import InputError


@pytest.fixture
def cfg(tmp_path):
    path = tmp_path / "256_fusion.yaml"
    path.write_text(f"OUTPUT_DIR: {tmp_path}/out\nSEED: 11\nDATASET: {{TRAIN_DATASET: multiview_h36m}}")
    return path


def test_run_directory_has_data_set_network_and_yaml_name(tmp_path):
    path = tmp_path / "256_fusion.yaml"
    path.write_text("OUTPUT_DIR: out\nMODEL: multiview_pose_hrnet\nPOSE_RESNET: {NUM_LAYERS: 152}")
    assert run_name(path) == "256_fusion"
    assert run_directory(load_config(path), path) == Path("out/mixed/multiview_pose_hrnet_152/256_fusion")


def test_run_directory_name_key_replaces_the_yaml_name(tmp_path):
    path = tmp_path / "base.yaml"
    path.write_text("NAME: base")
    named = run_directory(load_config(path, ["NAME", "lr1e-5,b=4"]), path)
    assert named == Path("output/mixed/multiview_pose_resnet_50/lr1e-5,b=4")
    assert run_directory(load_config(path), path).name == "base"


def test_run_directory_name_key_of_a_base_file_is_ignored(tmp_path):
    (tmp_path / "base.yaml").write_text("NAME: base")
    variant = tmp_path / "variant.yaml"
    variant.write_text("BASE: base.yaml")
    assert run_directory(load_config(variant), variant).name == "variant"


@pytest.mark.parametrize(
    ("opts", "expected"),
    [
        ([], "run/model_best.pth.tar"),
        (["TEST.STATE", "final"], "run/final_state.pth.tar"),
        (["TEST.STATE", "final", "TEST.MODEL_FILE", "a.pth"], "a.pth"),
    ],
)
def test_weights_file_follows_model_file_then_state(cfg, opts, expected):
    assert weights_file(load_config(cfg, opts), Path("run")) == Path(expected)


@pytest.mark.usefixtures("restored_root_logger")
def test_start_run_creates_the_directory_and_the_log(cfg, tmp_path):
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
def test_start_run_directory_not_writable_is_refused(cfg, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="cannot be created"):
        start_run(load_config(cfg), str(cfg), "train")


@pytest.mark.usefixtures("restored_root_logger")
def test_start_run_training_creates_the_tensorboard_directory(cfg, tmp_path):
    config = load_config(cfg, ["LOG_DIR", str(tmp_path / "log")])
    directory = start_run(config, str(cfg), "train")
    assert board_directory(config, directory) == tmp_path / "log/multiview_h36m/multiview_pose_resnet_50/256_fusion"
    assert board_directory(config, directory).is_dir()
    (tmp_path / "file").touch()
    config.LOG_DIR = str(tmp_path / "file")
    with pytest.raises(InputError, match=r"file/multiview_h36m/.*: cannot be created"):
        start_run(config, str(cfg), "train")
    start_run(config, str(cfg), "valid")  # writes nothing there


def test_weights_file_fixed_backbone_is_its_own_file(tmp_path):
    (tmp_path / "a.yaml").write_text("BACKBONE_MODEL: blazepose\nBLAZEPOSE: {FILE: models/lite.tflite}")
    assert weights_file(load_config(tmp_path / "a.yaml"), tmp_path) == Path("models/lite.tflite")
