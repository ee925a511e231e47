from __future__ import annotations

import logging

import pytest
from lib.core.training.check_resumable import check_same_run

from lib.core.config_io import load_config, plain_config
from lib.utils.errors import InputError


@pytest.fixture
def compare(tmp_path, caplog):
    """compare(opts of then, opts of now) -> what is logged."""
    (tmp_path / "a.yaml").write_text("")
    caplog.set_level(logging.INFO)

    def run(then, now):
        caplog.clear()
        check_same_run("a.pth.tar", *(plain_config(load_config(tmp_path / "a.yaml", opts)) for opts in (then, now)))
        return caplog.messages

    return run


LEARNED = [
    ("MODEL", "multiview_pose_hrnet"),
    ("BACKBONE_MODEL", "pose_hrnet"),
    ("MODEL_EXTRA.STAGE4.NUM_BLOCKS", "[4, 4, 4]"),
    ("MODEL_EXTRA.FINAL_CONV_KERNEL", "3"),
    ("NETWORK.IMAGE_SIZE", "256"),
    ("NETWORK.HEATMAP_SIZE", "64"),
    ("NETWORK.SIGMA", "3"),
    ("NETWORK.TARGET_SUBPIXEL", "true"),
    ("NETWORK.AGGRE", "false"),
    ("NETWORK.FUSION", "adaptive"),
    ("POSE_RESNET.NUM_LAYERS", "18"),
    ("LOSS.USE_TARGET_WEIGHT", "false"),
    ("DATASET.TRAIN_DATASET", "multiview_h36m"),
    ("DATASET.TRAIN_SUBSET", "other"),
    ("DATASET.TRAIN_STEP", "1"),
    ("DATASET.CAMERAS", "[0, 1]"),
    ("DATASET.CROP", "false"),
    ("DATASET.ROT_FACTOR", "20"),
    ("DATASET.CAMERA_T", "translation"),
    ("TRAIN.OPTIMIZER", "sgd"),
    ("TRAIN.FUSION_STATE", "bfloat16"),
    ("TRAIN.FREEZE_BACKBONE", "true"),
    ("SEED", "1"),
    ("TRAIN.SHUFFLE", "false"),
]


@pytest.mark.parametrize(("key", "value"), LEARNED)
def test_what_the_weights_depend_on_is_refused(compare, key, value):
    shown = key.replace("AGGRE", "FUSION")
    with pytest.raises(InputError, match=rf"a\.pth\.tar: .*\(then -> now\): {shown} .* -> .*NAME.*TRAIN\.RESUME false"):
        compare([], [key, value])


FREE = [
    ("TRAIN.END_EPOCH", "150"),
    ("TRAIN.LR", "1e-5"),
    ("TRAIN.LR_STEP", "[5]"),
    ("TRAIN.BATCH_SIZE", "3"),
    ("WORKERS", "0"),
    ("GPUS", "0"),
    ("OUTPUT_DIR", "b"),
    ("NAME", "c"),
    ("DATA_DIR", "d"),
    ("DATASET.ROOT", "e"),
    ("DATASET.DATA_FORMAT", "zip"),
    ("DEBUG.DEBUG", "false"),
    ("TEST.STATE", "final"),
    ("PICT_STRUCT.RECUR_DEPTH", "3"),
    ("NETWORK.PRETRAINED", ""),
    ("TRAIN.MOMENTUM", "0.5"),
    ("TRAIN.AMP", "bf16"),
    ("MODEL_EXTRA.PRETRAINED_LAYERS", "['*']"),
    ("DATASET.TEST_DATASET", "mpii"),
]


@pytest.mark.parametrize(("key", "value"), FREE)
def test_what_may_change_is_told(compare, key, value):
    (message,) = compare([], [key, value])
    assert message.startswith(f"a.pth.tar: settings have changed (then -> now): {key} ")
    assert " -> " in message


def test_all_of_them_stand_in_one_line(compare):
    with pytest.raises(InputError, match=r"now\): SEED 0 -> 4, NETWORK\.SIGMA 2\.0 -> 3\.0; "):
        compare([], ["SEED", "4", "NETWORK.SIGMA", "3", "TRAIN.LR", "1"])
    (message,) = compare([], ["TRAIN.LR", "1e-6", "WORKERS", "0"])
    assert message.endswith("WORKERS 8 -> 0, TRAIN.LR 0.001 -> 1e-06")
    (message,) = compare([], ["NETWORK.PRETRAINED", ""])
    assert message.endswith("resnet50-19c8e357.pth -> ''")


def test_the_same_in_other_words_is_no_change(compare):
    assert compare(["NETWORK.AGGRE", "true"], ["NETWORK.FUSION", "learned", "TRAIN.RESUME", "true"]) == []


def test_keys_that_an_older_file_lacks_had_their_defaults(tmp_path, caplog):
    (tmp_path / "a.yaml").write_text("")
    now = plain_config(load_config(tmp_path / "a.yaml"))
    caplog.set_level(logging.INFO)
    check_same_run("a.pth.tar", {"NETWORK": {"SIGMA": 2.0, "GONE": 1}}, now)
    assert not caplog.messages
    with pytest.raises(InputError, match=r"NETWORK\.SIGMA 1 -> 2\.0"):
        check_same_run("a.pth.tar", {"NETWORK": {"SIGMA": 1}}, now)
