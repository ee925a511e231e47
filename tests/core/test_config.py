from __future__ import annotations

import logging

import pytest
import yaml

from lib.core.config import SCOPES, all_keys, keys_with_scope
from lib.core.config_io import load_config
from lib.core.pose3d.methods import METHODS

STAGES = {2: (1, [48, 96]), 3: (4, [48, 96, 192]), 4: (3, [48, 96, 192, 384])}
PUBLISHED = {
    "OUTPUT_DIR": "output",
    "LOG_DIR": "log",
    "DATA_DIR": "",
    "BACKBONE_MODEL": "pose_resnet",
    "MODEL": "multiview_pose_resnet",
    "GPUS": "0,1",
    "WORKERS": 8,
    "PRINT_FREQ": 100,
    "MODEL_EXTRA": {
        "PRETRAINED_LAYERS": [
            "conv1",
            "bn1",
            "conv2",
            "bn2",
            "layer1",
            "transition1",
            "stage2",
            "transition2",
            "stage3",
            "transition3",
            "stage4",
        ],
        "FINAL_CONV_KERNEL": 1,
        **{
            f"STAGE{n}": {
                "NUM_MODULES": modules,
                "NUM_BRANCHES": n,
                "BLOCK": "BASIC",
                "NUM_BLOCKS": [4] * n,
                "NUM_CHANNELS": channels,
                "FUSE_METHOD": "SUM",
            }
            for n, (modules, channels) in STAGES.items()
        },
    },
    "CUDNN": {"BENCHMARK": True, "DETERMINISTIC": False, "ENABLED": True},
    "NETWORK": {
        "PRETRAINED": "models/pytorch/imagenet/resnet50-19c8e357.pth",
        "NUM_JOINTS": 20,
        "HEATMAP_SIZE": [80, 80],
        "IMAGE_SIZE": [320, 320],
        "SIGMA": 2,
        "TARGET_TYPE": "gaussian",
        "AGGRE": True,
    },
    "POSE_RESNET": {
        "NUM_LAYERS": 50,
        "DECONV_WITH_BIAS": False,
        "NUM_DECONV_LAYERS": 3,
        "NUM_DECONV_FILTERS": [256, 256, 256],
        "NUM_DECONV_KERNELS": [4, 4, 4],
        "FINAL_CONV_KERNEL": 1,
    },
    "LOSS": {"USE_TARGET_WEIGHT": True},
    "DATASET": {
        "ROOT": "data/",
        "TRAIN_DATASET": "mixed",
        "TEST_DATASET": "multiview_h36m",
        "TRAIN_SUBSET": "train",
        "TEST_SUBSET": "validation",
        "ROOTIDX": 0,
        "DATA_FORMAT": "jpg",
        "CROP": True,
        "SCALE_FACTOR": 0,
        "ROT_FACTOR": 0,
    },
    "TRAIN": {
        "LR": 0.001,
        "LR_FACTOR": 0.1,
        "LR_STEP": [90, 110],
        "OPTIMIZER": "adam",
        "MOMENTUM": 0.9,
        "WD": 0.0001,
        "NESTEROV": False,
        "BEGIN_EPOCH": 0,
        "END_EPOCH": 140,
        "RESUME": False,
        "BATCH_SIZE": 8,
        "SHUFFLE": True,
    },
    "TEST": {
        "BATCH_SIZE": 8,
        "STATE": "",
        "POST_PROCESS": False,
        "MODEL_FILE": "",
        "HEATMAP_LOCATION_FILE": "predicted_heatmaps.h5",
    },
    "DEBUG": {
        "DEBUG": True,
        "SAVE_BATCH_IMAGES_GT": True,
        "SAVE_BATCH_IMAGES_PRED": True,
        "SAVE_HEATMAPS_GT": True,
        "SAVE_HEATMAPS_PRED": True,
    },
    "PICT_STRUCT": {
        "FIRST_NBINS": 16,
        "PAIRWISE_FILE": "",
        "RECUR_NBINS": 2,
        "RECUR_DEPTH": 10,
        "LIMB_LENGTH_TOLERANCE": 150,
        "GRID_SIZE": 2000,
    },
}
UNUSED = {
    "DATASET": {"BBOX": 2000},
    "TRAIN": {"GAMMA1": 0.99, "GAMMA2": 0.0},
    "TEST": {
        "SHIFT_HEATMAP": True,
        "USE_GT_BBOX": True,
        "IMAGE_THRE": 0.1,
        "NMS_THRE": 0.6,
        "OKS_THRE": 0.5,
        "IN_VIS_THRE": 0.0,
        "BBOX_FILE": "",
        "BBOX_THRE": 1.0,
        "MATCH_IOU_THRE": 0.3,
        "DETECTOR": "fpn_dcn",
        "DETECTOR_DIR": "",
    },
    "PICT_STRUCT": {
        "DEBUG": False,
        "TEST_PAIRWISE": False,
        "SHOW_ORIIMG": False,
        "SHOW_CROPIMG": False,
        "SHOW_HEATIMG": False,
    },
}
NEW = {
    "NAME",
    "SEED",
    "NETWORK.INIT",
    "NETWORK.FUSION_INIT",
    "NETWORK.TARGET_SUBPIXEL",
    "TEST.PEAK_MODE",
    "TRIANGULATE.NUM_PEAKS",
    "TRIANGULATE.PEAK_MODE",
    "TRIANGULATE.TOLERANCE",
    "DATASET.TRAIN_STEP",
    "DATASET.TEST_STEP",
    "DATASET.INCOMPLETE_GROUPS",
    "DATASET.TEST_EXCLUDE",
    "DATASET.CAMERAS",
    "DATASET.POSE_UNIT",
    "DATASET.CAMERA_UNIT",
    "DATASET.CAMERA_T",
    "DATASET.TOTALCAPTURE_ACTIONS",
    "TRAIN.VALIDATE_EVERY",
    "TEST.JDR_THRESHOLD",
    "PICT_STRUCT.ROOT_SOURCE",
    "PICT_STRUCT.LIMB_LENGTH_SOURCE",
    "PICT_STRUCT.REFINE",
    "PICT_STRUCT.REFINE_PERSON",
    "PICT_STRUCT.REFINE_LENGTH_STD",
    "TRAIN.AMP",
    "TRAIN.ACCUMULATE",
    "TRAIN.CHECKPOINT_ACTIVATIONS",
    "TRAIN.CHANNELS_LAST",
    "TRAIN.COMPILE",
    "TRAIN.TF32",
    "TRAIN.SYNC_BN",
    "TRAIN.CHECKPOINT_STEPS",
    "TRAIN.KEEP_CHECKPOINTS",
    "TEST.HEATMAP_COMPRESSION",
    "TEST.HEATMAP_DTYPE",
}


def flat(values: dict, prefix: str = "") -> dict:
    result = {}
    for key, value in values.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return result


@pytest.fixture
def load(tmp_path):
    def from_values(values):
        (tmp_path / "a.yaml").write_text(yaml.safe_dump(values))
        return load_config(tmp_path / "a.yaml")

    return from_values


def test_defaults_equal_published_experiments(load):
    ours = flat(load({}))
    for key, value in flat(PUBLISHED).items():
        assert ours[key] == value, key
    published_steps = {"DATASET.TRAIN_STEP": 5, "DATASET.TEST_STEP": 64}
    assert {key: ours[key] for key in published_steps} == published_steps
    assert (ours["PICT_STRUCT.ROOT_SOURCE"], ours["PICT_STRUCT.LIMB_LENGTH_SOURCE"]) == ("triangulated", "prior")


def test_defaults_of_new_keys_reproduce_the_original_code(load):
    ours = flat(load({}))
    assert ours["NETWORK.INIT"] == ours["NETWORK.FUSION_INIT"] == "published"
    assert ours["TEST.JDR_THRESHOLD"] == "crop"  # the paper's, not the code's
    assert ours["DATASET.INCOMPLETE_GROUPS"] == "drop"
    assert (ours["TEST.PEAK_MODE"], ours["NETWORK.TARGET_SUBPIXEL"]) == ("argmax", False)
    assert ours["TRAIN.VALIDATE_EVERY"] == 1
    assert ours.keys() >= NEW


def test_published_keys_are_accepted_and_unused_keys_are_listed(load, caplog):
    full = {section: dict(entry) if isinstance(entry, dict) else entry for section, entry in PUBLISHED.items()}
    for section, entries in UNUSED.items():
        full[section] |= entries
    with caplog.at_level(logging.WARNING):
        config = load(full)
    (message,) = caplog.messages
    for key in flat(UNUSED):
        assert f"{key}," in f"{message},"
    assert not flat(UNUSED).keys() & flat(config).keys()


def test_published_keys_in_use_give_no_warning(load, caplog):
    load(PUBLISHED)
    assert not caplog.messages


# A complete YAML of the original code: text for numbers, block lists, unused keys.
FULL_YAML = """
GPUS: '0'
DATA_DIR: ''
OUTPUT_DIR: 'output'
LOG_DIR: 'log'
WORKERS: 4
PRINT_FREQ: 100
BACKBONE_MODEL: pose_hrnet
MODEL: multiview_pose_hrnet
MODEL_EXTRA:
  PRETRAINED_LAYERS:
  - '*'
  FINAL_CONV_KERNEL: 1
  STAGE2:
    NUM_MODULES: 1
    NUM_BRANCHES: 2
    BLOCK: BASIC
    NUM_BLOCKS:
    - 4
    - 4
    NUM_CHANNELS:
    - 32
    - 64
    FUSE_METHOD: SUM
NETWORK:
  AGGRE: true
  NUM_JOINTS: 20
  IMAGE_SIZE:
  - 256
  - 256
  HEATMAP_SIZE: 64
  SIGMA: 2
  TARGET_TYPE: gaussian
LOSS:
  USE_TARGET_WEIGHT: true
DATASET:
  BBOX: 2000
  CROP: true
  DATA_FORMAT: zip
  ROOT: 'data/'
  SCALE_FACTOR: 0
TRAIN:
  LR: 1e-3
  WD: 1e-4
  GAMMA1: 0.99
  LR_STEP:
  - 20
  - 25
  OPTIMIZER: adam
TEST:
  STATE: best
  BBOX_FILE: ''
  DETECTOR: fpn_dcn
DEBUG:
  DEBUG: true
PICT_STRUCT:
  FIRST_NBINS: 16
  GRID_SIZE: 2000
  SHOW_HEATIMG: false
"""


def test_complete_yaml_of_the_original_code_loads(tmp_path, caplog):
    (tmp_path / "a.yaml").write_text(FULL_YAML)
    config = load_config(tmp_path / "a.yaml")
    assert config.TRAIN.LR == 1e-3
    assert config.TRAIN.WD == 1e-4
    assert config.NETWORK.HEATMAP_SIZE == [64, 64]
    assert config.MODEL_EXTRA.STAGE2.NUM_CHANNELS == [32, 64]
    assert config.MODEL_EXTRA.STAGE3.NUM_CHANNELS == [48, 96, 192]  # not in the file
    assert config.MODEL_EXTRA.PRETRAINED_LAYERS == ["*"]
    assert config.PICT_STRUCT.GRID_SIZE == 2000
    assert caplog.messages == [
        "keys without effect, ignored: DATASET.BBOX, PICT_STRUCT.SHOW_HEATIMG, "
        "TEST.BBOX_FILE, TEST.DETECTOR, TRAIN.GAMMA1"
    ]


def test_scope_is_known_for_every_key():
    assert {key.scope for _, key in all_keys()} == SCOPES.keys()
    assert [name for name, key in all_keys() if key.scope not in SCOPES] == []


def test_keys_with_scope_partition_all_keys():
    scopes = [keys_with_scope(scope) for scope in SCOPES]
    names = [name for name, _ in all_keys()]
    assert sum(len(names) for names in scopes) == len(names) == len(set(names))
    assert keys_with_scope(*SCOPES) == set(names)


def test_keys_with_scope_separates_weights_from_course_of_training():
    weights = keys_with_scope("weights")
    assert weights > {"BACKBONE_MODEL", "NETWORK.FUSION", "NETWORK.SIGMA", "POSE_RESNET.NUM_LAYERS", "SEED"}
    assert not weights & {"TRAIN.LR", "TRAIN.END_EPOCH", "DATASET.TEST_DATASET", "WORKERS", "PICT_STRUCT.RECUR_DEPTH"}


def test_keys_with_scope_runtime_affects_no_result():
    runtime = keys_with_scope("runtime")
    assert runtime > {"NAME", "WORKERS", "DEBUG.DEBUG", "CUDNN.BENCHMARK", "TRAIN.KEEP_CHECKPOINTS", "OUTPUT_DIR"}
    assert not runtime & {"SEED", "TRAIN.AMP", "GPUS", "TEST.PEAK_MODE", "TEST.HEATMAP_DTYPE", "DATASET.ROOT"}


def test_keys_with_scope_pose3d_holds_the_keys_of_every_3d_method():
    used = {name for method in METHODS.values() for name in method.keys}
    assert used | {"DATASET.ROOTIDX", "PICT_STRUCT.PAIRWISE_FILE"} <= keys_with_scope("pose3d")


def test_key_evaluation_words_are_unique_and_cover_all_predictions():
    words = {name: key.evaluation for name, key in all_keys() if key.evaluation}
    assert len(set(words.values())) == len(words)
    # without a word of their own: parts of another key's value, storage, and the order of rows in a table
    rest = {"TEST.STATE", "TEST.POST_PROCESS", "TEST.HEATMAP_DTYPE", "TEST.JDR_THRESHOLD"}
    assert keys_with_scope("predictions") - words.keys() == rest
    assert words["NETWORK.FUSION"] == "fusion"
