from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cvf_tests.raw_h36m import write_raw
from cvf_tests.scripts import REPOSITORY

RECORDINGS = [(9, 2, 1), (9, 2, 2)]


def test_prepare_h36m_prints_and_stores_the_report(tmp_path, run_script):
    raw = write_raw(tmp_path / "raw", RECORDINGS, 4, render=False)
    words = ("--raw", raw.folder, "--root", tmp_path / "root", "--subjects", 9, "--actions", 2, "--workers", 1)
    done = run_script("data/prepare_h36m.py", *words)
    assert (done.code, done.err) == (0, "")
    report = (tmp_path / "root/h36m/annot/prepare_h36m.md").read_text()
    assert report in done.out
    assert "| S9      |          2 |      8 |     32 |" in report
    again = run_script("data/prepare_h36m.py", *words)
    assert again.code == 0
    assert (tmp_path / "root/h36m/annot/prepare_h36m.md").read_text() == report


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--raw", "nowhere"], "nowhere/metadata.xml: no such file"),
        (["--raw", "nowhere", "--step", "many"], "argument --step: invalid int value: 'many'"),
        ([], "the following arguments are required: --raw"),
    ],
)
def test_prepare_h36m_bad_arguments_end_in_one_line(run_script, tmp_path, words, message):
    done = run_script("data/prepare_h36m.py", "--root", tmp_path / "root", *words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert message in done.err


def test_prepare_h36m_missing_files_end_in_one_line(tmp_path, run_script):
    raw = write_raw(tmp_path / "raw", RECORDINGS, 4, render=False)
    done = run_script("data/prepare_h36m.py", "--raw", raw.folder, "--root", tmp_path / "root", "--subjects", 9, 11)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "58 recordings are incomplete; the first:" in done.err
    assert not list((tmp_path / "root").rglob("*.jpg"))


@pytest.mark.parametrize("form", [[], pytest.param(["--zip"], marks=pytest.mark.slow)])
def test_prepare_h36m_killed_at_any_time_it_resumes(tmp_path, form):
    raw = write_raw(tmp_path / "raw", RECORDINGS, 60, render=False)

    def command(root: Path) -> list[str]:
        words = ["--raw", raw.folder, "--root", root, "--subjects", 9, "--actions", 2, "--workers", 1, *form]
        return [sys.executable, str(REPOSITORY / "run/data/prepare_h36m.py"), *map(str, words)]

    whole, parts = tmp_path / "whole", tmp_path / "parts"
    subprocess.run(command(whole), check=True, capture_output=True)
    labels = parts / "h36m/prepared"
    kills = 0
    for clips in (1, 4, 6):
        process = subprocess.Popen(command(parts), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(list(labels.glob("*.npz"))) < clips and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills >= 1
    assert not (parts / "h36m/annot/h36m_validation.pkl").exists()
    subprocess.run(command(parts), check=True, capture_output=True)
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(parts) for path in parts.rglob("*") if path.is_file())
    for name in files:
        if name.name != "meta.json":  # it holds the time of the pickle
            assert (whole / name).read_bytes() == (parts / name).read_bytes(), name
