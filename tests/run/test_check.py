"""The check of a data set from the command line."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from cvf_tests.film import store, write_film
from cvf_tests.predictions import write_perfect_predictions

from lib.core.run_directory import run_directory

REAL = Path(__file__).resolve().parents[3] / "shared/real4view"


def test_check_tiny_data_set(tiny_root, tiny_yaml, tmp_path, run_script):
    root = tiny_root(frames=12)
    done = run_script("data/check.py", "--cfg", tiny_yaml(root), "--opts", "DATASET.TRAIN_DATASET", "mixed")
    assert (done.code, done.err) == (0, ""), done.out
    assert "Nothing is wrong" in done.out
    folder = tmp_path / "output/mixed/multiview_pose_resnet_18/tiny/check"
    text = (folder / "check.md").read_text()
    for title in ("h36m, train: 48 images", "mpii, train: 8 people", "h36m, validation: 48 images"):
        assert f"# {title}" in text
    assert "![labels in the images](h36m_train.jpg)" in text
    for name in ("h36m_train.jpg", "h36m_validation.jpg", "mpii_train.jpg"):
        assert cv2.imread(str(folder / name)) is not None
    assert "8 people in 8 images, 15.0 of 16 joints annotated" in text


def test_check_errors_end_with_code_1(tmp_path, tiny_yaml, run_script):
    records = write_film(tmp_path / "film")
    assert run_script("data/check.py", "--cfg", tiny_yaml(tmp_path / "film"), "--images", "all").code == 0
    for record in records:
        record["joints_3d_camera"] = record["joints_3d_camera"] / 1000
    store(tmp_path / "film", records)
    (tmp_path / "film/h36m/images" / records[3]["image"]).unlink()
    done = run_script("data/check.py", "--cfg", tiny_yaml(tmp_path / "film"), "--out", tmp_path / "out")
    assert (done.code, done.err) == (1, "")
    verdict = done.out.split("# Verdict")[1].rsplit("\n\n", 1)[0]
    assert "set DATASET.POSE_UNIT m" in verdict
    assert "1 of 96 images are not in" in verdict
    assert (tmp_path / "out/check.md").read_text().endswith(f"# Verdict{verdict}\n")
    fixed = run_script(
        "data/check.py",
        "--cfg",
        tiny_yaml(tmp_path / "film"),
        "--out",
        tmp_path / "out",
        "--opts",
        "DATASET.POSE_UNIT",
        "m",
    )
    assert "POSE_UNIT" not in fixed.out
    assert fixed.code == 1  # the image


def test_check_diagnoses_a_mirrored_camera_that_training_refuses(tiny_root, tiny_yaml, run_script):
    def mirror(records):
        for record in records:
            if record["camera_id"] == 2:
                record["camera"] = record["camera"] | {"R": record["camera"]["R"] * [[-1], [1], [1]]}

    done = run_script("data/check.py", "--cfg", tiny_yaml(tiny_root(mpii=0, edit=mirror)))
    assert done.code == 1
    assert "camera 2: R mirrors the world" in done.out
    assert "in its camera frame, x is mirrored" in done.out


@pytest.mark.parametrize(
    ("blind", "finding"), [({0, 1, 2, 3}, "camera 3: no joint is visible"), ({2}, "camera 2: no joint is visible")]
)
def test_check_camera_without_visible_joints(tiny_root, tiny_yaml, run_script, blind, finding):
    def edit(records):
        for record in records:
            if record["camera_id"] in blind:
                record["joints_vis"] = np.zeros((17, 3))

    done = run_script("data/check.py", "--cfg", tiny_yaml(tiny_root(mpii=0, edit=edit)))
    assert (done.code, done.err) == (1, "")  # nor a warning of numpy's
    verdict = done.out.split("# Verdict")[1]
    assert finding in verdict
    assert f"joints of camera {max(blind)} lie: none is visible in the images" in verdict
    assert "no image could be read" not in verdict


def test_check_unreadable_images_are_not_invisible_joints(tiny_root, tiny_yaml, run_script):
    root = tiny_root(mpii=0)
    for path in (root / "h36m/images").glob("*ca_02/*.jpg"):
        path.write_bytes(b"cut")
    done = run_script("data/check.py", "--cfg", tiny_yaml(root))
    assert (done.code, done.err) == (1, "")
    assert "joints of camera 1 lie: no image could be read" in done.out


def test_check_repeated_view_is_an_error(tiny_root, tiny_yaml, run_script):
    done = run_script("data/check.py", "--cfg", tiny_yaml(tiny_root(mpii=0, edit=lambda r: [*r, r[2]])))
    assert done.code == 1
    assert "two images share subject, action, subaction, image_id and camera_id" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "some"], "--images: expected a number or 'all'"),
        (["--images", "²"], "--images: expected a number or 'all'"),
        (["--workers", "-1"], "WORKERS: expected"),
    ],
)
def test_check_invalid_flags(tiny_root, tiny_yaml, run_script, words, message):
    done = run_script("data/check.py", "--cfg", tiny_yaml(tiny_root(mpii=0)), *words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert message in done.err


def test_check_refine_needs_predictions_and_adds_a_section(tiny_root, tiny_config, tiny_yaml, tmp_path, run_script):
    root = tiny_root(mpii=0)
    done = run_script("data/check.py", "--cfg", tiny_yaml(root), "--refine")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "run/pose2d/valid.py with the same --opts writes it" in done.err
    config = tiny_config(root)
    write_perfect_predictions(config, run_directory(config, tmp_path / "tiny.yaml"))
    done = run_script("data/check.py", "--cfg", tiny_yaml(root), "--refine")
    assert (done.code, done.err) == (0, "")
    assert "# h36m, validation: calibration against the heatmaps of predicted_heatmaps.h5" in done.out
    assert "calibration against the heatmaps of predicted_heatmaps.h5: S9: 3 frames, at least 20 are needed" in done.out


def test_check_unreadable_annotation(tiny_root, tiny_yaml, run_script):
    root = tiny_root(mpii=0)
    (root / "h36m/annot/h36m_train.pkl").write_bytes(b"cut")
    done = run_script("data/check.py", "--cfg", tiny_yaml(root))
    assert (done.code, done.err.count("\n")) == (2, 1)


@pytest.fixture
def real_copy(tmp_path, tiny_yaml) -> Callable[..., Path]:
    """real_copy(edit, links=None): YAML of a copy of the real data with changed records; images are links.

    `links` turns the list of a clip's image paths into the files that replace them.
    """
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not here")

    def make(edit: Callable[[dict], None] = lambda record: None, links: Callable | None = None) -> Path:
        root = tmp_path / "real"
        (root / "h36m/annot").mkdir(parents=True)
        for subset in ("train", "validation"):
            records = pickle.loads((REAL / f"h36m/annot/h36m_{subset}.pkl").read_bytes())
            for record in records:
                record["camera"] = {key: np.array(value) for key, value in record["camera"].items()}
                edit(record)
            (root / f"h36m/annot/h36m_{subset}.pkl").write_bytes(pickle.dumps(records))
        for clip in (REAL / "h36m/images").iterdir():
            (root / "h36m/images" / clip.name).mkdir(parents=True)
            files = sorted(clip.iterdir())
            sources = links(files) if links is not None and clip.name.endswith("ca_03") else files
            for file, source in zip(files, sources, strict=True):
                (root / "h36m/images" / clip.name / file.name).symlink_to(source)
        config = yaml.safe_load(tiny_yaml(root).read_text())
        (tmp_path / "real.yaml").write_text(yaml.safe_dump(config))
        return tmp_path / "real.yaml"

    return make


def test_check_real_data(real_copy, run_script):
    done = run_script("data/check.py", "--cfg", real_copy())
    assert (done.code, done.err) == (0, "")
    assert "Nothing is wrong (0 warnings)" in done.out


def mirror_labels(record):
    if record["camera_id"] == 2:
        record["joints_2d"] = np.stack([543 - record["joints_2d"][:, 0], record["joints_2d"][:, 1]], 1)  # 544 px wide


def mirror_center(record):
    if record["camera_id"] == 2:
        record["camera"]["cx"] = 543 - record["camera"]["cx"]


def mirror_rotation(record):
    if record["camera_id"] == 2:
        record["camera"]["R"] = record["camera"]["R"] * [[-1], [1], [1]]


def joints_in_meters(record):
    for key in ("joints_3d", "joints_3d_camera"):
        record[key] = record[key] / 1000


def all_in_meters(record):
    joints_in_meters(record)
    record["camera"]["T"] = record["camera"]["T"] / 1000


@pytest.mark.parametrize(
    ("edit", "messages"),
    [
        (mirror_labels, ["camera 2", "x of the 2D joints is mirrored"]),
        (mirror_center, ["camera 2", "the principal point is mirrored in x"]),
        pytest.param(
            mirror_rotation,
            ["camera 2: R mirrors the world", "in its camera frame, x is mirrored"],
            marks=pytest.mark.slow,  # on the tiny data above
        ),
        pytest.param(joints_in_meters, ["set DATASET.POSE_UNIT m"], marks=pytest.mark.slow),  # on the film above
        (all_in_meters, ["set DATASET.POSE_UNIT m and DATASET.CAMERA_UNIT m"]),
    ],
)
def test_check_real_data_with_a_fault(real_copy, run_script, edit, messages):
    done = run_script("data/check.py", "--cfg", real_copy(edit), "--images", 8)
    assert done.code == 1
    verdict = done.out.split("# Verdict")[1]
    for message in messages:
        assert message in verdict


@pytest.mark.slow  # on the film in core/data_check/test_motion.py
def test_check_real_images_shifted_by_two_frames(real_copy, run_script):
    done = run_script("data/check.py", "--cfg", real_copy(links=lambda files: files[2:] + files[-2:]))
    assert done.code == 1
    verdict = done.out.split("# Verdict")[1]
    assert verdict.count("camera 2: its images show the pose 2 frames later than its labels") == 2  # both subsets


@pytest.mark.slow  # on the film in core/data_check/test_motion.py
def test_check_real_images_mirrored(real_copy, run_script, tmp_path):
    def flip(files):
        flipped = []
        for file in files:
            target = tmp_path / f"{len(list(tmp_path.glob('*.jpg')))}.jpg"
            cv2.imwrite(str(target), cv2.imread(str(file))[:, ::-1])
            flipped.append(target)
        return flipped

    done = run_script("data/check.py", "--cfg", real_copy(links=flip))
    assert done.code == 1
    assert done.out.count("camera 2: its images are mirrored against the labels, left and right") >= 2
