"""report.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest
from cvf_tests.pages import open_browser
from cvf_tests.predictions import write_perfect_predictions, write_poses
from cvf_tests.scripts import REPOSITORY, WITHOUT_TORCH
from PIL import Image

from lib.core.config_io import load_config
from lib.core.run_directory import run_directory


@pytest.fixture
def cfg(tiny_root, tiny_yaml):
    """YAML of an experiment with poses of 5 test frames: 30 mm too high ("rpsm") and exact ("exact")."""
    path = tiny_yaml(tiny_root(frames=5, mpii=0))
    config = load_config(path)
    directory = run_directory(config, path)
    frames = write_perfect_predictions(config, directory)
    write_poses(config, directory, frames.gt_world, "exact.npz", "exact")
    write_poses(config, directory)
    return path


@pytest.fixture
def directory(cfg):
    """Run directory of the experiment."""
    return run_directory(load_config(cfg), cfg)


@pytest.fixture
def no_charts(monkeypatch):
    """Reports have no charts and no contact sheet, which take most of the time."""
    for name in ("make_error_charts", "make_comparison_charts", "make_contact_sheet"):
        monkeypatch.setattr(f"lib.core.report.report_page.{name}", lambda *words: [])


def test_report_defaults_write_page_and_figures(run_script, cfg, directory):
    done = run_script("pose3d/report.py", "--cfg", cfg)
    assert (done.code, done.err) == (0, "")
    report = directory / "report"
    text = (report / "report.md").read_text()
    assert text.startswith("# 3D results: tiny: rpsm\n")
    assert "| rwri " in text
    assert "paper: Fusion, H36M+MPII, RPSM" in text
    linked = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert {"error_histogram.png", "error_per_joint.png", "error_per_action.png", "../contact_sheet.png"} < set(linked)
    assert all(cv2.imread(str(report / name)) is not None for name in linked)
    on_disk = {path.name for path in report.iterdir()}
    assert on_disk == {name for name in linked if "/" not in name} | {
        "report.md",
        "report.html",
        "comparison.md",
        "comparison.csv",
    }
    assert "## Means" not in done.out  # the comparison is printed only on request


@pytest.mark.slow
def test_report_page_opens_in_chromium(run_script, cfg, directory):
    assert run_script("pose3d/report.py", "--cfg", cfg).code == 0
    with open_browser() as browser:
        browser.open(directory / "report/report.html")
        assert browser.text("title") == "3D results: tiny: rpsm"
        browser.click("worst")
        assert browser.text("label").endswith("error 30 mm")
        assert browser.messages() == []
        assert browser.requests() == [(directory / "report/report.html").resolve().as_uri()]


def test_report_frames_animations_and_compared_run(run_script, cfg, directory, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "results_3d.json").write_bytes((directory / "results_3d.json").read_bytes())
    done = run_script(
        "pose3d/report.py",
        "--cfg",
        cfg,
        "--poses",
        "exact.npz",
        "--frames",
        1,
        3,
        "--animate",
        0,
        3,
        "--sequence",
        9,
        "Discussion",
        "--format",
        "gif",
        "--fps",
        5,
        "--compare",
        other,
    )
    assert (done.code, done.err) == (0, "")
    report = directory / "report_exact"
    assert (directory / "contact_sheet_exact.png").is_file()
    assert not (directory / "report").exists()
    assert sorted(path.name for path in report.glob("frame_*.png")) == ["frame_000001.png", "frame_000003.png"]
    with Image.open(report / "frames_0_3.gif") as image:
        assert (image.n_frames, image.info["duration"]) == (3, 200)
    with Image.open(report / "sequence_9_Discussion.gif") as image:
        assert image.n_frames == 2
    assert (report / "report.md").read_text().startswith("# 3D results: tiny: exact\n")
    assert "| tiny: exact " in done.out
    assert "| other: rpsm " in done.out
    assert "| paper: Single, H36M, RPSM " in done.out


@pytest.mark.usefixtures("no_charts")
def test_report_figures_of_replaced_poses_are_removed(run_script, cfg, directory):
    words = ("pose3d/report.py", "--cfg", cfg, "--frames")
    assert run_script(*words, 1, "--animate", 0, 2, "--format", "gif").code == 0
    report, poses = directory / "report", directory / "poses3d.npz"
    assert run_script(*words, 2).code == 0
    assert {path.name for path in report.glob("frame*")} == {"frame_000001.png", "frame_000002.png", "frames_0_2.gif"}
    later = (report / "frame_000002.png").stat().st_mtime + 10
    os.utime(poses, (later, later))
    assert run_script(*words, 3).code == 0
    assert {path.name for path in report.glob("frame*")} == {"frame_000003.png"}


def test_report_tables_only_needs_no_images_and_no_torch(cfg, directory, tmp_path):
    for path in [*(tmp_path / "root_0").rglob("*.jpg"), *directory.glob("*.npz"), *directory.glob("*.h5")]:
        path.unlink()
    words = [sys.executable, "-c", WITHOUT_TORCH, str(REPOSITORY / "run/pose3d/report.py")]
    done = subprocess.run([*words, "--cfg", str(cfg), "--tables-only"], capture_output=True, text=True, cwd=REPOSITORY)
    assert (done.returncode, done.stderr) == (0, "")
    assert "| tiny: rpsm " in done.stdout
    assert {path.name for path in (directory / "report").iterdir()} == {"comparison.md", "comparison.csv"}


@pytest.mark.parametrize("words", [[], ["--tables-only"]])
def test_report_poses_elsewhere_are_reported_in_run_directory(run_script, cfg, directory, tmp_path, words):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (directory / "exact.npz").rename(elsewhere / "exact.npz")
    done = run_script("pose3d/report.py", "--cfg", cfg, "--poses", elsewhere / "exact.npz", "--frames", 0, *words)
    assert (done.code, done.err) == (0, "")
    assert [path.name for path in elsewhere.iterdir()] == ["exact.npz"]
    assert (directory / "report_exact/comparison.md").is_file()
    assert (directory / "contact_sheet_exact.png").is_file() == (not words)


def test_report_default_poses_follow_configuration(run_script, cfg, directory):
    (directory / "exact.npz").rename(directory / "poses3d_rpsm+refine_FIRST_NBINS_12.npz")
    words = ["--opts", "PICT_STRUCT.REFINE", "true", "PICT_STRUCT.FIRST_NBINS", 12]
    done = run_script("pose3d/report.py", "--cfg", cfg, "--frames", 0, *words)
    assert (done.code, done.err) == (0, "")
    assert (directory / "report_poses3d_rpsm+refine_FIRST_NBINS_12/report.md").is_file()


def test_report_unknown_poses_are_named_by_file(run_script, cfg, directory):
    poses = dict(np.load(directory / "poses3d.npz"))
    np.savez(directory / "mine.npz", **{**poses, "pose_world": poses["pose_world"] + 1})
    done = run_script("pose3d/report.py", "--cfg", cfg, "--poses", "mine.npz", "--frames", 0)
    assert done.code == 0, done.err
    assert (directory / "report_mine/report.md").read_text().startswith("# 3D results: mine.npz\n")


def other_predictions(cfg):
    def edit(heatmaps, locations):
        locations[0, 0, 0, 0] += 1

    config = load_config(cfg)
    write_perfect_predictions(config, run_directory(config, cfg), edit=edit)


@pytest.fixture
def warnings_of(run_script, cfg, caplog, monkeypatch, no_charts):
    """warnings_of(flag, ...) makes a report without figures and returns its warnings without the directory."""
    monkeypatch.setattr("lib.core.report.report_page.make_pose_figure", lambda *words: None)

    def make(*words):
        caplog.clear()
        done = run_script("pose3d/report.py", "--cfg", cfg, "--frames", 0, *words)
        assert done.code == 0, done.err
        return [record.message.split(": ", 1)[1] for record in caplog.records if record.levelname == "WARNING"]

    return make


def outdated(names):
    return [f"made from other predictions than the current ones: {names}; run run/pose3d/estimate.py again"]


def test_report_outdated_poses_warn(warnings_of, cfg, directory):
    assert warnings_of() == []
    other_predictions(cfg)
    assert warnings_of() == outdated("poses3d.npz; exact; rpsm")
    assert warnings_of("--tables-only") == outdated("exact; rpsm")
    poses = dict(np.load(directory / "poses3d.npz"))
    write_poses(load_config(cfg), directory)  # the method's results are of the new predictions, these poses are not
    np.savez(directory / "poses3d.npz", **poses)
    assert warnings_of() == outdated("poses3d.npz")


def test_report_poses_without_provenance_use_results(warnings_of, cfg, directory):
    poses = dict(np.load(directory / "poses3d.npz"))
    np.savez(directory / "poses3d.npz", **{name: poses[name] for name in poses if not name.startswith("predictions_")})
    assert warnings_of() == []
    other_predictions(cfg)
    assert warnings_of() == outdated("poses3d.npz; exact; rpsm")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--compare", "nowhere"], "nowhere: no such run directory or results file"),
        (["--frames", "5"], "--frames: 5 does not exist; the data set has frames 0 to 4"),
        (["--animate", "3", "3"], "--animate: expected START below STOP"),
        (["--animate", "3", "9"], "--animate: 8 does not exist"),
        (["--sequence", "9"], "--sequence: expected SUBJECT ACTION [SUBACTION]"),
        (["--sequence", "9", "Walking"], "--sequence: no test frame of action 14"),
        (["--poses", "none.npz"], "none.npz: no such file"),
        (["--fps", "0"], "--fps: expected a positive number"),
    ],
)
def test_report_unusable_arguments_are_one_line(run_script, cfg, directory, words, message):
    done = run_script("pose3d/report.py", "--cfg", cfg, *words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert message in done.err
    assert not (directory / "report").exists()


def test_report_run_without_results_is_refused(run_script, cfg, directory):
    (directory / "results_3d.json").unlink()
    done = run_script("pose3d/report.py", "--cfg", cfg)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "no results_3d.json in this directory; run/pose3d/estimate.py writes" in done.err
