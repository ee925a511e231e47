"""Total Capture from training to the report, as a user runs it."""

from __future__ import annotations

import csv
import json
import re

import h5py
import numpy as np
import pytest
from cvf_tests.predictions import take_for_default, write_perfect_predictions
from cvf_tests.tiny_data import TOTALCAPTURE_RECORDINGS

from lib.core.config_io import load_config
from lib.core.pose3d.frames import load_frames
from lib.core.pose3d.learned_file import learned_path, save_learned
from lib.core.pose3d.methods import METHODS
from lib.core.pose3d.train_refinement import untrained
from lib.core.run_directory import run_directory
from lib.models.registry import fusion_name

# names in training, the toolbox's numbers in validation
RECORDINGS = TOTALCAPTURE_RECORDINGS | {
    "validation": [
        (subject, {"Walking": 2, "Freestyle": 5, "Acting": 3}[name], number)
        for subject, name, number in TOTALCAPTURE_RECORDINGS["validation"]
    ]
}


@pytest.fixture
def words(tiny_totalcapture, tiny_yaml, tmp_path, monkeypatch):
    """The words of the command line: --cfg YAML --opts ... for 4 of the 8 cameras."""
    take_for_default(monkeypatch, "PICT_STRUCT", "FIRST_NBINS", 12)
    opts = [
        "DATASET.TRAIN_DATASET",
        "multiview_totalcapture",
        "DATASET.TEST_DATASET",
        "multiview_totalcapture",
        "DATASET.CAMERAS",
        "[0, 2, 4, 6]",
        "TRAIN.END_EPOCH",
        "1",
        "PICT_STRUCT.FIRST_NBINS",
        "12",
        "PICT_STRUCT.PAIRWISE_FILE",
        str(tmp_path / "pict/pairwise_totalcapture.pkl"),
    ]
    return ["--cfg", str(tiny_yaml(tiny_totalcapture(RECORDINGS))), "--opts", *opts]


def run(run_script, script, *args):
    done = run_script(script, *args)
    assert done.code == 0, done.err
    return done


def table(text, heading):
    """Rows of the printed table whose first column has a heading: first cell -> the other cells."""
    lines = text[text.index(f"| {heading} ") :].split("\n\n")[0].splitlines()
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return header[1:], {row[0]: row[1:] for row in rows}


def expected_table(path):
    """Means per sequence of seen (1, 2, 3), unseen (4, 5) and all subjects, mm, as printed; from poses and names."""
    stored = np.load(path)
    error = np.linalg.norm(stored["pose_world"] - stored["gt_world"], axis=-1).mean(1)
    parts = [re.match(r"s_0(\d)_act_0(\d)_subact_0(\d)_ca_01/", name).groups() for name in stored["image_ids"][:, 0]]
    subject, action, _ = np.array(parts, int).T
    who = [subject <= 3, subject >= 4, subject > 0]
    rows = {"W2": action == 2, "FS3": action == 5, "A3": action == 3}
    means = {name: [error[inside & chosen].mean() for chosen in who] for name, inside in rows.items()}
    means["**mean over sequences**"] = np.mean([means[name] for name in rows], 0)
    means["**mean over frames**"] = [error[chosen].mean() for chosen in who]
    return means


def test_from_training_to_the_report(run_script, words, tmp_path):
    directory = run_directory(load_config(words[1], words[3:]), words[1])
    assert directory == tmp_path / "output/multiview_totalcapture/multiview_pose_resnet_18/tiny"
    assert "training: 6 groups" in run(run_script, "pose2d/train.py", *words).out
    assert "15 groups of 4 views" in run(run_script, "pose2d/valid.py", *words).out
    with h5py.File(directory / "predicted_heatmaps.h5") as file:
        assert file["heatmaps"].shape == (60, 16, 16, 16)
        assert [name.decode() for name in file["joint_names_order"]][8:11] == ["neck", "nose", "lsho"]
    rates = json.loads((directory / "results_2d.json").read_text())["jdr"]["fused, crop threshold"]["per_joint"]
    assert len(rates) == 16

    prior = run(run_script, "data/make_limb_prior.py", *words).out
    assert "15 limbs from 6 training poses" in prior
    assert "| neck-nose " in prior

    done = run(run_script, "pose3d/estimate.py", *words)
    header, printed = table(done.out, "MPJPE per sequence")
    assert header == ["seen subjects", "unseen subjects", "all subjects"]
    expected = expected_table(directory / "poses3d.npz")
    assert printed.keys() == expected.keys()
    for name, cells in printed.items():
        np.testing.assert_allclose(np.array(cells, float), expected[name], atol=0.051, err_msg=name)
    assert set(table(done.out, "action")[1]) >= {"Acting 3", "Freestyle 3", "Walking 2"}
    results = json.loads((directory / "results_3d.json").read_text())["rpsm (numpy)"]
    for name in ("W2", "FS3", "A3"):
        assert results["per_part"][name]["unseen subjects"]["num_frames"] == 2
        assert results["per_part"][name]["seen subjects"]["absolute"] == pytest.approx(expected[name][0])
    with (directory / "results_3d.csv").open(newline="") as file:
        values = {
            row["name"]: row["value"]
            for row in csv.DictReader(file)
            if (row["group"], row["alignment"], row["statistic"]) == ("part", "absolute", "mean")
        }
    assert float(values["FS3, unseen subjects"]) == pytest.approx(expected["FS3"][1])

    report = run(
        run_script, "pose3d/report.py", *words[:2], "--sequence", 4, "Walking", 2, "--format", "gif", *words[2:]
    )
    page = (directory / "report/report.md").read_text()
    assert table(page, "MPJPE per sequence") == (header, printed)
    assert "paper: Fusion, Total Capture, RPSM" in page
    assert (directory / "report/sequence_4_Walking_2.gif").is_file()
    assert report.err == ""


def test_every_method_on_16_joints(run_script, words):
    """Perfect maps lead to the truth; numpy and torch to the same poses."""
    words += ["NETWORK.IMAGE_SIZE", "256", "NETWORK.HEATMAP_SIZE", "64"]
    config = load_config(words[1], words[3:])
    directory = run_directory(config, words[1])
    write_perfect_predictions(config, directory, sigma=2.0)
    run(run_script, "data/make_limb_prior.py", *words)
    learned = untrained(load_frames(config).joint_set.names, fusion_name(config.NETWORK))
    save_learned(learned_path(config, directory), learned)
    # mm; the people's limbs are 25 mm longer or shorter from frame to frame, which the refinement takes for noise
    most = {
        "rpsm": 20,
        "rpsm+refine": 12,
        "rpsm+learned": 12,
        "psm": 120,
        "triangulate": 1e-3,
        "triangulate_robust": 1e-3,
    }
    assert most.keys() == METHODS.keys()
    for method, limit in most.items():
        name = "poses3d.npz" if method == "rpsm" else f"poses3d_{method}.npz"
        run(run_script, "pose3d/estimate.py", "--method", method, *words)
        run(
            run_script,
            "pose3d/estimate_cuda.py",
            "--device",
            "cpu",
            "--method",
            method,
            "--poses",
            "torch.npz",
            "--check",
            name,
            *words,
        )
        numpy = np.load(directory / name)
        torch = np.load(directory / "torch.npz")
        assert numpy["pose_world"].shape == numpy["gt_world"].shape == (15, 16, 3)
        assert numpy["joint_names"][9:11].tolist() == ["nose", "lsho"]
        assert np.linalg.norm(numpy["pose_world"] - numpy["gt_world"], axis=-1).mean() < limit, method
        np.testing.assert_allclose(numpy["pose_world"], torch["pose_world"], atol=0.1, err_msg=method)
    results = json.loads((directory / "results_3d.json").read_text())
    assert set(results) == {f"{method} ({library})" for method in METHODS for library in ("numpy", "torch")}


def test_input_that_cannot_be_used(run_script, words):
    renamed = run_script("pose2d/train.py", *words, "DATASET.TOTALCAPTURE_ACTIONS", "[ROM, Jumping]")
    assert (renamed.code, renamed.err.count("\n")) == (2, 1)
    assert "DATASET.TOTALCAPTURE_ACTIONS" in renamed.err
    short = run_script("pose2d/valid.py", *words, "DATASET.TOTALCAPTURE_ACTIONS", "[ROM, Walking, Acting]")
    assert (short.code, short.err.count("\n")) == (2, 1)
    assert "unknown actions 5;" in short.err
    missing = run_script("pose3d/estimate.py", *words, "DATASET.CAMERAS", "[1, 9]")
    assert (missing.code, missing.err.count("\n")) == (2, 1)
    assert "expected different camera_id out of [0, 1, 2, 3, 4, 5, 6, 7]" in missing.err
