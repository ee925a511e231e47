"""train.py and valid.py from the command line."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import torch
import yaml
from cvf_tests.scripts import RUN

from lib.dataset.camera_rigs import load_rigs


def test_train_and_valid_write_all_results(tiny_root, tiny_yaml, tmp_path, run_script):
    cfg = tiny_yaml(tiny_root(), resnet=True)
    assert run_script("pose2d/train.py", "--cfg", cfg, "--opts", "DEBUG.DEBUG", "true").code == 0
    directory = tmp_path / "output" / RUN
    for name in ("checkpoint.pth.tar", "model_best.pth.tar", "final_state.pth.tar", "config_train.yaml"):
        assert (directory / name).is_file()
    (rig,) = load_rigs(directory / "training_cameras.json")
    assert len(rig) == 4
    assert cv2.imread(str(directory / "training_curves.png")) is not None
    assert {path.name for path in (directory / "debug").iterdir()} >= {
        f"train_000_00000_{kind}.jpg" for kind in ("gt", "pred", "hm_gt", "hm_pred")
    }
    assert list((tmp_path / "log" / RUN).glob("events.out.tfevents.*"))

    done = run_script("pose2d/valid.py", "--cfg", cfg)
    assert done.code == 0
    assert "| fused " in done.out
    results = json.loads((directory / "results_2d.json").read_text())
    assert results["num_images"] == 12
    rates = results["jdr"]["fused, crop threshold"]
    assert results["perf"] == pytest.approx(rates["mean"]) == pytest.approx(np.mean(list(rates["per_joint"].values())))
    with h5py.File(directory / "predicted_heatmaps.h5") as file:
        assert file["heatmaps"].shape == (12, 17, 16, 16)
        assert file["locations"].shape == (12, 17, 3)
        np.testing.assert_allclose(file["heatmaps"][:].max((2, 3)), file["locations"][..., 2], atol=1e-6)
        assert file["image_ids"][5].decode().split("_ca_")[1].startswith("02")


def test_train_trials_write_nothing(tiny_root, tiny_yaml, tmp_path, run_script, caplog):
    caplog.set_level(logging.INFO)
    cfg = tiny_yaml(tiny_root())
    done = run_script("pose2d/train.py", "--cfg", cfg, "--dry-run")
    assert done.code == 0
    assert "dry run: nothing was written" in caplog.text
    done = run_script("pose2d/train.py", "--cfg", cfg, "--overfit", 2, "--max-steps", 3)
    assert done.code == 1
    assert done.err.startswith("error: overfit: expected a loss of at most 5 % of that of empty heatmaps on 2 groups")
    assert done.err.count("\n") == 1
    assert not (tmp_path / "output").exists()
    for words in (("--max-steps", 0), ("--overfit", 0), ("--dry-run", "--overfit", 2)):
        assert run_script("pose2d/train.py", "--cfg", cfg, *words).code == 2


def test_train_stores_the_merged_configuration(tiny_root, tiny_yaml, tmp_path, run_script):
    cfg = tiny_yaml(tiny_root())
    done = run_script("pose2d/train.py", "--cfg", cfg, "--workers", 0, "--frequent", 7, "--opts", "TRAIN.END_EPOCH", 1)
    assert done.code == 0
    stored = yaml.safe_load((tmp_path / "output" / RUN / "config_train.yaml").read_text())
    assert stored["PRINT_FREQ"] == 7
    assert stored["TRAIN"]["END_EPOCH"] == 1
    assert stored["NETWORK"]["IMAGE_SIZE"] == [64, 64]


def test_train_resumed_run_ends_with_equal_weights(tiny_root, tiny_yaml, tmp_path, run_script):
    cfg = tiny_yaml(tiny_root())
    opts = (
        "--opts",
        "DATASET.TRAIN_DATASET",
        "mixed",
        "DATASET.SCALE_FACTOR",
        "0.2",
        "DATASET.ROT_FACTOR",
        "20",
        "TRAIN.LR_STEP",
        "[2]",
        "TRAIN.RESUME",
        "true",
    )
    whole = run_script("pose2d/train.py", "--cfg", cfg, "--modelDir", tmp_path / "whole", *opts, "TRAIN.END_EPOCH", 3)
    assert whole.code == 0
    for end in (1, 3):
        parts = run_script(
            "pose2d/train.py",
            "--cfg",
            cfg,
            "--modelDir",
            tmp_path / "parts",
            *opts,
            "TRAIN.END_EPOCH",
            end,
            "WORKERS",
            end - 1,
        )
        assert parts.code == 0
    assert "resumed from" in parts.out
    states = [
        torch.load(tmp_path / name / "mixed/multiview_pose_resnet_18/tiny/checkpoint.pth.tar", weights_only=True)
        for name in ("whole", "parts")
    ]
    assert states[0]["epoch"] == states[1]["epoch"] == 3
    assert states[0]["best_perf"] == states[1]["best_perf"]
    assert [row["learning_rate"] for row in states[1]["history"]] == pytest.approx([1e-3, 1e-3, 1e-4])
    for name, tensor in states[0]["state_dict"].items():
        assert torch.equal(tensor, states[1]["state_dict"][name]), name
    for index, state in states[0]["optimizer"]["state"].items():
        assert torch.equal(state["exp_avg_sq"], states[1]["optimizer"]["state"][index]["exp_avg_sq"])


def test_train_resumed_in_another_directory_finds_a_new_best(tiny_root, tiny_yaml, tmp_path, run_script):
    cfg = tiny_yaml(tiny_root(frames=2, mpii=0))
    assert run_script("pose2d/train.py", "--cfg", cfg, "--opts", "TRAIN.END_EPOCH", 1).code == 0
    run = "multiview_h36m/multiview_pose_resnet_18/tiny"
    path = tmp_path / "output" / run / "checkpoint.pth.tar"
    state = torch.load(path, weights_only=True)
    torch.save({**state, "best_perf": 0.99}, path)
    done = run_script(
        "pose2d/train.py",
        "--cfg",
        cfg,
        "--modelDir",
        tmp_path / "other",
        "--resume",
        path,
        "--opts",
        "TRAIN.END_EPOCH",
        2,
        "NETWORK.PRETRAINED",
        "nowhere.pth",
    )
    assert done.code == 0, done.err
    assert (tmp_path / "other" / run / "model_best.pth.tar").is_file()


def test_train_finished_run_other_data_change_nothing(tiny_root, tiny_yaml, tmp_path, run_script):
    """The path of the run directory does not depend on DATASET.ROOT."""
    end = ("TRAIN.RESUME", "true", "TRAIN.END_EPOCH", 1)
    assert run_script("pose2d/train.py", "--cfg", tiny_yaml(tiny_root(frames=2, mpii=0)), "--opts", *end).code == 0
    names = ("checkpoint.pth.tar", "final_state.pth.tar", "model_best.pth.tar", "metrics.jsonl", "config_train.yaml")
    files = [tmp_path / "output" / RUN / name for name in names]
    before = [path.read_bytes() for path in files]
    cfg = tiny_yaml(tiny_root(frames=3, mpii=0))
    refused = run_script("pose2d/train.py", "--cfg", cfg, "--opts", *end)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    for word in ("checkpoint.pth.tar", "2 groups), received 3 groups", "--opts NAME"):
        assert word in refused.err
    refused = run_script("pose2d/train.py", "--cfg", cfg, "--opts", "TRAIN.END_EPOCH", 1)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "holds another training (then ->" in refused.err  # a long line is cut in its middle
    assert "; add NAME tiny_2 to the --opts " in refused.err
    nothing = run_script("pose2d/train.py", "--cfg", cfg, "--opts", "TRAIN.BEGIN_EPOCH", 1, "TRAIN.END_EPOCH", 1)
    assert nothing.code == 0
    assert "nothing to train" in nothing.out
    wrong = run_script("pose2d/train.py", "--cfg", cfg, "--opts", "TRAIN.BEGIN_EPOCH", 3)
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert "TRAIN.BEGIN_EPOCH: expected at most TRAIN.END_EPOCH 2, received 3" in wrong.err
    assert [path.read_bytes() for path in files] == before


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.suffix != ".log"}


def test_train_finished_run_other_options_change_nothing(tiny_root, tiny_yaml, tmp_path, run_script):
    cfg = tiny_yaml(tiny_root(frames=2, mpii=0))
    directory = tmp_path / "output" / RUN
    opts = ("--cfg", cfg, "--opts", "TRAIN.RESUME", "true", "TRAIN.END_EPOCH")
    assert run_script("pose2d/train.py", *opts, 1).code == 0
    before = contents(directory)

    for end in (1, 2):
        refused = run_script("pose2d/train.py", *opts, end, "TRAIN.LR", 1e-5, "NETWORK.SIGMA", 3)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert "NETWORK.SIGMA 1.0 -> 3.0; " in refused.err
    nothing = run_script("pose2d/train.py", *opts, 1, "TRAIN.LR", 1e-6)
    assert nothing.code == 0
    assert "changed settings (then -> now): TRAIN.LR 0.001 -> 1e-06" in nothing.out
    assert "already finished at epoch 1, nothing to train" in nothing.out
    assert contents(directory) == before

    profiled = run_script("pose2d/train.py", *opts, 1, "--profile", 1)
    assert profiled.code == 0, profiled.err
    after = contents(directory)
    assert json.loads(after.pop("trace.json"))["traceEvents"]
    assert after == before

    other = run_script("pose2d/train.py", *opts, 1, "NETWORK.SIGMA", 3, "NAME", "sigma3")
    assert other.code == 0, other.err
    assert (directory.with_name("sigma3") / "final_state.pth.tar").is_file()
    assert contents(directory).keys() == {*before, "trace.json"}


HOLD = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"


def test_train_run_directory_in_use_is_refused(tiny_root, tiny_yaml, tmp_path, run_script):
    cfg = tiny_yaml(tiny_root(frames=1, mpii=0))
    directory = tmp_path / "output" / RUN
    directory.mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        done = run_script("pose2d/train.py", "--cfg", cfg)
        other.communicate(b"\n")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert f"{directory}: another process works there; train under another NAME" in done.err
    assert [path.name for path in directory.iterdir()] == [".lock"]


@pytest.mark.parametrize(("script", "code"), [("pose2d/train.py", 0), ("pose2d/valid.py", 2)])
def test_scripts_under_torchrun_start_no_processes(script, code, tiny_root, tiny_yaml, run_script, monkeypatch):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("lib.core.runtime.launch.run_processes", lambda *words: pytest.fail("others were started"))
    cfg = tiny_yaml(tiny_root(frames=1, mpii=0))
    done = run_script(script, "--cfg", cfg, "--gpus", "cpu,cpu", "--opts", "TRAIN.END_EPOCH", 0)
    assert done.code == code
    assert "no such checkpoint" in done.err or not code


@pytest.mark.parametrize("num_views", [2, 3, 5])
def test_train_and_valid_other_numbers_of_views_work(num_views, tiny_root, tiny_yaml, run_script):
    cfg = tiny_yaml(tiny_root(num_views=num_views, frames=2))
    size = ("--opts", "NETWORK.IMAGE_SIZE", "[64, 96]", "NETWORK.HEATMAP_SIZE", "[16, 24]", "TRAIN.END_EPOCH", 1)
    assert run_script("pose2d/train.py", "--cfg", cfg, *size).code == 0
    assert run_script("pose2d/valid.py", "--cfg", cfg, *size).code == 0


def test_valid_fusion_on_single_images_is_refused(tiny_root, tiny_yaml, run_script):
    cfg = tiny_yaml(tiny_root(frames=2))
    assert run_script("pose2d/train.py", "--cfg", cfg, "--opts", "TRAIN.END_EPOCH", 1).code == 0
    on_mpii = ("pose2d/valid.py", "--cfg", cfg, "--opts", "DATASET.TEST_DATASET", "mpii")
    refused = run_script(*on_mpii)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert refused.err.endswith("--opts NETWORK.FUSION none\n")
    assert run_script(*on_mpii, "NETWORK.FUSION", "none").code == 0


def test_valid_flip_test_with_fusion_is_refused(tiny_root, tiny_yaml, run_script):
    cfg = tiny_yaml(tiny_root(frames=2))
    refused = run_script("pose2d/valid.py", "--cfg", cfg, "--flip-test")
    assert refused.code == 2
    assert "fusion" in refused.err
    plain = ("--opts", "NETWORK.AGGRE", "false", "TRAIN.END_EPOCH", "1")
    assert run_script("pose2d/train.py", "--cfg", cfg, *plain).code == 0
    assert run_script("pose2d/valid.py", "--cfg", cfg, "--flip-test", "--state", "final", *plain).code == 0


@pytest.mark.parametrize("kind", ["epipolar_sum", "epipolar_max"])
def test_valid_epipolar_fusion_of_a_network_without_fusion_works(kind, tiny_root, tiny_yaml, tmp_path, run_script):
    cfg = tiny_yaml(tiny_root(num_views=3, frames=2))
    single = ("--cfg", cfg, "--opts", "NETWORK.AGGRE", "false")
    assert run_script("pose2d/train.py", *single).code == 0
    assert run_script("pose2d/valid.py", *single).code == 0
    directory = tmp_path / "output" / RUN
    own = {name: (directory / name).read_bytes() for name in ("predicted_heatmaps.h5", "results_2d.json")}
    assert json.loads(own["results_2d.json"])["fusion"] == "none"
    for flags in ((), ("--no-heatmaps",)):
        done = run_script("pose2d/valid.py", *single, "NETWORK.FUSION", kind, *flags)
        assert done.code == 0
        assert "| fused " in done.out
        assert "| single_view " in done.out
    place = directory / f"evaluations/fusion={kind}"
    assert json.loads((place / "results_2d.json").read_text())["fusion"] == kind
    with h5py.File(place / "predicted_heatmaps.h5") as file:
        assert np.abs(file["heatmaps"][:]).max() > 0
    assert own == {name: (directory / name).read_bytes() for name in own}


def test_train_adaptive_fusion_with_frozen_backbone_serves_other_numbers_of_views(
    tiny_root, tiny_yaml, tmp_path, run_script
):
    cfg = tiny_yaml(tiny_root(num_views=3, frames=2))
    single = ("NETWORK.AGGRE", "false", "TRAIN.END_EPOCH", 1)
    assert run_script("pose2d/train.py", "--cfg", cfg, "--modelDir", tmp_path / "single", "--opts", *single).code == 0
    weights = tmp_path / "single" / RUN / "final_state.pth.tar"
    opts = (
        "--opts",
        "NETWORK.FUSION",
        "adaptive",
        "TRAIN.FREEZE_BACKBONE",
        "true",
        "NETWORK.PRETRAINED",
        weights,
        "DATASET.TRAIN_DATASET",
        "mixed",
        "DATASET.ROT_FACTOR",
        20,
    )
    assert run_script("pose2d/train.py", "--cfg", cfg, *opts).code == 0
    fused = tmp_path / "output" / RUN.replace("multiview_h36m", "mixed") / "final_state.pth.tar"
    before, after = torch.load(weights), torch.load(fused)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert after["fusion.sharpness"] != 0  # the initial value
    other = tiny_yaml(tiny_root(num_views=5, frames=2))
    done = run_script("pose2d/valid.py", "--cfg", other, "--model-file", fused, "--opts", "NETWORK.FUSION", "adaptive")
    assert done.code == 0
    assert "| fused " in done.out


def test_valid_locations_only_make_pseudo_labels_but_no_poses(tiny_root, tiny_yaml, tmp_path, run_script):
    cfg = tiny_yaml(tiny_root(frames=2, mpii=0))
    assert run_script("pose2d/train.py", "--cfg", cfg, "--opts", "TRAIN.END_EPOCH", 1).code == 0
    words = ("--cfg", cfg, "--opts", "DATASET.TEST_SUBSET", "train")
    assert run_script("pose2d/valid.py", *words).code == 0
    path = tmp_path / "output" / RUN / "evaluations/subset=train/predicted_heatmaps.h5"
    whole = path.read_bytes()
    with h5py.File(path) as file:
        expected = {key: file[key][:] for key in file if key not in ("heatmaps", "single_view_peaks")}
    refused = run_script("pose2d/valid.py", "--locations-only", *words)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "has heatmaps, which the 3D scripts need and --locations-only would delete" in refused.err
    assert path.read_bytes() == whole
    path.unlink()
    done = run_script("pose2d/valid.py", "--locations-only", *words)
    assert done.code == 0, done.err
    assert f"locations in {path}" in done.out
    with h5py.File(path) as file:
        assert list(file) == list(expected)
        for key, values in expected.items():
            np.testing.assert_array_equal(file[key][:], values, err_msg=key)
    lenient = ("--root", tmp_path / "free", "--tolerance", 0.9, "--min-views", 2)
    labels = run_script("data/pseudo_labels.py", *lenient, *words)
    assert labels.code == 0, labels.err
    for script in ("pose3d/estimate.py", "pose3d/estimate_cuda.py"):
        refused = run_script(script, "--method", "triangulate", *words)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert "has no heatmaps" in refused.err
    assert run_script("pose2d/valid.py", "--locations-only", "--no-heatmaps", *words).code == 2
    assert run_script("pose2d/valid.py", "--locations-only", *words).code == 0  # locations may replace locations


def test_scripts_uncropped_images_work_from_training_to_poses(tiny_root, tiny_yaml, tmp_path, run_script):
    cfg = tiny_yaml(tiny_root(frames=2))
    opts = (
        "--opts",
        "DATASET.CROP",
        "false",
        "TRAIN.END_EPOCH",
        1,
        "PICT_STRUCT.FIRST_NBINS",
        8,
        "PICT_STRUCT.PAIRWISE_FILE",
        tmp_path / "pairwise.pkl",
    )
    for script in ("pose2d/train.py", "pose2d/valid.py", "data/make_limb_prior.py", "pose3d/estimate.py"):
        assert run_script(script, "--cfg", cfg, *opts).code == 0, script
    with h5py.File(tmp_path / "output" / RUN / "predicted_heatmaps.h5") as file:
        best = file["heatmaps"][:].reshape(-1, 256).argmax(-1)
        x, y, height = file["locations"][:].reshape(-1, 3).T
    positive = height > 0
    assert positive.any()
    scale = 200 / 16  # heatmap px of the whole image, which is 200 px wide
    np.testing.assert_allclose(
        np.stack([x, y])[:, positive], np.stack([best % 16, best // 16])[:, positive] * scale, atol=1e-3
    )
    assert (tmp_path / "output" / RUN / "results_3d.json").is_file()


def _zip_cut(root: Path) -> None:
    archive = root / "h36m/images.zip"
    archive.write_bytes(archive.read_bytes()[:-200])


def _first_image(root: Path) -> Path:
    return min((root / "h36m/images").glob("s_01*/*.jpg"))


@pytest.mark.parametrize(
    ("damage", "opts", "words"),
    [
        (lambda root: (root / "h36m").rename(root / "other"), (), ["h36m", "DATASET.ROOT"]),
        (lambda root: _first_image(root).unlink(), (), ["no such image", "s_01_act_03"]),
        (lambda root: _first_image(root).write_text("no picture"), (), ["not an image", "s_01_act_03"]),
        (_zip_cut, ("DATASET.DATA_FORMAT", "zip"), ["images.zip", "truncated"]),
        (lambda root: None, ("TRAIN.LEARNING_RATE", "1"), ["TRAIN.LEARNING_RATE", "--opts"]),
        (lambda root: None, ("TRAIN.LR", "fast"), ["TRAIN.LR", "number", "fast"]),
        (lambda root: None, ("TRAIN.LR",), ["KEY VALUE"]),
        (lambda root: None, ("NETWORK.HEATMAP_SIZE", "32"), ["HEATMAP_SIZE", "16"]),
        (lambda root: None, ("NETWORK.PRETRAINED", "models/none.pth"), ["models/none.pth", "NETWORK.PRETRAINED"]),
        (lambda root: None, ("OUTPUT_DIR", "/proc/nowhere"), ["/proc/nowhere"]),
        (lambda root: None, ("LOG_DIR", "/proc/nowhere"), ["/proc/nowhere", "cannot be created"]),
        (lambda root: None, ("DATASET.TEST_DATASET", "mpii"), ["DATASET.TEST_DATASET mpii", "4 views"]),
    ],
)
def test_train_bad_input_is_one_line(damage, opts, words, tiny_root, tiny_yaml, run_script):
    root = tiny_root(formats=("jpg", "zip"), frames=2)
    damage(root)
    done = run_script("pose2d/train.py", "--cfg", tiny_yaml(root), "--opts", "TRAIN.SHUFFLE", "false", *opts)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    for word in words:
        assert word in done.err


def test_train_error_in_a_loading_process_is_one_line(tiny_root, tiny_yaml, run_script):
    root = tiny_root(frames=2)
    _first_image(root).unlink()
    done = run_script("pose2d/train.py", "--cfg", tiny_yaml(root), "--workers", 1)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert "no such image" in done.err
    assert "Traceback" not in done.err


def test_train_out_of_memory_names_the_keys_that_save_memory(tiny_root, tiny_yaml, run_script, monkeypatch):
    def refuse(*words):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of")

    monkeypatch.setattr("lib.core.training.step.training_losses", refuse)
    done = run_script("pose2d/train.py", "--cfg", tiny_yaml(tiny_root(frames=1, mpii=0)))
    assert (done.code, done.err.count("\n")) == (2, 1)
    for word in ("BATCH_SIZE", "ACCUMULATE", "CHECKPOINT_ACTIVATIONS", "AMP", "run/pose2d/memory.py"):
        assert word in done.err


def _without_camera(records: list) -> None:
    del records[3]["camera"]


@pytest.mark.parametrize(
    ("edit", "num_views", "opts", "words"),
    [
        (_without_camera, 4, (), ["record 3", "camera"]),
        (lambda records: records[:-1], 4, ("DATASET.INCOMPLETE_GROUPS", "error"), ["1 of 2 groups", "view"]),
        (lambda records: records[:3] + [dict(records[7], image_id=9)], 4, (), ["2 of 2 groups", "view"]),
        (None, 1, (), ["at least 2 views"]),
    ],
)
def test_train_bad_annotation_is_one_line(edit, num_views, opts, words, tiny_root, tiny_yaml, run_script):
    root = tiny_root(num_views=num_views, frames=2, edit=edit)
    done = run_script("pose2d/train.py", "--cfg", tiny_yaml(root), "--opts", *opts)
    assert done.code == 2
    assert done.err.count("\n") == 1
    for word in words:
        assert word in done.err


def test_train_incomplete_groups_are_dropped_with_a_warning(tiny_root, tiny_yaml, run_script):
    root = tiny_root(frames=3, edit=lambda records: records[:-1])
    done = run_script("pose2d/train.py", "--cfg", tiny_yaml(root), "--opts", "TRAIN.END_EPOCH", 0)
    assert done.code == 0
    assert "1 of 3 groups" in done.out
    assert "training: 2 groups" in done.out


def test_valid_weights_of_another_network_keep_old_results(tiny_root, tiny_yaml, tmp_path, run_script):
    cfg = tiny_yaml(tiny_root(frames=2))
    assert run_script("pose2d/train.py", "--cfg", cfg, "--opts", "TRAIN.END_EPOCH", 1).code == 0
    assert run_script("pose2d/valid.py", "--cfg", cfg).code == 0
    directory = tmp_path / "output" / RUN
    before = {name: (directory / name).read_bytes() for name in ("predicted_heatmaps.h5", "results_2d.json")}
    done = run_script(
        "pose2d/valid.py",
        "--cfg",
        cfg,
        "--model-file",
        directory / "model_best.pth.tar",
        "--modelDir",
        tmp_path / "output",
        "--opts",
        "BACKBONE_MODEL",
        "pose_mobilenetv2",
    )
    assert done.code == 2
    assert "model_best.pth.tar" in done.err
    (directory / "model_best.pth.tar").write_bytes(b"cut")
    assert run_script("pose2d/valid.py", "--cfg", cfg).code == 2
    assert before == {name: (directory / name).read_bytes() for name in before}
