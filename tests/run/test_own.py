"""The scripts for own cameras, run as a user runs them."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from cvf_tests.own_recording import make_recording
from cvf_tests.pages import open_browser

from lib.core.config_io import load_config
from lib.core.own_cameras import heatmap_poses
from lib.core.run_directory import run_directory


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_recording(tmp_path_factory.mktemp("recording"))


def test_multiview_poses_from_detections(run_script, files, tmp_path):
    out = tmp_path / "out"
    flags = ["--leave-one-out", "--smooth", "5", "--export", "trc", "bvh"]
    done = run_script("demo/multiview.py", *files.flags(), "--out", out, *flags)
    assert done.code == 0, done.err
    assert "| view left out |" in done.out
    assert {path.name for path in out.iterdir()} == {
        "poses3d.npz",
        "poses3d.csv",
        "poses.mp4",
        "frames.jpg",
        "report.md",
        "report.html",
        "results.json",
        "poses3d.trc",
        "poses3d.bvh",
    }
    poses = np.load(out / "poses3d.npz")
    np.testing.assert_allclose(poses["confidence"], poses["kept"].sum(1) / 4)
    assert np.median(np.linalg.norm(poses["pose_world"] - files.pose_world, axis=-1)) < 15
    with open(out / "poses3d.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    assert float(rows[7]["lwri_z_mm"]) == pytest.approx(poses["pose_world"][7, 13, 2], abs=0.01)
    results = json.loads((out / "results.json").read_text())
    assert results["statistics"]["swapped"]["left"]["hip, kne, ank"] == [8, 9, 10, 11, 12, 13]
    assert results["rig"]["off"] == []
    assert all(view["median"] < 2 for view in results["leave_one_out_px"].values())


def test_multiview_frame_numbers_agree_in_all_files(run_script, files, tmp_path):
    out = tmp_path / "out"
    done = run_script("demo/multiview.py", *files.flags(), "--out", out, "--frames", "6", "20", "--no-video")
    assert done.code == 0, done.err
    with open(out / "poses3d.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["frame"]) for row in rows] == list(range(6, 20))
    assert rows[0]["time_s"] == "0.2000"
    poses = np.load(out / "poses3d.npz")
    results = json.loads((out / "results.json").read_text())
    assert poses["frame"].tolist() == list(range(6, 20))
    assert poses["time_s"][0] == pytest.approx(0.2)
    assert results["frames"] == {"numbered_as": "front", "first": 6, "last": 19}
    assert results["statistics"]["swapped"]["left"]["hip, kne, ank"] == [8, 9, 10, 11, 12, 13]
    text = (out / "report.md").read_text()
    assert "numbered as in the video of front: 6 to 19, counted from 0, at 0.20 to 0.63 s" in text
    assert "|   8-13 |" in text


def test_multiview_files_of_earlier_poses_are_removed(run_script, files, tmp_path):
    out = tmp_path / "out"
    flags = [*files.flags(), "--out", out, "--frames", "6", "9"]
    assert run_script("demo/multiview.py", *flags).code == 0
    (out / "notes.txt").write_text("of the user")
    assert run_script("demo/multiview.py", *flags, "--tolerance", "1e-7").code == 2
    assert (out / "poses.mp4").exists()  # refused input changes nothing
    assert run_script("demo/multiview.py", *flags, "--no-video").code == 0
    assert {path.name for path in out.iterdir()} == {
        "notes.txt",
        "poses3d.npz",
        "poses3d.csv",
        "frames.jpg",
        "report.md",
        "report.html",
        "results.json",
    }
    assert run_script("demo/multiview.py", *flags[2:]).code == 0
    assert not (out / "frames.jpg").exists()


def test_multiview_two_views_without_videos(run_script, files, tmp_path):
    flags = [*files.flags()[2:], "--views", "front", "left"]
    done = run_script("demo/multiview.py", *flags, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert not (tmp_path / "out/poses.mp4").exists()
    assert "fit together" in (tmp_path / "out/report.md").read_text()


@pytest.mark.slow
def test_multiview_page_opens_in_chromium(run_script, files, tmp_path):
    assert run_script("demo/multiview.py", *files.flags(), "--out", tmp_path, "--no-video").code == 0
    with open_browser() as browser:
        browser.open(tmp_path / "report.html")
        browser.click("worst")
        assert "supporting views" in browser.text("label")
        assert browser.messages() == []
        assert browser.requests() == [(tmp_path / "report.html").resolve().as_uri()]


@pytest.mark.slow
def test_prepare_own_training_and_multiview_with_the_network(run_script, files, tiny_yaml, tmp_path):
    root = tmp_path / "root"
    done = run_script("data/prepare_own.py", *files.flags(), "--root", root, "--validation", "14", "20")
    assert done.code == 0, done.err
    again = run_script("data/prepare_own.py", *files.flags(), "--root", root)
    assert again.code == 2
    assert "--force" in again.err
    yaml = tiny_yaml(root, resnet=True)
    trained = run_script("pose2d/train.py", "--cfg", yaml, "--opts", "TRAIN.END_EPOCH", "1")
    assert trained.code == 0, trained.err
    weights = run_directory(load_config(yaml), yaml) / "final_state.pth.tar"
    out = tmp_path / "out"
    flags = [
        "demo/multiview.py",
        *files.flags(),
        "--cfg",
        yaml,
        "--checkpoint",
        weights,
        "--out",
        out,
        "--frames",
        "14",
        "18",
        "--min-views",
        "2",
        "--tolerance",
        "0.9",
        "--no-video",
    ]
    shown = run_script(*flags, "--method", "triangulate")
    assert shown.code == 0, shown.err
    assert np.load(out / "poses3d.npz")["pose_world"].shape == (4, 17, 3)
    other = run_script(*flags, "--views", "front", "left", "back")
    assert other.code == 2
    assert "NETWORK.FUSION learned: expected the 4 cameras of the training" in other.err
    single = run_script(
        *flags, "--views", "front", "left", "back", "--method", "triangulate", "--opts", "NETWORK.FUSION", "none"
    )
    assert single.code == 0, single.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "rpsm"], "needs --cfg and --checkpoint"),
        (["--checkpoint", "none.pth.tar"], "--checkpoint needs --cfg"),
        (["--smooth", "20"], "less than half of 30 Hz"),
        (["--min-views", "7"], "expected 2 to 4"),
        (["--frames", "30", "40"], "--frames: expected START below STOP within 0 20"),
        (["--views", "front", "top"], "unknown camera 'top'"),
        (["--detections", "nowhere"], "expected a folder of detections"),
        (["--tolerance", "1e-7"], "agree on no joint in any frame. The cameras fit together"),
        (["--tolerance", "5"], "between 0 and 1, received 5"),
        (["--cfg", "experiments-local/own/resnet18/96_fusion.yaml"], "--cfg and --opts configure a network"),
        (["--opts", "TRAIN.LR", "1"], "--cfg and --opts configure a network"),
        (["--leave-one-out", "--views", "front", "left"], "--leave-one-out needs 3 views, received 2"),
        (["--frames", "10", "50"], "that all views show; received 10 50"),
        (["--unit", "mm"], "--unit m fits"),
        (["--fps", "inf"], "--fps: expected a positive number, received inf"),
        (["--first-frame", "1"], "frame 0 comes before --first-frame 1"),
    ],
)
def test_multiview_invalid_input_is_one_line(run_script, files, tmp_path, flags, message):
    done = run_script("demo/multiview.py", *files.flags(), "--out", tmp_path / "out", *flags)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_multiview_cameras_that_do_not_fit_are_reported(run_script, files, tmp_path):
    tables = files.cameras.read_text().split("rotation = ")
    turned = [tables[0], *(f"[0.0, 0.0, 0.0]{table[table.index(chr(10)) :]}" for table in tables[1:])]
    (tmp_path / "Calib.toml").write_text("rotation = ".join(turned))
    flags = ["--cameras", tmp_path / "Calib.toml", *files.flags()[4:], "--views", "front", "left"]
    done = run_script("demo/multiview.py", *flags, "--out", tmp_path / "out")
    assert done.code == 2
    assert "agree on no joint in any frame. The cameras do not fit together, and too few agree" in done.err
    assert len(done.err.strip().splitlines()) == 1


def test_missing_blazepose_package_is_one_line(run_script, files, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    monkeypatch.setattr(heatmap_poses, "fetch_blazepose", lambda folder: None)
    monkeypatch.setattr("lib.utils.tflite.Path.is_file", lambda path: path.suffix == ".tflite")
    message = "error: the package ai-edge-litert is not installed; pip install -r requirements-demo.txt\n"
    for script, out in (("data/detect_people.py", "found.npz"), ("demo/multiview.py", "out")):
        done = run_script(script, *files.flags()[:4], "--out", tmp_path / out)
        assert done.code == 2
        assert done.err.endswith(message)


def test_multiview_single_frame_with_smoothing(run_script, files, tmp_path):
    flags = [*files.flags()[2:], "--frames", "0", "1", "--smooth", "6", "--out", tmp_path / "out"]
    done = run_script("demo/multiview.py", *flags)
    assert (done.code, done.err) == (0, "")
    pose = np.load(tmp_path / "out/poses3d.npz")["pose_world"]
    assert np.median(np.linalg.norm(pose - files.pose_world[:1], axis=-1)) < 15


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max-side", "0"], "--max-side: expected at least 32 px, received 0"),
        (["--max-side", "-5"], "received -5"),
        (["--jpeg-quality", "500"], "--jpeg-quality: expected 1 to 100, received 500"),
        (["--validation", "0", "20"], "with frames left for training"),
    ],
)
def test_prepare_own_invalid_input_is_refused(run_script, files, tmp_path, flags, message):
    done = run_script("data/prepare_own.py", *files.flags(), "--root", tmp_path / "root", *flags)
    assert done.code == 2
    assert message in done.err
    assert not (tmp_path / "root").exists()


@pytest.mark.slow
def test_multiview_blazepose_on_the_demo_recording(run_script, tmp_path):
    """Needs the package ai-edge-litert, and the files of run/demo/fetch_demo.py and fetch_blazepose.py."""
    pytest.importorskip("ai_edge_litert")
    repository = Path(__file__).resolve().parents[2]
    videos = repository / "data/demo/videos"
    if not videos.is_dir() or not (repository / "models/blazepose/pose_detection.tflite").is_file():
        pytest.skip("run/demo/fetch_demo.py and run/demo/fetch_blazepose.py were not run")
    cameras = repository / "run/demo/pose2sim_demo.toml"
    out = tmp_path / "out"
    flags = ["--videos", videos, "--cameras", cameras, "--out", out, "--frames", "0", "12", "--no-video"]
    done = run_script("demo/multiview.py", *flags)
    assert done.code == 0, done.err
    statistics = json.loads((out / "results.json").read_text())["statistics"]
    assert statistics["kept_share"] > 0.9
    assert all(330 < statistics["limbs"][name]["mean"] < 450 for name in ("rkne-rank", "lkne-lank", "rhip-rkne"))
    assert "frames per second: search" in (out / "report.md").read_text()
