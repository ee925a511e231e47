"""Fetching the demo videos, offline."""

from __future__ import annotations

import zipfile

import pytest


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "pose2sim-0.10.49-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("cam01.mp4", "cam02.mp4", "notes.txt"):
            archive.writestr(f"Pose2Sim/Demo_SinglePerson/videos/{name}", name)
        archive.writestr("Pose2Sim/Demo_Other/videos/cam01.mp4", "other")
        archive.writestr("pose2sim-0.10.49.dist-info/licenses/LICENSE", "BSD")
    return path


def test_fetch_demo_videos_and_license_are_extracted(run_script, wheel, tmp_path):
    done = run_script("demo/fetch_demo.py", "--out", tmp_path / "demo", "--wheel", wheel)
    assert done.code == 0, done.err
    found = {str(path.relative_to(tmp_path / "demo")): path.read_text() for path in (tmp_path / "demo").rglob("*.*4")}
    assert found == {"videos/cam01.mp4": "cam01.mp4", "videos/cam02.mp4": "cam02.mp4"}
    assert (tmp_path / "demo/LICENSE-pose2sim").read_text() == "BSD"
    wheel.unlink()
    assert run_script("demo/fetch_demo.py", "--out", tmp_path / "demo").code == 0  # nothing is downloaded again


def test_fetch_demo_offline_message(run_script, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    for name, value in (("PIP_RETRIES", "0"), ("PIP_NO_CACHE_DIR", "1"), ("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", "")):
        monkeypatch.setenv(name, value)
    done = run_script("demo/fetch_demo.py", "--out", tmp_path / "demo")
    assert done.code == 2
    assert "connect to the internet" in done.err
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("content", ["no zip", None])
def test_fetch_demo_other_file_is_refused(run_script, wheel, tmp_path, content):
    if content is None:
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("x", "y")
    else:
        wheel.write_text(content)
    done = run_script("demo/fetch_demo.py", "--out", tmp_path / "demo", "--wheel", wheel)
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "demo/videos").exists()
