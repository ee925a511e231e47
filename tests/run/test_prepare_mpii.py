"""prepare_mpii.py from the command line, and training and validation on what it makes."""

from __future__ import annotations

import json
import re

import h5py
import numpy as np
import pytest
from cvf_tests.release import image, make_world, person, write_release

from lib.utils.joints import MPII_16


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A .mat file of ten synthetic images, a list of the six validation images, and the images."""
    folder = tmp_path_factory.mktemp("mpii")
    train, valid = make_world(folder / "world", 4, 6)
    images = [image(record["image"], [person(record)]) for record in [*train, *valid]]
    write_release(folder / "mpii.mat", [*images, image("test.jpg", [], is_train=False)])
    (folder / "cut.mat").write_bytes((folder / "mpii.mat").read_bytes()[:3000])
    (folder / "valid.txt").write_text("\n".join(record["image"] for record in valid))
    return folder


def mean_pckh(predictions, records, share):
    """PCKh over all joints but root and thorax, from the files as they are."""
    with h5py.File(predictions) as file:
        names = [name.decode() for name in file["joint_names_order"]]
        found = file["locations"][: len(records), :, :2]
    order = [MPII_16.index(name) for name in names]
    gt = np.array([record["joints"] for record in records])[:, order] - 1
    counts = np.array([record["joints_vis"] for record in records])[:, order] == 1
    counts[:, [names.index("root"), names.index("thorax")]] = False
    x1, y1, x2, y2 = np.array([record["head_box"] for record in records]).T
    near = np.hypot(*np.moveaxis(found - gt, -1, 0)) <= share * 0.6 * np.hypot(x2 - x1, y2 - y1)[:, None]
    return near[counts].mean()


def test_prepare_mpii_data_train_and_validate(world, tiny_yaml, tmp_path, run_script):
    root = tmp_path / "root"
    done = run_script(
        "data/prepare_mpii.py",
        "--mat",
        world / "mpii.mat",
        "--root",
        root,
        "--valid-list",
        world / "valid.txt",
        "--zip",
        "--images",
        world / "world/mpii/images",
    )
    assert done.code == 0
    assert done.out == (root / "mpii/annot/prepare_mpii.md").read_text()
    assert "| valid.json    |      6 |" in done.out

    cfg = tiny_yaml(root, resnet=True)
    opts = (
        "--opts",
        "DATASET.TRAIN_DATASET",
        "multiview_mpii",
        "DATASET.TEST_DATASET",
        "mpii",
        "NETWORK.AGGRE",
        "false",
        "DATASET.DATA_FORMAT",
        "zip",
        "TRAIN.END_EPOCH",
        1,
        "TEST.JDR_THRESHOLD",
        "head",
    )
    trained = run_script("pose2d/train.py", "--cfg", cfg, *opts)
    assert trained.code == 0
    assert trained.out.count("| PCKh@0.5 (%) |") == 1

    records = json.loads((root / "mpii/annot/valid.json").read_text())
    weights = tmp_path / "output/multiview_mpii/multiview_pose_resnet_18/tiny/final_state.pth.tar"
    scores = {}
    for name, rows in (("mpii", 6), ("multiview_mpii", 8)):
        directory = tmp_path / name / "multiview_mpii/multiview_pose_resnet_18/tiny"
        valid = run_script(
            "pose2d/valid.py",
            "--cfg",
            cfg,
            "--model-file",
            weights,
            "--modelDir",
            tmp_path / name,
            *opts,
            "DATASET.TEST_DATASET",
            name,
        )
        assert valid.code == 0
        (header, _, line) = re.findall(r"^\|.*", valid.out, re.MULTILINE)[-3:]
        assert [cell.strip() for cell in header.split("|")[1:-1]] == [
            "PCKh@0.5 (%)",
            "Head",
            "Shoulder",
            "Elbow",
            "Wrist",
            "Hip",
            "Knee",
            "Ankle",
            "Mean",
            "Mean@0.1",
        ]
        results = json.loads((directory / "results_2d.json").read_text())
        assert results["num_images"] == 6
        scores[name] = results["pckh"]["single_view"]
        for share in (0.5, 0.1):
            expected = mean_pckh(directory / "predicted_heatmaps.h5", records, share)
            assert scores[name][f"PCKh@{share}"]["Mean"] == pytest.approx(expected)
        assert line.split("|")[9].strip() == f"{100 * scores[name]['PCKh@0.5']['Mean']:.1f}"
        assert results["perf"] == results["jdr"]["single_view, head threshold"]["mean"]
        with h5py.File(directory / "predicted_heatmaps.h5") as file:
            assert file["heatmaps"].shape == (rows, 16, 16, 16)
    assert scores["mpii"] == scores["multiview_mpii"]
    assert scores["mpii"]["PCKh@0.5"]["Mean"] > 0


def test_prepare_mpii_without_head_boxes_validation_explains_missing_pckh(tiny_root, tiny_yaml, tmp_path, run_script):
    cfg = tiny_yaml(tiny_root(frames=1, mpii=4))
    opts = (
        "--opts",
        "DATASET.TRAIN_DATASET",
        "mpii",
        "DATASET.TEST_DATASET",
        "mpii",
        "NETWORK.AGGRE",
        "false",
        "TRAIN.END_EPOCH",
        1,
    )
    assert run_script("pose2d/train.py", "--cfg", cfg, *opts).code == 0
    done = run_script("pose2d/valid.py", "--cfg", cfg, "--state", "final", *opts)
    assert done.code == 0
    assert len(re.findall(r".*PCKh.*", done.out)) == 1
    assert "no PCKh: " in done.out
    directory = tmp_path / "output/mpii/multiview_pose_resnet_18/tiny/evaluations/weights=final_state"
    results = json.loads((directory / "results_2d.json").read_text())
    assert results["pckh"] == {}
    refused = run_script("pose2d/valid.py", "--cfg", cfg, *opts, "TEST.JDR_THRESHOLD", "head")
    assert refused.code == 2
    assert refused.err.startswith("error: TEST.JDR_THRESHOLD head: ")
    assert refused.err.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--mat", "none.mat"), "none.mat: no such file"),
        (("--mat", "valid.txt"), "valid.txt: not a MATLAB file, or truncated"),
        (("--mat", "cut.mat"), "cut.mat: not a MATLAB file, or truncated"),
        (("--mat", "mpii.mat", "--valid-list", "none.txt"), "none.txt: no such file"),
        (("--mat", "mpii.mat", "--valid-list", "mpii.mat"), "mpii.mat: not a list of validation images"),
        (("--mat", "mpii.mat"), "root/mpii/images: 10 of 10 images are missing, the first is '000000000.jpg'"),
        (("--mat", "mpii.mat", "--images", "world"), "--images: valid only with --zip"),
    ],
)
def test_prepare_mpii_bad_input_ends_in_one_line(world, run_script, monkeypatch, flags, words):
    monkeypatch.chdir(world)
    done = run_script("data/prepare_mpii.py", "--root", "root", *flags)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert words in done.err
    assert not (world / "root").exists()


def test_prepare_mpii_foreign_files_are_not_replaced(world, run_script, tmp_path):
    annot = tmp_path / "mpii/annot"
    annot.mkdir(parents=True)
    (annot / "train.json").write_text("[]")
    words = ["data/prepare_mpii.py", "--mat", world / "mpii.mat", "--root", tmp_path, "--allow-missing"]
    done = run_script(*words)
    assert (done.code, "train.json: exists and was not made by this" in done.err) == (2, True)
    assert [file.name for file in annot.iterdir()] == ["train.json"]
    assert "--allow-missing: " not in run_script(*words, "--force").err
