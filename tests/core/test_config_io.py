from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lib.core.config import DEFAULTS, all_keys
from lib.core.config_io import dataset_root, dump_config, flat_values, load_config, stored_config
from lib.utils.errors import InputError


@pytest.fixture
def write(tmp_path):
    def to_file(text, name="a.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return to_file


def test_load_config_later_sources_override(write):
    write("TRAIN: {LR: 0.1, BATCH_SIZE: 1, END_EPOCH: 1}\nWORKERS: 1", "base/base.yaml")
    write("BASE: base/base.yaml\nTRAIN: {LR: 0.2, END_EPOCH: 2}", "middle.yaml")
    path = write("BASE: ../middle.yaml\nTRAIN: {LR: 0.3}", "deep/a.yaml")
    config = load_config(path, ["TRAIN.END_EPOCH", "9"])
    train = config.TRAIN
    assert (train.LR, train.BATCH_SIZE, train.END_EPOCH, config.WORKERS, train.MOMENTUM) == (0.3, 1, 9, 1, 0.9)


def test_load_config_cycle_of_bases_is_refused(write):
    write("BASE: b.yaml")
    write("BASE: c.yaml", "b.yaml")
    with pytest.raises(InputError, match=r"a\.yaml: BASE leads back to itself"):
        load_config(write("BASE: ./a.yaml", "c.yaml").with_name("a.yaml"))


def test_load_config_same_base_in_two_loads_is_no_cycle(write):
    write("WORKERS: 3", "base.yaml")
    path = write("BASE: base.yaml")
    assert load_config(path).WORKERS == load_config(path).WORKERS == 3


def test_load_config_invalid_base_is_refused(write):
    with pytest.raises(InputError, match=r"none\.yaml: no such file"):
        load_config(write("BASE: none.yaml"))
    with pytest.raises(InputError, match=r"a\.yaml: BASE: expected a file name, received 3"):
        load_config(write("BASE: 3"))
    with pytest.raises(InputError, match=r"a\.yaml: BASE: expected a file name"):
        load_config(write('BASE: "a\\0"'))


def test_load_config_loads_share_no_values(write):
    path = write("")
    first = load_config(path)
    first.NETWORK.IMAGE_SIZE[0] = 1
    first.TRAIN.LR_STEP.append(3)
    second = load_config(path)
    assert second.NETWORK.IMAGE_SIZE == [320, 320]
    assert second.TRAIN.LR_STEP == [90, 110]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("TRAIN: {LRR: 0.1}", ["'TRAIN.LRR'", "'TRAIN.LR'"]),
        ("TRAIN: {LERNING_RATE: 0.1}", ["'TRAIN.LERNING_RATE'", "did you mean 'TRAIN.LR'?"]),
        ("LEARNING_RATE: 0.1", ["'LEARNING_RATE'", "did you mean 'TRAIN.LR'?"]),
        ("TRAIN: {EPOCHS: 9}", ["'TRAIN.EPOCHS'", "did you mean 'TRAIN.END_EPOCH'?"]),
        ("TRIAN: {LR: 0.1}", ["'TRIAN'", "'TRAIN'"]),
        ("train: {LR: 0.1}", ["'train'", "'TRAIN'"]),
        ("NETWORK: {HEATMAP_SZIE: 64}", ["'NETWORK.HEATMAP_SZIE'", "'NETWORK.HEATMAP_SIZE'"]),
        ("IMAGE_SIZE: 256", ["'IMAGE_SIZE'", "'NETWORK.IMAGE_SIZE'"]),
        ("DATASET: {LR: 0.1}", ["'DATASET.LR'", "'TRAIN.LR'"]),
        ("PICT_STRUCT: {XYZ: 1}", ["'PICT_STRUCT.XYZ'", "known:", "PICT_STRUCT.PAIRWISE_FILE"]),
        ("MODEL_EXTRA: {STAGE2: {NUM_MODULE: 1}}", ["STAGE2.NUM_MODULE'", "'MODEL_EXTRA.STAGE2.NUM_MODULES'"]),
        ("1: 2", ["'1'", "known:"]),
    ],
)
def test_load_config_unknown_key_suggests_the_nearest(write, text, words):
    with pytest.raises(InputError) as caught:
        load_config(write(text))
    message = str(caught.value)
    for word in ["unknown key", "a.yaml", *words]:
        assert word in message
    assert "\n" not in message


def test_load_config_unknown_key_in_base_names_the_base(write):
    write("WROKERS: 3", "base.yaml")
    with pytest.raises(InputError, match=r"'WROKERS' in .*base\.yaml; did you mean 'WORKERS'"):
        load_config(write("BASE: base.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("TRAIN: {LR: fast}", "TRAIN.LR: expected a number, received 'fast'"),
        ("TRAIN: {LR: }", "TRAIN.LR: expected a number, received None"),
        ("TRAIN: {LR: true}", "TRAIN.LR: expected a number, received True"),
        ("TRAIN: {LR: .nan}", "TRAIN.LR: expected a number, received nan"),
        ("TRAIN: {LR: .inf}", "TRAIN.LR: expected a number, received inf"),
        ("TRAIN: {LR: [0.1]}", "TRAIN.LR: expected a number, received [0.1]"),
        ("TRAIN: {BATCH_SIZE: 1.5}", "TRAIN.BATCH_SIZE: expected an integer, received 1.5"),
        ("TRAIN: {BATCH_SIZE: 0}", "TRAIN.BATCH_SIZE: expected at least 1, received 0"),
        ("TRAIN: {RESUME: 'yes'}", "TRAIN.RESUME: expected true or false, received 'yes'"),
        ("TRAIN: {RESUME: 1}", "TRAIN.RESUME: expected true or false, received 1"),
        ("TRAIN: {LR_STEP: [20, x]}", "TRAIN.LR_STEP: expected an integer, received 'x'"),
        ("TRAIN: 3", "TRAIN: expected a section with keys, received 3"),
        ("NETWORK: {IMAGE_SIZE: [1, 2, 3]}", "NETWORK.IMAGE_SIZE: expected [width, height] or one integer"),
        ("NETWORK: {IMAGE_SIZE: big}", "NETWORK.IMAGE_SIZE: expected an integer, received 'big'"),
        ("DATASET: {ROOT: [a]}", "DATASET.ROOT: expected text, received ['a']"),
        ("DATASET: {ROOT: {a: 1}}", "DATASET.ROOT: expected text, received {'a': 1}"),
        ("DATASET: {SCALE_FACTOR: 1.0}", "DATASET.SCALE_FACTOR: expected less than 1, received 1.0"),
        ("DATASET: {SCALE_FACTOR: -0.1}", "DATASET.SCALE_FACTOR: expected at least 0, received -0.1"),
        ("TRAIN: {AMP: on}", "TRAIN.AMP: expected text, received True"),
        ("DATASET: {ROOT: off}", "DATASET.ROOT: expected text, received False"),
        ('DATASET: {ROOT: "a\\0b"}', r"DATASET.ROOT: expected text, received 'a\x00b'"),
        ('DATASET: {ROOT: "\\ud800"}', r"DATASET.ROOT: expected text, received '\ud800'"),
        (f"WORKERS: {10**349}", f"WORKERS: expected an integer, received {10**79}..."),
        (f"TRAIN: {{LR: {10**349}}}", f"TRAIN.LR: expected a number, received {10**79}..."),
        (f"WORKERS: 0x{'f' * 5000}", "WORKERS: expected an integer, received an integer of too many digits"),
        ("GPUS: 2024-01-02", "GPUS: expected text, received datetime.date(2024, 1, 2)"),
    ],
)
def test_load_config_invalid_value_names_key_and_file(write, text, message):
    with pytest.raises(InputError) as caught:
        load_config(write(text))
    assert "a.yaml: " + message in str(caught.value)
    assert "\n" not in str(caught.value)


NO_YAML = [
    "2024-13-45",
    "!!int abc",
    "!!float x",
    "!!timestamp x",
    "!!map foo",
    "9" * 5000,
    "[" * 1000,
    "{[a]: 1}",
    "!!bool x",
    "!!binary x",
    "!foo x",
]


@pytest.mark.parametrize("value", NO_YAML)
def test_load_config_invalid_yaml_value_gives_one_line(write, value):
    with pytest.raises(InputError, match=r"a\.yaml: not YAML \(") as caught:
        load_config(write(f"TRAIN: {value}"))
    assert "\n" not in str(caught.value)
    for key in ("WORKERS", "DATASET.CAMERAS"):
        with pytest.raises(InputError, match=rf"--opts: {key}: .* is not a YAML value") as caught:
            load_config(write(""), [key, value])
        assert len(str(caught.value)) < 200


def test_load_config_invalid_choice_suggests_the_nearest(write):
    with pytest.raises(InputError, match=r"'pose_resent' in .*a\.yaml: BACKBONE_MODEL; did you mean 'pose_resnet'"):
        load_config(write("BACKBONE_MODEL: pose_resent"))
    with pytest.raises(InputError, match=r"unknown value '51' in .*NUM_LAYERS"):
        load_config(write("POSE_RESNET: {NUM_LAYERS: 51}"))


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("TRAIN: {LR: 1e-3}", "TRAIN.LR", 0.001),  # text to PyYAML
        ("TRAIN: {LR: '0.5'}", "TRAIN.LR", 0.5),
        ("TRAIN: {LR: 1}", "TRAIN.LR", 1.0),
        ("TRAIN: {END_EPOCH: 1e2}", "TRAIN.END_EPOCH", 100),
        ("TRAIN: {BATCH_SIZE: 8.0}", "TRAIN.BATCH_SIZE", 8),
        ("TRAIN: {LR_STEP: 20}", "TRAIN.LR_STEP", [20]),
        ("TRAIN: {LR_STEP: []}", "TRAIN.LR_STEP", []),
        ("TRAIN: {RESUME: yes}", "TRAIN.RESUME", True),
        ("TRAIN:", "TRAIN.LR", 0.001),  # an empty section
        ("NETWORK: {IMAGE_SIZE: 256}", "NETWORK.IMAGE_SIZE", [256, 256]),
        ("NETWORK: {IMAGE_SIZE: [192, 256]}", "NETWORK.IMAGE_SIZE", [192, 256]),
        ("NETWORK: {PRETRAINED: }", "NETWORK.PRETRAINED", ""),
        ("GPUS: 0", "GPUS", "0"),
        ("TRAIN: {AMP: off}", "TRAIN.AMP", "off"),
        ("TRAIN: {AMP: 'off'}", "TRAIN.AMP", "off"),
        ("DATASET: {SCALE_FACTOR: 0.99}", "DATASET.SCALE_FACTOR", 0.99),
        ("GPUS: 0,1", "GPUS", "0,1"),
        ("PICT_STRUCT: {GRID_SIZE: 2000}", "PICT_STRUCT.GRID_SIZE", 2000.0),
    ],
)
def test_load_config_values_have_the_type_of_their_key(write, text, key, value):
    config = load_config(write(text))
    for part in key.split("."):
        config = config[part]
    assert config == value
    assert type(config) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("TRAIN.LR", "1e-4", 1e-4),
        ("NETWORK.AGGRE", "false", False),
        ("NETWORK.IMAGE_SIZE", "[192, 256]", [192, 256]),
        ("NETWORK.IMAGE_SIZE", "256", [256, 256]),
        ("NETWORK.PRETRAINED", "", ""),
        ("NETWORK.PRETRAINED", "''", ""),
        ("GPUS", "3", "3"),
        ("DATA_DIR", "2024_01_02", "2024_01_02"),  # YAML 1.1 would read the number 20240102
        ("DATA_DIR", "2024-01-02", "2024-01-02"),
        ("DATA_DIR", "010", "010"),
        ("TEST.MODEL_FILE", "runs/a #1: best.pth", "runs/a #1: best.pth"),
    ],
)
def test_load_config_opts_are_converted(write, key, text, value):
    config = load_config(write(""), [key, text])
    for part in key.split("."):
        config = config[part]
    assert config == value
    assert type(config) is type(value)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["TRAIN.LR"], "--opts: expected KEY VALUE pairs, received 1 words; the last is 'TRAIN.LR'"),
        (["TRAIN.LRR", "1"], "unknown key 'TRAIN.LRR' in --opts; did you mean 'TRAIN.LR'?"),
        (["TRAIN.LR.X", "1"], "--opts: TRAIN.LR: expected a number, received {'X': 1}"),
        (["TRAIN", "1"], "--opts: TRAIN: expected a section with keys, received 1"),
        (["TRAIN.LR_STEP", "[1"], "--opts: TRAIN.LR_STEP: '[1' is not a YAML value"),
    ],
)
def test_load_config_invalid_opts_are_refused(write, opts, message):
    with pytest.raises(InputError) as caught:
        load_config(write(""), opts)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["TRAIN: {LR: 0.1", "\t- a", "a: b: c", "- 1\n- 2", "just text", "\x00"])
def test_load_config_other_files_are_refused(write, text):
    with pytest.raises(InputError, match=r"a\.yaml: (not YAML|expected KEY: value lines)") as caught:
        load_config(write(text))
    assert "\n" not in str(caught.value)


def test_load_config_unreadable_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: no such file"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match=r"a\.yaml: not a text file"):
        load_config(tmp_path / "a.yaml")


def test_load_config_repeated_section_is_reported(write, caplog):
    config = load_config(write("TRAIN: {LR: 0.5}\nTEST: {BATCH_SIZE: 2}\nTRAIN: {BATCH_SIZE: 3}\n"))
    assert (config.TRAIN.LR, config.TRAIN.BATCH_SIZE) == (0.001, 3)  # YAML keeps the last one
    (message,) = caplog.messages
    assert "a.yaml" in message
    assert "'TRAIN' occurs twice" in message


def test_load_config_code_in_yaml_is_not_run(write, tmp_path):
    with pytest.raises(InputError, match="not YAML"):
        load_config(write(f"WORKERS: !!python/object/apply:os.mkdir ['{tmp_path}/made']"))
    assert not (tmp_path / "made").exists()


def test_dump_config_loads_again_equal(write, tmp_path):
    config = load_config(
        write("TRAIN: {LR: 1e-5, LR_STEP: []}\nNETWORK: {PRETRAINED: ''}\nGPUS: '0'"),
        ["DATA_DIR", "2024_01_02", "TEST.MODEL_FILE", "yes", "OUTPUT_DIR", "1e-3"],
    )
    dump_config(config, tmp_path / "out" / "dump.yaml")
    assert load_config(tmp_path / "out" / "dump.yaml") == config
    plain = yaml.safe_load((tmp_path / "out" / "dump.yaml").read_text())
    assert plain["TRAIN"]["LR"] == 1e-5


def test_stored_config_has_the_stored_values_the_defaults_and_the_options():
    config = stored_config({"SEED": 3, "NETWORK": {"SIGMA": 1.5}}, ["NETWORK.SIGMA", "2.5", "TRAIN.LR", "0.1"])
    assert (config.SEED, config.NETWORK.SIGMA, config.TRAIN.LR) == (3, 2.5, 0.1)
    assert DEFAULTS["TEST"]["BATCH_SIZE"].default == config.TEST.BATCH_SIZE
    with pytest.raises(InputError, match=r"TRAIN\.LRR"):
        stored_config({}, ["TRAIN.LRR", "0.1"])


def test_dataset_root_lies_in_data_dir(write):
    config = load_config(write("DATA_DIR: /disk\nDATASET: {ROOT: data/}"))
    assert dataset_root(config) == Path("/disk/data")
    config.DATA_DIR = ""
    assert dataset_root(config) == Path("data")


@pytest.mark.parametrize("name", ["a/b", "..", ".", "/tmp", "a b", "a\n", "~", "*"])
def test_load_config_name_must_be_a_file_name(write, name):
    with pytest.raises(InputError, match=r"NAME: expected a file name .* received "):
        load_config(write(""), ["NAME", name])


@pytest.mark.parametrize("words", [["TRAIN.LR_STEP", "[7,", "8]"], ["TRAIN.LR_STEP", "[7,", "8,", "9]"]])
def test_load_config_list_split_by_the_shell_is_explained(write, words):
    with pytest.raises(InputError, match=r"--opts: .*; write a list as one word: '\[7, 8\]'$"):
        load_config(write(""), words)


def test_flat_values_reads_every_key(write):
    values = flat_values(load_config(write("NETWORK: {SIGMA: 3, HEATMAP_SIZE: 64}")))
    assert values.keys() == dict(all_keys()).keys()
    assert (values["NETWORK.SIGMA"], values["NETWORK.HEATMAP_SIZE"], values["TRAIN.LR"]) == (3.0, [64, 64], 0.001)


def test_flat_values_of_an_older_version_are_translated():
    values = flat_values({"NETWORK": {"SIGMA": 3.0, "GONE": 1}, "DATASET": {"CAMERA_T": "centre"}})
    assert values["NETWORK.SIGMA"] == 3.0
    assert values["DATASET.CAMERA_T"] == "center"
    assert values["TRAIN.LR"] == 0.001
    assert "NETWORK.GONE" not in values


@pytest.mark.parametrize(("former", "word"), [(True, "true"), (False, "false")])
def test_boolean_of_a_key_that_has_three_values_today_is_translated(write, caplog, former, word):
    assert flat_values({"TRAIN": {"COMPILE": former}})["TRAIN.COMPILE"] == word
    configs = load_config(write(f"TRAIN: {{COMPILE: {word}}}")), load_config(write(""), ["TRAIN.COMPILE", word])
    assert [config.TRAIN.COMPILE for config in configs] == [word, word]
    assert not caplog.messages


def test_load_config_former_value_is_translated_with_one_line(write, caplog):
    config = load_config(write("DATASET: {CAMERA_T: centre}"))
    assert config.DATASET.CAMERA_T == "center"
    (message,) = caplog.messages
    assert message.endswith("a.yaml: DATASET.CAMERA_T: the value 'centre' is now 'center'")


def test_load_config_former_name_is_translated_with_one_line(write, monkeypatch, caplog):
    monkeypatch.setitem(DEFAULTS["TRAIN"], "LR", replace(DEFAULTS["TRAIN"]["LR"], former_names=("TRAIN.BASE_LR",)))
    assert load_config(write("TRAIN: {BASE_LR: 0.5}")).TRAIN.LR == 0.5
    (message,) = caplog.messages
    assert message.endswith("a.yaml: TRAIN.BASE_LR is now TRAIN.LR")
    assert load_config(write(""), ["TRAIN.BASE_LR", "0.25"]).TRAIN.LR == 0.25
    assert flat_values({"TRAIN": {"BASE_LR": 0.5}})["TRAIN.LR"] == 0.5
    with pytest.raises(InputError, match=r"TRAIN\.LR: expected a number, received 'fast'"):
        load_config(write("TRAIN: {BASE_LR: fast}"))


def test_load_config_paths_are_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/user")
    monkeypatch.setenv("SCRATCH", "/scratch")
    (tmp_path / "a.yaml").write_text("OUTPUT_DIR: ~/out\nDATASET: {ROOT: $SCRATCH/data}\n")
    config = load_config(tmp_path / "a.yaml", ["NETWORK.PRETRAINED", "~/w.pth", "TEST.MODEL_FILE", "${SCRATCH}/m.pth"])
    assert (config.OUTPUT_DIR, config.DATASET.ROOT) == ("/home/user/out", "/scratch/data")
    assert (config.NETWORK.PRETRAINED, config.TEST.MODEL_FILE) == ("/home/user/w.pth", "/scratch/m.pth")
    assert {name for name, key in all_keys() if key.is_path} == {
        "OUTPUT_DIR",
        "LOG_DIR",
        "DATA_DIR",
        "DATASET.ROOT",
        "DATASET.CROP_CACHE",
        "NETWORK.PRETRAINED",
        "TEST.MODEL_FILE",
        "BLAZEPOSE.FILE",
        "PICT_STRUCT.PAIRWISE_FILE",
        "PICT_STRUCT.REFINE_LEARNED",
    }


@pytest.mark.parametrize(
    ("text", "nested"),
    [("TRAIN.LR: 0.1", "TRAIN: {LR: ...}"), ("MODEL_EXTRA.STAGE2.BLOCK: x", "MODEL_EXTRA: {STAGE2: {BLOCK: ...}}")],
)
def test_load_config_names_with_dots_are_explained(tmp_path, text, nested):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(tmp_path / "a.yaml")
    assert str(caught.value).endswith(f"write {nested}")
