"""A second experiment does not replace the first one; records say what a run was made with."""

from __future__ import annotations

import subprocess

import pytest

from lib.core.config_io import load_config
from lib.core.run_directory import record_config, run_directory
from lib.core.runtime import run_identity
from lib.core.runtime.run_identity import (
    Code,
    check_evaluates_own_training,
    check_same_data,
    check_same_experiment,
    current_code,
    log_other_runs,
    read_records,
    record_run,
    warn_of_other_code,
)
from lib.utils.errors import InputError


@pytest.fixture
def code(monkeypatch):
    """code(state) sets the state of the code; the first one is a clean commit."""

    def change(state):
        monkeypatch.setattr(run_identity, "current_code", lambda: state)

    change(Code("a" * 40))
    return change


@pytest.fixture
def make_yaml(tmp_path, code):
    """make_yaml(folder, text) writes 128_fusion.yaml into a folder and returns its path."""

    def write(folder="first", text=""):
        path = tmp_path / folder / "128_fusion.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"OUTPUT_DIR: {tmp_path}/out\n{text}")
        return path

    return write


def train(cfg, *opts, weights="model_best.pth.tar", is_resumed=False):
    """Leave the files of a training and return its directory."""
    config = load_config(cfg, opts)
    directory = run_directory(config, cfg)
    record_run(config, cfg, directory, "train", {"groups": 2, "digest": "d"}, is_resumed)
    if weights:
        (directory / weights).touch()
    return directory


def check(cfg, *opts, what=check_same_experiment):
    config = load_config(cfg, opts)
    what(config, cfg, run_directory(config, cfg))


@pytest.mark.parametrize("weights", ["model_best.pth.tar", "checkpoint.pth.tar", "final_state.pth.tar"])
def test_check_same_experiment_other_settings_are_refused(make_yaml, weights):
    cfg = make_yaml()
    check(cfg)
    directory = train(cfg, weights=weights)
    check(cfg, "WORKERS", "3", "TRAIN.COMPILE", "false", "TEST.PEAK_MODE", "quarter", "GPUS", "1")
    with pytest.raises(InputError) as caught:
        check(cfg, "TRAIN.LR", "0.5", "NETWORK.SIGMA", "3")
    assert str(caught.value) == (
        f"{directory}: holds another training (then -> now): NETWORK.SIGMA 2.0 -> 3.0, TRAIN.LR 0.001 -> 0.5; add NAME "
        "128_fusion_2 to the --opts of all commands of this one, or remove the directory"
    )


def test_check_same_experiment_without_weights_nothing_is_lost(make_yaml):
    cfg = make_yaml()
    train(cfg, weights=None)
    check(cfg, "TRAIN.LR", "0.5")


def test_check_same_experiment_names_the_other_yaml_and_a_free_name(make_yaml):
    first, second = make_yaml("first"), make_yaml("second", "TRAIN: {LR: 0.5}")
    directory = train(first)
    with pytest.raises(InputError, match=f"another training of {first} .*NAME 128_fusion_2 "):
        check(second)
    directory.with_name("128_fusion_2").mkdir()
    with pytest.raises(InputError, match="NAME 128_fusion_3 "):
        check(second)
    check(second, "NAME", "128_fusion_3")
    with pytest.raises(InputError, match="SEED 0 -> 4; add NAME 128_fusion_seed4 "):
        check(first, "SEED", "4")
    check(make_yaml("moved"))  # the same experiment from another folder


def test_check_same_experiment_resumed_training_may_change_its_course(make_yaml):
    first, second = make_yaml("first"), make_yaml("second", "TRAIN: {LR: 0.5}")
    directory = train(first)
    config = load_config(first, ["TRAIN.LR", "0.5"])
    check_same_experiment(config, first, directory, resumes=True)
    with pytest.raises(InputError, match=r"TRAIN\.LR 0\.001 -> 0\.5; add NAME"):
        check_same_experiment(config, first, directory)
    with pytest.raises(InputError, match=r"TRAIN\.LR 0\.001 -> 0\.5; add NAME"):
        check_same_experiment(load_config(second), second, directory, resumes=True)
    with pytest.raises(InputError, match="SEED 0 -> 1; add NAME"):
        check_same_experiment(load_config(first, ["SEED", "1"]), first, directory, resumes=True)


def test_check_same_data_other_data_are_refused(make_yaml):
    cfg = make_yaml()
    directory = train(cfg)
    config = load_config(cfg)
    check_same_data(config, cfg, directory, {"groups": 2, "digest": "d"})
    for digest, groups in (("e", 2), ("d", 3)):
        with pytest.raises(InputError, match=rf"on other data \(2 groups, now {groups}\); add NAME 128_fusion_2 "):
            check_same_data(config, cfg, directory, {"groups": groups, "digest": digest})
    (directory / "model_best.pth.tar").unlink()
    check_same_data(config, cfg, directory, {"groups": 3, "digest": "e"})


def test_log_other_runs_names_trainings_of_the_yaml_on_other_data(make_yaml, caplog):
    cfg = make_yaml()
    first = train(cfg)
    train(make_yaml("second"), "DATASET.TRAIN_DATASET", "mpii")  # another YAML of the same name

    def logged(*opts):
        caplog.clear()
        config = load_config(cfg, opts)
        with caplog.at_level("INFO"):
            log_other_runs(config, cfg, run_directory(config, cfg))
        return caplog.messages

    (message,) = logged("DATASET.TRAIN_DATASET", "h36m")
    assert message.endswith(f"are in {first}")
    assert logged() == []  # its own directory
    assert logged("NAME", "other") == []


def test_check_evaluates_own_training_other_yaml_is_refused(make_yaml):
    first, second = make_yaml("first"), make_yaml("second", "NETWORK: {IMAGE_SIZE: 128, SIGMA: 3}")
    train(first)
    check(first, "SEED", "4", "NETWORK.FUSION", "none", what=check_evaluates_own_training)
    check(make_yaml("moved"), what=check_evaluates_own_training)
    with pytest.raises(InputError, match=rf"holds the training of {first} .*NETWORK\.SIGMA 2\.0 -> 3"):
        check(second, what=check_evaluates_own_training)


def test_check_evaluates_own_training_older_runs_are_not_checked(make_yaml):
    cfg = make_yaml()
    config = load_config(cfg, ["NETWORK.SIGMA", "3"])
    record_config(config, run_directory(config, cfg), "train")
    check(cfg, what=check_evaluates_own_training)


def test_record_run_holds_command_code_machine_and_data(make_yaml, code, monkeypatch):
    monkeypatch.setattr("sys.argv", ["run/pose2d/train.py", "--opts", "NAME", "a b"])
    code(Code("b" * 40, b"+ changed\n", ("new.py",)))
    directory = train(make_yaml(), "SEED", "5")
    (record,) = read_records(directory, "train")
    assert record["command"] == "python run/pose2d/train.py --opts NAME 'a b'"
    assert record["code"]["commit"] == "b" * 40
    assert record["code"]["untracked"] == ["new.py"]
    assert (directory / record["code"]["patch"]).read_bytes() == b"+ changed\n"
    assert {"Python", "numpy", "torch"} <= record["versions"].keys()
    assert record["hardware"]["cores"] >= 1
    assert record["hardware"]["memory_gib"] > 0
    assert (record["seed"], record["data"]) == (5, {"groups": 2, "digest": "d"})
    assert record["yaml"].endswith("first/128_fusion.yaml")


def test_record_run_large_patch_is_cut(make_yaml, code, monkeypatch):
    monkeypatch.setattr(run_identity, "MAX_PATCH_BYTES", 10)
    code(Code("b" * 40, b"x" * 25))
    directory = train(make_yaml())
    assert (directory / "code_train_1.patch").read_bytes() == b"x" * 10 + b"\n# 15 more bytes are not stored\n"


def test_record_run_resume_appends_and_restart_replaces(make_yaml, code):
    cfg = make_yaml()
    for commit in "abc":
        code(Code(commit * 40, commit.encode()))
        directory = train(cfg, is_resumed=commit != "a")
    assert [record["code"]["commit"][0] for record in read_records(directory, "train")] == ["a", "b", "c"]
    assert [path.read_bytes() for path in sorted(directory.glob("*.patch"))] == [b"a", b"b", b"c"]
    code(Code("d" * 40))
    train(cfg)
    assert [record["code"]["commit"][0] for record in read_records(directory, "train")] == ["d"]
    assert not list(directory.glob("*.patch"))


def test_record_run_replaces_the_last_call_of_its_phase_only(make_yaml, code):
    cfg = make_yaml()
    config = load_config(cfg)
    directory = run_directory(config, cfg)
    for phase, patch in (("estimate_cuda", b"a"), ("estimate", b"b"), ("estimate", b"c")):
        code(Code("a" * 40, patch))
        record_run(config, cfg, directory, phase)
    assert {path.name: path.read_bytes() for path in directory.glob("*.patch")} == {
        "code_estimate_cuda_1.patch": b"a",
        "code_estimate_1.patch": b"c",
    }
    assert len(read_records(directory, "estimate")) == 1


def test_warn_of_other_code_is_one_line(make_yaml, code, caplog):
    directory = train(make_yaml())
    warn_of_other_code(directory)
    code(Code())  # without git
    warn_of_other_code(directory)
    warn_of_other_code(directory.parent)  # no record
    assert not caplog.messages
    changed = Code("b" * 40, b"+ changed\n")
    code(changed)
    warn_of_other_code(directory)
    assert caplog.messages == [
        f"{directory}: resumed with other code (then -> now): aaaaaaaaaa -> bbbbbbbbbb with changes {changed.changes}"
    ]


def test_current_code_has_commit_changes_and_untracked_files(tmp_path, monkeypatch):
    monkeypatch.setattr(run_identity, "REPOSITORY", tmp_path)
    assert current_code.__wrapped__() == Code()
    (tmp_path / "a.py").write_text("1\n")
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "a.py"], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", tmp_path, *words], check=True)
    clean = current_code.__wrapped__()
    assert (len(clean.commit), clean.changes) == (40, "")
    (tmp_path / "a.py").write_text("2\n")
    (tmp_path / "b.py").touch()
    changed = current_code.__wrapped__()
    assert changed.commit == clean.commit
    assert b"\n-1\n+2\n" in changed.patch
    assert changed.untracked == ("b.py",)
    assert changed.changes
    monkeypatch.setattr(run_identity, "REPOSITORY", tmp_path / "inside")  # a copy of the code in another repository
    (tmp_path / "inside").mkdir()
    assert current_code.__wrapped__() == Code()
