"""Damaged files of every kind that users bring: the result is valid, or the error is one short line."""

from __future__ import annotations

import collections
import json
import os
import pickle
import resource
import signal
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
import torch
from cvf_tests.damage import damaged
from cvf_tests.raw_h36m import write_cdf
from cvf_tests.rig_files import named_points, write_openpose, write_toml, write_video
from cvf_tests.tiny_data import TINY_EXPERIMENT, tiny_sets

from lib.core.config_io import load_config
from lib.core.pose3d.results_3d import load_poses
from lib.dataset.conventions import Conventions
from lib.dataset.mpii import read_gt_boxes
from lib.dataset.own_cameras.calibration_file import load_rig
from lib.dataset.own_cameras.detections import Detections, load_detections
from lib.dataset.prepare.h36m_files import read_joints
from lib.dataset.storage.h36m_pickle import load_records, to_annotations
from lib.models.weights import load_model_state
from lib.utils.errors import InputError
from lib.utils.files import image_store
from lib.utils.files.mat_file import write_mat
from lib.utils.files.prediction_file import PredictionFile, PredictionWriter
from lib.utils.files.torch_file import load_checkpoint, save_checkpoint
from lib.utils.files.video import VideoReader
from lib.utils.joints import H36M_17

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("FUZZ_SEED", 17))
DAMAGES = 2000  # of all readers together
RNG = np.random.default_rng(SEED)
MAX_SECONDS = 20
MAX_LINE = 300  # characters of a message, without the folder of the test
MAX_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Reader:
    """A kind of file.

    Attributes:
        write: writes a valid file into a folder and returns its path.
        read: reads a file; what it returns must be valid.
        is_text: numbers and words are replaced, too.
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    is_text: bool = False


def finite(*arrays: np.ndarray) -> None:
    for array in arrays:
        assert np.isfinite(array).all()


def read_rig(path: Path) -> None:
    rig = load_rig(path)
    finite(rig.cameras.R, rig.cameras.T, rig.cameras.f, rig.cameras.c, rig.cameras.k, rig.cameras.p, rig.image_wh)
    assert (rig.image_wh > 0).all()


def check_detections(found: Detections) -> None:
    seen = np.isfinite(found.points).all(-1)
    assert seen.any()
    assert np.abs(found.points[seen][:, :2]).max() <= 1e6
    assert (found.points[seen][:, 2] >= 0).all()
    assert (found.points[seen][:, 2] <= 1).all()
    assert (np.diff(found.numbers) > 0).all()


def write_openpose_file(folder: Path) -> Path:
    write_openpose(folder / "one", {frame: [named_points("coco17")] for frame in range(2)})
    return folder / "one/one_000001_keypoints.json"


def write_coco(folder: Path) -> Path:
    points = named_points("coco17").ravel().tolist()
    images = [{"id": 7 + number, "file_name": f"a_{number}.jpg"} for number in range(3)]
    people = [{"image_id": 7 + number, "category_id": 1, "keypoints": points} for number in range(3)]
    (folder / "one.json").write_text(json.dumps({"images": images, "annotations": people}))
    return folder / "one.json"


def write_detections(folder: Path) -> Path:
    points = np.random.default_rng(0).uniform(0, 1, (3, 1, 2, 17, 3))
    Detections(("one",), points).save(folder / "one.npz")
    return folder / "one.npz"


def write_yaml(folder: Path) -> Path:
    path = folder / "a.yaml"
    path.write_text(json.dumps(TINY_EXPERIMENT, indent=1))
    return path


def write_pickle_file(folder: Path) -> Path:
    records, _ = tiny_sets(2, ((1,), (9,)), 2, 0, None, with_images=False)[0]
    (folder / "annot").mkdir()
    (folder / "annot/h36m_train.pkl").write_bytes(pickle.dumps(records))
    return folder / "annot/h36m_train.pkl"


def read_annotation(path: Path) -> None:
    found = to_annotations(load_records(path), path, "h36m", H36M_17, Conventions())
    finite(found.joints_img, found.center, found.scale, found.labels3d.pose_cam, found.labels3d.cameras.T)


def write_hdf5(folder: Path) -> Path:
    with PredictionWriter(folder / "a.h5", 4, H36M_17.names, (8, 8), 2) as writer:
        writer.append(RNG.random((4, 17, 8, 8)).astype("f4"), RNG.random((4, 17, 3)), list("abcd"))
    return folder / "a.h5"


def read_hdf5(path: Path) -> None:
    file = PredictionFile(path)
    file.read(0, len(file.locations))
    file.read_locations()


def write_old_hdf5(folder: Path) -> Path:
    """Write a file as earlier versions did: texts of variable length, no checksums."""
    with h5py.File(folder / "a.h5", "w") as file:
        file["heatmaps"], file["locations"] = RNG.random((4, 17, 8, 8)), RNG.random((4, 17, 3))
        file["joint_names_order"], file["image_ids"] = H36M_17.names, list("abcd")
    return folder / "a.h5"


def write_poses(folder: Path) -> Path:
    path = folder / "poses3d.npz"
    pose = RNG.random((2, 17, 3))
    np.savez(path, pose_world=pose, gt_world=pose, image_ids=np.array([["a"], ["b"]]), joint_names=H36M_17.names)
    return path


def write_joints(folder: Path) -> Path:
    write_cdf(folder / "a.cdf", RNG.random((5, 17, 3)))
    return folder / "a.cdf"


def write_boxes(folder: Path) -> Path:
    arrays = {"headboxes_src": RNG.random((2, 2, 3)), "pos_gt_src": np.zeros((16, 2, 3))}
    write_mat(folder / "a.mat", {**arrays, "jnt_missing": np.zeros((16, 3))})
    return folder / "a.mat"


def read_boxes(path: Path) -> None:
    finite(read_gt_boxes(path, np.zeros((3, 16, 2)), np.ones((3, 16), bool)))


def write_jpeg(folder: Path) -> Path:
    cv2.imwrite(str(folder / "a.jpg"), np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8))
    return folder / "a.jpg"


def write_film(folder: Path) -> Path:
    write_video(folder / "a.mp4", 12)
    return folder / "a.mp4"


def read_film(path: Path) -> None:
    with VideoReader(path) as video:
        for _, image in video.frames():
            assert image.shape == (video.height, video.width, 3)


def network() -> torch.nn.Module:
    model = torch.nn.Module()
    model.backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    return model


def write_weights(folder: Path) -> Path:
    save_checkpoint({"epoch": 3, "state_dict": network().state_dict()}, folder / "a.pth.tar")
    return folder / "a.pth.tar"


def read_weights(path: Path) -> None:
    model = network()
    load_model_state(model, load_checkpoint(path), str(path))
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def write_zip(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        archive.write(write_jpeg(folder), "images/a.jpg")
    return folder / "images.zip"


def read_zip(path: Path) -> None:
    image_store._archives.clear()  # archives stay open
    image_store.read_image(path.with_suffix(""), "a.jpg", "zip")


READERS = {
    "TOML": Reader(lambda folder: write_toml(folder / "Calib.toml"), read_rig, True),
    "OpenPose JSON": Reader(
        write_openpose_file, lambda path: check_detections(load_detections(path.parents[1], ["one"])), True
    ),
    "COCO JSON": Reader(write_coco, lambda path: check_detections(load_detections(path.parent, ["one"])), True),
    "YAML": Reader(write_yaml, load_config, True),
    "pickle": Reader(write_pickle_file, read_annotation),
    "HDF5": Reader(write_hdf5, read_hdf5),
    "HDF5 of earlier versions": Reader(write_old_hdf5, read_hdf5),
    "npz of detections": Reader(write_detections, lambda path: check_detections(load_detections(path, ["one"]))),
    "npz of poses": Reader(write_poses, lambda path: load_poses(path, np.array([["a"], ["b"]]), H36M_17.names)),
    "CDF": Reader(write_joints, lambda path: finite(read_joints(path, 3))),
    "MAT": Reader(write_boxes, read_boxes),
    "JPEG": Reader(write_jpeg, lambda path: image_store.read_image(path.parent, path.name)),
    "MP4": Reader(write_film, read_film),
    "checkpoint": Reader(write_weights, read_weights),
    "zip": Reader(write_zip, read_zip),
}


def used_bytes() -> int:
    """Return the most memory that this process has used, or one of its children."""
    return 1024 * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


@contextmanager
def within(seconds: int) -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.filterwarnings("ignore")
def test_damaged_file_is_read_or_refused_in_one_line(kind, tmp_path):
    reader = READERS[kind]
    path = reader.write(tmp_path)
    valid = path.read_bytes()
    reader.read(path)
    rng = np.random.default_rng([SEED, list(READERS).index(kind)])
    outcomes: collections.Counter[str] = collections.Counter()
    before = used_bytes()
    for number in range(-(-DAMAGES // len(READERS))):
        data = damaged(valid, rng, reader.is_text)
        path.write_bytes(data)
        try:
            with within(MAX_SECONDS):
                reader.read(path)
            outcomes["read"] += 1
        except InputError as error:
            line = " ".join(str(error).split()).replace(str(tmp_path), "")
            assert len(line) < MAX_LINE, (kind, number, line)
            outcomes["refused"] += 1
        assert path.read_bytes() == data, (kind, number)
    assert used_bytes() - before < MAX_BYTES
    assert outcomes["refused"]
    print(f"{kind}: {dict(outcomes)}")
