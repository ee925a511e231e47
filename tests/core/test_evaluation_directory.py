"""Evaluations that depart from the training have directories of their own."""

from __future__ import annotations

import pytest
import yaml

from lib.core.config_io import dump_config, load_config, run_directory
from lib.core.evaluation_directory import evaluation_directory


@pytest.fixture
def cfg(tmp_path):
    """A single-view run's YAML."""
    path = tmp_path / "nofusion.yaml"
    keys = {"TRAIN_DATASET": "mixed", "TRAIN_STEP": 5, "ROOT": "data"}
    path.write_text(yaml.safe_dump({"OUTPUT_DIR": str(tmp_path / "out"), "NETWORK": {"AGGRE": False}, "DATASET": keys}))
    return path


@pytest.fixture
def name(cfg):
    """name(KEY, VALUE, ...) returns where in the run directory an evaluation's results go; "" = in itself."""

    def find(*opts):
        config = load_config(cfg, opts)
        directory = evaluation_directory(config, cfg)
        return str(directory.relative_to(run_directory(config, cfg))).removeprefix(".")

    return find


@pytest.fixture
def train(cfg):
    """train(KEY, VALUE, ...) leaves what a training does."""

    def record(*opts):
        config = load_config(cfg, opts)
        dump_config(config, run_directory(config, cfg) / "config_train.yaml")

    return record


EXCLUDED = ("DATASET.TEST_EXCLUDE", str([f"9-{action}-{subaction}" for action in range(2, 17) for subaction in (1, 2)]))


@pytest.mark.parametrize(("opts", "expected"), [
    ((), ""),
    (("NETWORK.FUSION", "none"), ""),  # another word for the same
    (("TEST.STATE", "final", "TEST.BATCH_SIZE", "1", "WORKERS", "0"), ""),
    (("DATASET.TEST_SUBSET", "valid"), ""),  # MPII's word for validation
    (("DATASET.ROOT", "/scratch/17/data/"), ""),  # the same data elsewhere
    (("DATA_DIR", "/scratch/17"), ""),
    (("NETWORK.FUSION", "epipolar_max"), "eval_epipolar_max"),
    (("DATASET.TEST_DATASET", "mpii", "NETWORK.FUSION", "epipolar_max"), "eval_mpii_epipolar_max"),
    (("DATASET.TEST_SUBSET", "train", "DATASET.TEST_STEP", "5"), "eval_train_step5"),
    (("DATASET.ROOT", "data/rig1 v8"), "eval_rig1_v8"),
    (("DATASET.CAMERAS", "[2, 0]"), "eval_cameras_2_0"),
    (("DATASET.CROP", "false"), "eval_nocrop"),
    (("DATASET.TEST_EXCLUDE", "damaged"), "eval_without_damaged"),
    (("TEST.JOINTS", "[nose, lwri]"), "eval_joints_nose_lwri"),
])  # fmt: skip
@pytest.mark.parametrize("is_trained", [False, True])
def test_what_departs_stands_in_the_name(is_trained, opts, expected, name, train):
    if is_trained:
        train()
    assert name(*opts) == expected


def test_names_stay_short_and_different(name):
    one, other = name(*EXCLUDED), name(EXCLUDED[0], EXCLUDED[1].replace("9-16-2", "9-16-3"))
    assert one != other
    assert all(len(text) <= 100 for text in (one, other))


def test_the_training_says_what_is_usual_and_so_does_the_yaml(name, train):
    train("NETWORK.FUSION", "adaptive", "DATASET.TEST_STEP", "640", "DATASET.ROOT", "data/other")
    assert name("NETWORK.FUSION", "adaptive", "DATASET.TEST_STEP", "640", "DATASET.ROOT", "data/other") == ""
    assert name("NETWORK.FUSION", "adaptive") == ""
    assert name("NETWORK.FUSION", "epipolar_sum", "DATASET.TEST_STEP", "1") == "eval_step1_epipolar_sum"


def test_a_directory_of_its_own_needs_no_other(cfg, tmp_path, name):
    own = ("OUTPUT_DIR", str(tmp_path / "own"), "NETWORK.FUSION", "epipolar_max")
    assert name(*own) == ""
    assert name("NAME", "own", "NETWORK.FUSION", "epipolar_max") == ""
    directory = run_directory(load_config(cfg, own), cfg)
    directory.mkdir(parents=True)
    (directory / "model_best.pth.tar").touch()  # a checkpoint of the released code has no record beside it
    assert name(*own) == "eval_epipolar_max"


def test_the_record_of_another_version(name, train, cfg, caplog):
    train()
    path = run_directory(load_config(cfg), cfg) / "config_train.yaml"
    path.write_text("OLD_KEY: 1\n")
    assert name("NETWORK.FUSION", "epipolar_max") == "eval_epipolar_max"
    assert "unknown key 'OLD_KEY'" in caplog.text
    assert name() == ""


def test_keys_without_effect_are_told_once(cfg, name, caplog):
    cfg.write_text(cfg.read_text() + "TEST: {IMAGE_THRE: 0.1}\n")
    assert name("NETWORK.FUSION", "epipolar_max") == "eval_epipolar_max"
    assert len(caplog.messages) == 1
