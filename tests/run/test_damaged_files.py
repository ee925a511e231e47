"""The scripts on damaged files: exit code 0, or 2 with one short line, also for long paths."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from cvf_tests.damage import damaged
from cvf_tests.own_recording import make_recording
from cvf_tests.raw_h36m import write_raw
from cvf_tests.release import image, make_world, person, write_release
from cvf_tests.rig_files import write_openpose
from cvf_tests.scripts import REPOSITORY, RUN

from lib.dataset.own_cameras.detections import load_detections
from lib.utils.errors import MAX_LINE

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("FUZZ_SEED", 17))
DAMAGES = 5  # of each kind
MAX_SECONDS = 60
LONG = Path("a folder with blanks and accents é " * 4) / ("a_long_name_of_a_folder_" * 6)
AGREEMENT = ["--smooth", "5", "--no-video"]


@dataclass
class Use:
    """A file that a script reads.

    Attributes:
        path: the file.
        words: script and arguments.
        is_text: numbers and words are replaced, too.
    """

    path: Path
    words: list[object]
    is_text: bool = False


@pytest.fixture
def folder(tmp_path):
    (tmp_path / LONG).mkdir(parents=True)
    return tmp_path / LONG


@pytest.fixture
def recording(folder):
    """Return the files of a recording, and the words of multiview.py on them."""
    files = make_recording(folder, num_frames=6)
    words = ["demo/multiview.py", *files.flags(), "--out", folder / "out", *AGREEMENT]
    return files, words


@pytest.fixture
def experiment(folder, tiny_root, tiny_yaml):
    """Return ROOT, YAML and the words of a script with both, of the tiny experiment."""
    root = shutil.move(tiny_root(formats=("jpg", "zip"), frames=2, mpii=4), folder / "root")
    cfg = tiny_yaml(root)
    values = yaml.safe_load(cfg.read_text()) | {"OUTPUT_DIR": str(folder / "output"), "LOG_DIR": str(folder / "log")}
    values["PICT_STRUCT"] = {"PAIRWISE_FILE": str(folder / "pairwise.pkl")}
    cfg = folder / "tiny.yaml"
    cfg.write_text(json.dumps(values, indent=1))
    return root, cfg


@pytest.fixture
def trained(experiment, run_script):
    """Return the YAML and the run directory after all steps."""
    _, cfg = experiment
    for words in (
        ["pose2d/train.py"],
        ["pose2d/valid.py"],
        ["data/make_limb_prior.py"],
        ["pose3d/estimate.py", "--method", "rpsm"],
    ):
        done = run_script(words[0], "--cfg", cfg, *words[1:])
        assert done.code == 0, done.err
    return cfg, cfg.parent / "output" / RUN


def openpose_of(files, folder: Path) -> Path:
    points = load_detections(files.detections, files.rig.names).points[:, :, 0]
    for view, name in enumerate(files.rig.names):
        write_openpose(folder / f"{name}_json", {frame: [points[frame, view]] for frame in range(len(points))})
    return folder


def coco_of(files, folder: Path) -> Path:
    folder.mkdir()
    points = load_detections(files.detections, files.rig.names).points[:, :, 0]
    for view, name in enumerate(files.rig.names):
        people = [{"image_id": frame, "keypoints": flat.ravel().tolist()} for frame, flat in enumerate(points[:, view])]
        (folder / f"{name}.json").write_text(json.dumps(people))
    return folder


def own(request: pytest.FixtureRequest, kind: str) -> Use:
    files, words = request.getfixturevalue("recording")
    folder = files.cameras.parent
    make = {"OpenPose JSON": openpose_of, "COCO JSON": coco_of}.get(kind)
    if make is not None:
        made = make(files, folder / "pose")
        words = [*words, "--detections", made, "--points", "h36m17"]
        return Use(sorted(made.rglob("*.json"))[1], words, True)
    path = {"TOML": files.cameras, "npz": files.detections, "MP4": next(iter(files.videos.glob("*.mp4")))}[kind]
    return Use(path, words, kind == "TOML")


def data(request: pytest.FixtureRequest, kind: str) -> Use:
    root, cfg = request.getfixturevalue("experiment")
    crops = ["data/cache_crops.py", "--cfg", cfg, "--workers", 1, "--opts", "DATASET.CROP_CACHE", root.parent / "crops"]
    return {
        "YAML": Use(cfg, ["pose2d/train.py", "--cfg", cfg, "--dry-run"], True),
        "pickle": Use(root / "h36m/annot/h36m_train.pkl", ["data/make_limb_prior.py", "--cfg", cfg]),
        "MPII JSON": Use(
            root / "mpii/annot/train.json",
            ["pose2d/train.py", "--cfg", cfg, "--dry-run", "--opts", "DATASET.TRAIN_DATASET", "mixed"],
            True,
        ),
        "JPEG": Use(min((root / "h36m/images").rglob("*.jpg")), crops),
        "zip": Use(root / "h36m/images.zip", [*crops, "DATASET.DATA_FORMAT", "zip"]),
    }[kind]


def result(request: pytest.FixtureRequest, kind: str) -> Use:
    cfg, run = request.getfixturevalue("trained")
    estimate = ["pose3d/estimate.py", "--cfg", cfg, "--method", "rpsm"]
    return {
        "checkpoint": Use(run / "final_state.pth.tar", ["pose2d/valid.py", "--cfg", cfg, "--state", "final"]),
        "resume": Use(run / "checkpoint.pth.tar", ["pose2d/train.py", "--cfg", cfg, "--opts", "TRAIN.RESUME", "true"]),
        "HDF5": Use(run / "predicted_heatmaps.h5", estimate),
        "prior": Use(cfg.parent / "pairwise.pkl", estimate),
        "npz of poses": Use(run / "poses3d.npz", ["pose3d/report.py", "--cfg", cfg, "--frames", 0]),
        "results": Use(run / "results_3d.json", ["pose3d/report.py", "--cfg", cfg, "--tables-only"], True),
        "compare": Use(run / "results_2d.json", ["compare.py", run], True),
        "record": Use(run / "config_train.yaml", ["compare.py", run], True),
    }[kind]


def raw(request: pytest.FixtureRequest, kind: str) -> Use:
    folder = request.getfixturevalue("folder")
    if kind == "CDF":
        files = write_raw(folder / "raw", [(9, 2, 1), (9, 2, 2)], 2, render=False)
        words = ["data/prepare_h36m.py", "--raw", files.folder, "--root", folder / "made", "--subjects", 9]
        return Use(min(files.folder.rglob("D3*/*.cdf")), [*words, "--actions", 2, "--workers", 1])
    train, valid = make_world(folder / "world", 2, 2)
    people = [image(record["image"], [person(record)]) for record in [*train, *valid]]
    (folder / "valid.txt").write_text("\n".join(record["image"] for record in valid))
    path = write_release(folder / "mpii.mat", people)
    words = ["data/prepare_mpii.py", "--mat", path, "--root", folder / "made", "--valid-list", folder / "valid.txt"]
    return Use(path, [*words, "--zip", "--images", folder / "world/mpii/images"])


KINDS: dict[str, Callable[[pytest.FixtureRequest, str], Use]] = {
    **dict.fromkeys(("TOML", "npz", "MP4", "OpenPose JSON", "COCO JSON"), own),
    **dict.fromkeys(("YAML", "pickle", "MPII JSON", "JPEG", "zip"), data),
    **dict.fromkeys(("checkpoint", "resume", "HDF5", "prior", "npz of poses", "results", "compare", "record"), result),
    **dict.fromkeys(("CDF", "MAT"), raw),
}


def remove_made(folder: Path) -> None:
    for name in ("made", "crops", "out"):
        shutil.rmtree(folder / name, ignore_errors=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_scripts_on_damaged_files_end_with_code_0_or_2(kind, request, folder, run_script):
    use = KINDS[kind](request, kind)
    valid = use.path.read_bytes()
    done = run_script(*use.words)
    assert done.code == 0, done.err
    rng = np.random.default_rng([SEED, list(KINDS).index(kind)])
    codes = []
    for number in range(DAMAGES):
        remove_made(folder)
        content = damaged(valid, rng, use.is_text)
        use.path.write_bytes(content)
        done = run_script(*use.words)
        assert done.code in (0, 2), (kind, number, done.err)
        lines = done.err.splitlines()
        assert done.code == 0 or (len(lines) == 1 and len(lines[0]) <= MAX_LINE), (kind, number, done.err)
        assert "Traceback" not in done.out + done.err
        if kind != "resume" or done.code == 2:  # a training replaces its checkpoint
            assert use.path.read_bytes() == content, (kind, number)
        codes.append(done.code)
    print(f"{kind}: {codes.count(0)} done, {codes.count(2)} refused")


@pytest.mark.parametrize("kind", ["TOML", "OpenPose JSON", "MP4", "pickle", "YAML"])
def test_scripts_as_processes_on_damaged_files(kind, request, folder):
    """What the interpreter and libraries in C print counts as well."""
    use = KINDS[kind](request, kind)
    valid = use.path.read_bytes()
    rng = np.random.default_rng([SEED + 1, list(KINDS).index(kind)])
    for number in range(2):
        remove_made(folder)
        use.path.write_bytes(damaged(valid, rng, use.is_text))
        command = [sys.executable, REPOSITORY / "run" / use.words[0], *map(str, use.words[1:])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=MAX_SECONDS)
        lines = done.stderr.splitlines()
        assert done.returncode in (0, 2), (kind, number, done.stderr)
        assert done.returncode == 0 or (len(lines) == 1 and len(lines[0]) <= MAX_LINE), (kind, number, done.stderr)
