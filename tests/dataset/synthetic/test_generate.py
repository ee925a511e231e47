"""Data sets: layout, completeness, equal files for any number of workers, one-line errors."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from cvf_tests.annotations import load_h36m

from lib.dataset.groups import group_views
from lib.dataset.mpii import load_mpii
from lib.dataset.synthetic.generate import SetSettings, _RecordingTask, is_made, make_dataset
from lib.dataset.synthetic.scene import WorldSettings
from lib.utils.errors import InputError

SCRIPT = Path(__file__).resolve().parents[3] / "run" / "data" / "make_synthetic.py"
SMALL = SetSettings(
    WorldSettings(seed=3, image_size=100),
    subjects=(1, 9),
    actions=(2, 9),
    train_groups=2,
    validation_groups=1,
    mpii_train=5,
    mpii_valid=2,
)


def _digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("world") / "synthetic"
    counts = make_dataset(root, SMALL)
    assert counts == {"train groups": 8, "validation groups": 4, "single images": 7}
    return root


def _records(root: Path, name: str) -> list[dict]:
    return pickle.loads((root / "h36m" / "annot" / f"h36m_{name}.pkl").read_bytes())


@pytest.mark.parametrize(("subset", "subject", "groups"), [("train", 1, 8), ("validation", 9, 4)])
def test_make_dataset_complete_groups_and_images(made, subset, subject, groups):
    records = _records(made, subset)
    assert len(records) == groups * 4
    keys = [(r["subject"], r["action"], r["subaction"], r["image_id"]) for r in records]
    assert len(set(keys)) == groups
    for key in set(keys):
        assert sorted(r["camera_id"] for r, k in zip(records, keys, strict=True) if k == key) == [0, 1, 2, 3]
    assert {r["subject"] for r in records} == {subject}
    for record in records:
        assert cv2.imread(str(made / "h36m" / "images" / record["image"])).shape == (100, 100, 3)
    whole = _records(made, f"{subset}_uncrop")
    assert [r["image"] for r in whole] == [r["image"] for r in records]
    assert all(r["scale"] == (0.5, 0.5) for r in whole)


def test_make_dataset_groups_are_far_apart_in_time(made):
    ids = [r["image_id"] for r in _records(made, "train") if (r["action"], r["subaction"], r["camera_id"]) == (2, 1, 0)]
    assert np.diff(ids).min() >= 50


def test_make_dataset_mpii_layout(made):
    sizes = {}
    for name in ("train", "valid", "trainval"):
        records = json.loads((made / "mpii" / "annot" / f"{name}.json").read_text())
        sizes[name] = len(records)
        for record in records:
            height, width = cv2.imread(str(made / "mpii" / "images" / record["image"])).shape[:2]
            joints, seen = np.array(record["joints"]), np.array(record["joints_vis"])
            assert joints.shape == (16, 2)
            assert set(seen.tolist()) <= {0, 1}
            assert (joints[seen == 1] >= 1).all()
            assert (joints[seen == 1] <= [width, height]).all()
    assert sizes == {"train": 5, "valid": 2, "trainval": 7}


def test_make_dataset_independent_of_the_number_of_processes(made, tmp_path):
    make_dataset(tmp_path / "again", SMALL, workers=2)
    assert _digests(tmp_path / "again") == _digests(made)


def test_make_dataset_another_seed_makes_another_data_set(made, tmp_path):
    other = dataclasses.replace(
        SMALL,
        world=WorldSettings(seed=4, image_size=100),
        subjects=(1,),
        actions=(2,),
        train_groups=1,
        mpii_train=0,
        mpii_valid=0,
    )
    make_dataset(tmp_path / "other", other)
    mine = _records(made, "train")[0]
    theirs = _records(tmp_path / "other", "train")[0]
    assert mine["image"] == theirs["image"]
    assert np.abs(mine["joints_2d"] - theirs["joints_2d"]).max() > 1
    assert not (tmp_path / "other" / "h36m" / "annot" / "h36m_validation.pkl").exists()


def test_make_dataset_zip_holds_the_same_images(made, tmp_path):
    make_dataset(tmp_path / "zip", SMALL, as_zip=True)
    for part in ("h36m", "mpii"):
        assert not (tmp_path / "zip" / part / "images").exists()
        with zipfile.ZipFile(tmp_path / "zip" / part / "images.zip") as archive:
            assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
            names = {
                f"images/{path.relative_to(made / part / 'images')}" for path in (made / part / "images").rglob("*.jpg")
            }
            assert set(archive.namelist()) == names
            name = min(names)
            assert archive.read(name) == (made / part / name).read_bytes()
    annot = Path("h36m") / "annot" / "h36m_train.pkl"
    assert (tmp_path / "zip" / annot).read_bytes() == (made / annot).read_bytes()


@pytest.mark.parametrize("num_views", [2, 5])
def test_make_dataset_any_number_of_views(num_views, tmp_path):
    settings = dataclasses.replace(
        SMALL,
        world=WorldSettings(num_views=num_views, image_size=64),
        subjects=(11,),
        actions=(6,),
        mpii_train=0,
        mpii_valid=0,
    )
    make_dataset(tmp_path / "set", settings)
    records = _records(tmp_path / "set", "validation")
    assert [record["camera_id"] for record in records] == list(range(num_views)) * 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"actions": (1,)}, "ids of Human3.6M, 2 to 16, received 1"),
        ({"train_groups": 0}, "--groups-per-train: expected at least 1"),
        ({"world": WorldSettings(num_views=1)}, "--views"),
        ({"world": WorldSettings(occluders=4.5)}, "--occluders"),
        ({"jpeg_quality": 101}, "--jpeg-quality"),
        ({"subjects": ()}, "--subjects"),
        ({"world": WorldSettings(image_size=5_000_000)}, "--image-size: expected at most 4096, received 5000000"),
    ],
)
def test_make_dataset_invalid_settings_are_refused(change, words, tmp_path):
    with pytest.raises(InputError, match=words):
        make_dataset(tmp_path / "set", dataclasses.replace(SMALL, **change))
    assert list(tmp_path.iterdir()) == []


def test_make_dataset_zero_workers_are_refused(tmp_path):
    with pytest.raises(InputError, match="--workers"):
        make_dataset(tmp_path / "set", SMALL, workers=0)


def test_make_synthetic_reports_and_refuses_to_overwrite(tmp_path, run_script):
    flags = (
        "--root",
        str(tmp_path / "set"),
        "--subjects",
        "1",
        "--actions",
        "3",
        "--groups-per-train",
        "1",
        "--mpii-train",
        "1",
        "--mpii-valid",
        "0",
        "--image-size",
        "64",
        "--workers",
        "1",
        "--views",
        "3",
    )
    first = subprocess.run([sys.executable, str(SCRIPT), *flags], capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert "2 train groups" in first.stdout
    assert len(list((tmp_path / "set" / "h36m" / "images").rglob("*.jpg"))) == 6
    again = run_script("data/make_synthetic.py", *flags)
    assert again.code == 2
    assert again.err.count("\n") == 1
    assert "--force" in again.err
    (tmp_path / "set/more").touch()  # as a limb prior
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f".set.{ended.pid}.x.partial/h36m").mkdir(parents=True)  # of a --force that SIGTERM has ended
    assert run_script("data/make_synthetic.py", *flags, "--reuse").out == f"{tmp_path / 'set'}: exists\n"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    assert (tmp_path / "set/more").exists()
    other = run_script(
        "data/make_synthetic.py",
        *flags,
        "--reuse",
        "--seed",
        "1",
        "--subjects",
        "1",
        "9",
        "--groups-per-train",
        "2",
        "--zip",
    )
    assert (other.code, other.err.count("\n")) == (2, 1)
    assert (
        "set: was made with other options (then -> now): --subjects 1 -> 1 9, --groups-per-train 1 -> 2, "
        "--zip false -> true, --seed 0 -> 1; "
    ) in other.err
    assert (tmp_path / "set/more").exists()
    note = tmp_path / "set/synthetic.json"
    whole = note.read_text()
    for damaged, message in (
        ("[]", "not the settings of a data set"),
        (whole.replace('"rig": 0', '"r": 0'), "--rig unknown -> 0, --r 0 -> unknown;"),
    ):
        note.write_text(damaged)
        assert message in run_script("data/make_synthetic.py", *flags, "--reuse").err
    note.write_text(whole)
    assert run_script("data/make_synthetic.py", *flags, "--force").code == 0
    assert not (tmp_path / "set/more").exists()


def test_makefile_quickstart_reuses_its_data():
    makefile = (SCRIPT.parents[2] / "Makefile").read_text().replace("\\\n", "")  # joins continued lines
    (line,) = [line for line in makefile.splitlines() if "make_synthetic.py" in line]
    assert line.endswith(" --reuse")


def test_make_dataset_is_read_by_the_loaders(made):
    annotations = load_h36m(made, "train")
    assert group_views(annotations).shape == (8, 4)
    assert load_h36m(made, "validation", crop=False).scale.tolist() == [[0.5, 0.5]] * 16
    assert len(load_mpii(made, "train")) == 5


def test_recordings_of_training_subjects_take_turns_on_the_rigs():
    settings = SetSettings(subjects=(1, 5, 6, 9, 11), more_rigs=(2,))
    rigs = {subject: _RecordingTask(settings, subject, 2, 1).world.rig for subject in settings.subjects}
    assert rigs == {1: 0, 5: 2, 6: 0, 9: 0, 11: 0}
    with pytest.raises(InputError, match="--rig: expected at least 0, received -1"):
        dataclasses.replace(settings, more_rigs=(2, -1)).check()


def test_is_made_accepts_older_data_sets_with_one_rig(tmp_path):
    note = {**dataclasses.asdict(SetSettings()), "zip": False}
    del note["more_rigs"]
    (tmp_path / "synthetic.json").write_text(json.dumps(note))
    assert is_made(tmp_path, SetSettings())
    with pytest.raises(InputError, match=r"further --rig none -> 2"):
        is_made(tmp_path, SetSettings(more_rigs=(2,)))
