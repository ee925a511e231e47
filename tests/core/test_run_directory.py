from __future__ import annotations

from pathlib import Path

import pytest

from lib.core.config_io import load_config
from lib.core.run_directory import (
    BEST_NAME,
    board_directory,
    evaluated_configuration,
    evaluation_directories,
    evaluation_directory,
    evaluation_label,
    log_disk_usage,
    record_config,
    run_directory,
    run_name,
    start_run,
    weights_file,
    weights_selection,
)
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


def test_run_directory_of_each_experiment_is_its_own():
    """The YAMLs for a cluster, experiments-philly, are the same experiments with other paths."""
    files = sorted((Path(__file__).parents[2] / "experiments-local").rglob("*.yaml"))
    directories = {run_directory(load_config(path), path) for path in files}
    assert len(directories) == len(files) > 20


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


def test_weights_file_fixed_backbone_is_its_own_file_unless_a_fusion_is_trained(tmp_path):
    (tmp_path / "a.yaml").write_text("BACKBONE_MODEL: blazepose\nBLAZEPOSE: {FILE: models/lite.tflite}")
    for fusion in ("none", "epipolar_max"):
        config = load_config(tmp_path / "a.yaml", ["NETWORK.FUSION", fusion])
        assert weights_file(config, tmp_path) == Path("models/lite.tflite")
    config = load_config(tmp_path / "a.yaml", ["NETWORK.FUSION", "adaptive"])
    assert weights_file(config, tmp_path) == tmp_path / BEST_NAME


@pytest.fixture
def trained(cfg):
    """trained(*opts) records a training and returns the run directory."""

    def record(*opts):
        config = load_config(cfg, opts)
        directory = run_directory(config, cfg)
        record_config(config, directory, "train")
        return directory

    return record


def evaluated_in(cfg, *opts):
    """Return the place of an evaluation, relative to the run directory."""
    config = load_config(cfg, opts)
    return str(evaluation_directory(config, cfg).relative_to(run_directory(config, cfg)))


@pytest.mark.parametrize(
    "opts",
    [
        ("TEST.STATE", "best"),
        ("NETWORK.FUSION", "learned"),
        ("DATASET.TEST_SUBSET", "valid"),
        ("TEST.BATCH_SIZE", "3", "SEED", "4", "TRAIN.LR", "1", "PICT_STRUCT.RECUR_DEPTH", "2"),
    ],
)
def test_evaluation_directory_of_what_was_trained_is_the_run_directory(cfg, trained, opts):
    assert evaluated_in(cfg) == "."  # nothing is trained yet
    trained()
    assert evaluated_in(cfg, *opts) == "."


@pytest.mark.parametrize(
    ("opts", "name"),
    [
        (("NETWORK.FUSION", "epipolar_max"), "fusion=epipolar_max"),
        (("TEST.STATE", "final"), "weights=final_state"),
        (("TEST.MODEL_FILE", "other/run_b/model_best.pth.tar"), "weights=run_b-model_best"),
        (("TEST.MODEL_FILE", "downloads/pose net.pth"), "weights=pose-net"),
        (("TEST.POST_PROCESS", "true"), "peak_mode=quarter"),
        (("TEST.FLIP_TEST", "true"), "flip_test=true"),
        (("DATASET.CAMERAS", "[0, 2]", "DATASET.TEST_STEP", "5"), "step=5,cameras=0-2"),
        (("DATASET.TEST_SUBSET", "test", "NETWORK.FUSION", "none"), "fusion=none,subset=test"),
        (("DATASET.ROOT", "data/other rig"), "root=other-rig"),
    ],
)
def test_evaluation_directory_of_other_settings_has_their_names(cfg, trained, opts, name):
    trained()
    assert evaluated_in(cfg, *opts) == f"evaluations/{name}"


def test_evaluation_directory_own_configuration_is_the_trained_one(cfg, trained):
    trained("NETWORK.FUSION", "adaptive")
    assert evaluated_in(cfg, "NETWORK.FUSION", "adaptive") == "."
    assert evaluated_in(cfg) == "evaluations/fusion=learned"


def test_evaluation_directory_own_weights_have_one_place(cfg, trained):
    directory = trained()
    assert evaluated_in(cfg, "TEST.MODEL_FILE", str(directory / "model_best.pth.tar")) == "."
    assert evaluated_in(cfg, "TEST.MODEL_FILE", str(directory / "final_state.pth.tar")) == (
        evaluated_in(cfg, "TEST.STATE", "final")
    )


def test_evaluation_directory_without_a_training_first_evaluation_is_the_run_directory(cfg):
    config = load_config(cfg, ["TEST.MODEL_FILE", "a.pth"])
    directory = evaluation_directory(config, cfg)
    record_config(config, directory, "valid")
    assert directory == run_directory(config, cfg)
    assert evaluated_in(cfg) == "."  # as run/pose3d/estimate.py is called
    assert evaluated_in(cfg, "TEST.MODEL_FILE", "b.pth") == "evaluations/weights=b"
    assert evaluated_in(cfg, "NETWORK.FUSION", "none") == "evaluations/fusion=none"


def test_evaluation_directory_equal_short_names_have_a_number(cfg, trained):
    trained()
    for folder, name in (("x", "weights=a"), ("y", "weights=a_2"), ("x", "weights=a")):
        config = load_config(cfg, ["TEST.MODEL_FILE", f"{folder}/a.pth"])
        directory = evaluation_directory(config, cfg)
        assert directory.name == name
        record_config(config, directory, "valid")
    assert [path.name for path in evaluation_directories(run_directory(config, cfg))] == [
        "256_fusion",
        "weights=a",
        "weights=a_2",
    ]


def test_evaluated_configuration_has_the_keys_of_the_training(cfg, trained):
    directory = trained("SEED", "7", "TRAIN.LR", "0.5")
    config = load_config(cfg, ["NETWORK.FUSION", "none"])  # without the options of the training
    place = evaluation_directory(config, cfg)
    assert evaluated_configuration(place) is None
    record_config(config, place, "valid")
    assert evaluated_configuration(directory)["NETWORK.FUSION"] == ""
    values = evaluated_configuration(place)
    assert (values["SEED"], values["TRAIN.LR"], values["NETWORK.FUSION"]) == (7, 0.5, "none")


def test_evaluation_label_names_the_fusion_and_other_differences():
    assert evaluation_label(Path("run"), "learned") == "learned"
    assert evaluation_label(Path("run"), None) == ""
    assert evaluation_label(Path("run/evaluations/fusion=none,subset=test"), "none") == "no fusion, subset=test"
    assert evaluation_label(Path("run/evaluations/weights=final_state"), None) == "weights=final_state"


def test_log_disk_usage_has_the_run_and_all_output(cfg, trained, caplog):
    directory = trained()
    (directory / "config_train.yaml").write_bytes(b"x" * 3_000_000)
    (directory.parent / "b").write_bytes(b"x" * 2_000_000)
    caplog.set_level("INFO")
    config = load_config(cfg)
    log_disk_usage(config, directory)
    assert caplog.messages == [f"disk: {directory}: 3 MB, {config.OUTPUT_DIR}: 5 MB"]


@pytest.mark.usefixtures("restored_root_logger")
def test_start_run_of_an_evaluation_uses_the_weights_of_the_run(cfg, trained):
    directory = trained()
    config = load_config(cfg, ["NETWORK.FUSION", "epipolar_max"])
    place = start_run(config, str(cfg), "valid")
    assert place == directory / "evaluations/fusion=epipolar_max"
    assert weights_file(config, place) == directory / "model_best.pth.tar"
    (log,) = place.glob("valid_*.log")
    assert "evaluation: fusion=epipolar_max" in log.read_text()
    assert start_run(config, str(cfg), "train") == directory


def test_weights_selection_follows_the_training(cfg, tmp_path):
    best = tmp_path / "model_best.pth.tar"
    assert weights_selection(best) == "model_best.pth.tar, of unknown selection"
    for opts, text in (
        ((), "best epoch on the test set multiview_h36m, as in the original code"),
        (("DATASET.HELD_OUT_SUBJECTS", "[7, 8]"), "best epoch on subjects 7, 8 held out of the training set"),
    ):
        record_config(load_config(cfg, opts), tmp_path, "train")
        assert weights_selection(best).startswith(text)
        assert weights_selection(tmp_path / "final_state.pth.tar") == "last epoch"
    (tmp_path / "config_train.yaml").write_text("{")
    assert weights_selection(best) == "model_best.pth.tar, of unknown selection"
