"""A data set in miniature, in the published files: exact cameras, a coloured blob at each joint.

`tiny_root` writes a ROOT with `h36m/` and `mpii/`, `tiny_totalcapture` another one, `tiny_config` an experiment that
trains in seconds.
"""

from __future__ import annotations

import json
import logging
import pickle
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from easydict import EasyDict

from lib.core.config_io import load_config
from lib.multiviews.cameras import Cameras, project, world_to_camera

SIDE = 200  # images are SIDE x SIDE px
BOX_PX = 120  # side of the boxes around the person

# A standing person, mm, facing +x, z up; joints in the order of Human3.6M.
STANDING_MM = np.array(
    [
        (0, 0, 930),
        (0, -130, 930),
        (0, -140, 490),
        (0, -150, 60),
        (0, 130, 930),
        (0, 140, 490),
        (0, 150, 60),
        (10, 0, 1160),
        (0, 0, 1420),
        (60, 0, 1510),
        (0, 0, 1620),
        (0, 160, 1400),
        (20, 240, 1130),
        (60, 250, 900),
        (0, -160, 1400),
        (20, -240, 1130),
        (60, -250, 900),
    ],
    np.float64,
)
JOINT_COLORS = np.array([cv2.applyColorMap(np.uint8([[i * 15]]), cv2.COLORMAP_HSV)[0, 0] for i in range(17)])


def tiny_camera(view: int, num_views: int, rng: np.random.Generator) -> dict:
    """A camera record of the annotation: 5 m away, 1.5 m high, looking at the middle of the room."""
    angle = 2 * np.pi * (view + 0.3) / num_views
    centre = np.array([5000 * np.cos(angle), 5000 * np.sin(angle), 1500.0])
    forward = np.array([0, 0, 900.0]) - centre
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    focal = 1145 * SIDE / 1000 + rng.uniform(-2, 2, 2)
    return {
        "R": np.stack([right, np.cross(forward, right), forward]),
        "T": centre.reshape(3, 1),
        "fx": focal[:1],
        "fy": focal[1:],
        "cx": np.array([SIDE / 2 + 2.5]),
        "cy": np.array([SIDE / 2 - 1.5]),
        "k": np.array([[-0.2], [0.24], [-0.002]]),
        "p": np.array([[-0.0009], [-0.0014]]),
    }


def tiny_pose(rng: np.random.Generator) -> np.ndarray:
    """(17, 3) mm in the world frame: the person turned, moved, with bent limbs."""
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    bent = STANDING_MM + rng.normal(0, 25, STANDING_MM.shape)
    return bent @ turn.T + [*rng.uniform(-300, 300, 2), 0]


def draw_blobs(joints_img: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An image, dark and noisy, with a disc of its own colour at each joint."""
    image = rng.integers(0, 40, (SIDE, SIDE, 3), np.uint8)
    for point, color in zip(joints_img, JOINT_COLORS[: len(joints_img)], strict=True):
        cv2.circle(image, [int(value) for value in np.round(point)], 3, color.tolist(), -1)
    return image


def _jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def h36m_records(
    subjects: Sequence[int], num_frames: int, num_views: int, rng: np.random.Generator
) -> tuple[list[dict], dict[str, bytes]]:
    """Records of the annotation, image by image, and the image files by name."""
    records = []
    files = {}
    for subject in subjects:
        cameras = [tiny_camera(view, num_views, rng) for view in range(num_views)]
        for frame in range(1, num_frames + 1):
            ids = {"source": "h36m", "subject": subject, "action": 2 + frame % 3, "subaction": 1, "image_id": frame}
            views, images = _view_records(tiny_pose(rng), ids, cameras, rng)
            records = records + views
            files = files | images
    return records, files


def _view_records(
    pose: np.ndarray, ids: dict, cameras: Sequence[dict], rng: np.random.Generator
) -> tuple[list[dict], dict[str, bytes]]:
    """One record per camera of a pose (J, 3) mm, and the image files by name."""
    records = []
    files = {}
    clip = f"s_{ids['subject']:02}_act_{str(ids['action']).zfill(2)}_subact_{ids['subaction']:02}"
    for view, camera in enumerate(cameras):
        one = Cameras.from_records([camera])[0]
        joints_img = project(pose, one)[0]
        joints_cam = world_to_camera(pose, one)
        name = f"{clip}_ca_{view + 1:02}/{clip}_ca_{view + 1:02}_{ids['image_id']:06}.jpg"
        files[name] = _jpeg(draw_blobs(joints_img, rng))
        center = (joints_img.min(0) + joints_img.max(0)) / 2
        records.append(
            {
                "image": name,
                **ids,
                "camera_id": view,
                "video_id": ids["subject"] * 100 + view,
                "joints_2d": joints_img,
                "joints_3d": joints_cam,
                "joints_3d_camera": joints_cam,
                "joints_vis": np.ones((len(pose), 3)),
                "camera": camera,
                "center": center,
                "scale": np.full(2, BOX_PX / 200.0),
                "box": np.concatenate([center - BOX_PX / 2, center + BOX_PX / 2]),
            }
        )
    return records, files


TOTALCAPTURE_RECORDINGS = {
    "train": [(subject, *recording) for subject in (1, 2, 3) for recording in (("ROM", 1), ("Running", 1))],
    "validation": [
        (subject, *recording)
        for subject in (1, 2, 3, 4, 5)
        for recording in (("Walking", 2), ("Freestyle", 3), ("Acting", 3))
    ],
}


def totalcapture_records(
    recordings: Sequence[tuple[int, Any, int]], num_frames: int, rng: np.random.Generator
) -> tuple[list[dict], dict[str, bytes]]:
    """Records of 8 cameras of (subject, action, sub-action), and the image files by name."""
    cameras = [tiny_camera(view, 8, rng) for view in range(8)]  # one rig for everybody
    records = []
    files = {}
    for subject, action, subaction in recordings:
        for frame in range(1, num_frames + 1):
            ids = {"source": "totalcapture", "subject": subject, "action": action, "subaction": subaction}
            pose = np.delete(tiny_pose(rng), 10, 0)  # no head
            views, images = _view_records(pose, ids | {"image_id": frame}, cameras, rng)
            records = records + views
            files = files | images
    return records, files


# mpii joint -> h36m joint that stands where it would be
_MPII_FROM_H36M = [3, 2, 1, 4, 5, 6, 0, 8, 8, 10, 16, 15, 14, 11, 12, 13]


def mpii_records(
    num_images: int, rng: np.random.Generator, head_px: float | None = None
) -> tuple[list[dict], dict[str, bytes]]:
    """Records with 1-based coordinates and the image files by name; joint 9 (head top) is not annotated.

    With `head_px` they have square head boxes of this head size, 0.6 of the diagonal.
    """
    records = []
    files = {}
    for number in range(num_images):
        camera = Cameras.from_records([tiny_camera(number, 7, rng)])[0]
        joints = project(tiny_pose(rng), camera)[0][_MPII_FROM_H36M]
        name = f"{rng.integers(10**8):09}_{number}.jpg"
        files[name] = _jpeg(draw_blobs(joints, rng))
        records.append(
            {
                "image": name,
                "center": ((joints.min(0) + joints.max(0)) / 2 + 1).tolist(),
                "scale": BOX_PX / 200 / 1.25,
                "joints": (joints + 1).tolist(),
                "joints_vis": [int(joint != 9) for joint in range(16)],
            }
        )
        if head_px is not None:
            half = head_px / 0.6 / 8**0.5
            records[-1]["head_box"] = [*(joints[9] + 1 - half), *(joints[9] + 1 + half)]
    return records, files


def _write_images(folder: Path, files: dict[str, bytes], formats: Sequence[str]) -> None:
    if "jpg" in formats:
        for name, data in files.items():
            (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "images" / name).write_bytes(data)
    if "zip" in formats:
        with zipfile.ZipFile(folder / "images.zip", "a") as archive:
            for name, data in files.items():
                archive.writestr(f"images/{name}", data)


def _write_annotation(folder: Path, subset: str, records: list[dict]) -> None:
    """Write the records, with their boxes and with the whole image; the folder has the name of the data set."""
    uncrop = [
        record | {"center": np.full(2, SIDE / 2), "scale": np.full(2, SIDE / 200), "box": np.array([0, 0, SIDE, SIDE])}
        for record in records
    ]
    (folder / "annot").mkdir(parents=True, exist_ok=True)
    for suffix, content in (("", records), ("_uncrop", uncrop)):
        (folder / "annot" / f"{folder.name}_{subset}{suffix}.pkl").write_bytes(pickle.dumps(content, protocol=2))


EditRecords = Callable[[list[dict]], "list[dict] | None"]


@pytest.fixture
def tiny_root(tmp_path: Path) -> Callable[..., Path]:
    """Write a small data set and return its ROOT.

    Keyword arguments of the factory:
        num_views: cameras per group (4).
        subjects: training and validation subjects ((1,), (9,)).
        frames: groups per subject (3).
        formats: "jpg" (folder), "zip" or both (("jpg",)).
        mpii: images per MPII subset, 0 = no mpii folder (8).
        mpii_name: name of that folder ("mpii").
        mpii_head_px: head size of everybody there; None = no head boxes (None).
        edit: function of the list of Human3.6M records, applied to every subset before it is written; it changes
            the list in place or returns another one.
    """
    made = []

    def make(
        num_views: int = 4,
        subjects: tuple[Sequence[int], Sequence[int]] = ((1,), (9,)),
        frames: int = 3,
        formats: Sequence[str] = ("jpg",),
        mpii: int = 8,
        mpii_name: str = "mpii",
        mpii_head_px: float | None = None,
        edit: EditRecords | None = None,
    ) -> Path:
        rng = np.random.default_rng(5)
        root = tmp_path / f"root_{len(made)}"
        made.append(root)
        for subset, ids in zip(("train", "validation"), subjects, strict=True):
            records, files = h36m_records(ids, frames, num_views, rng)
            if edit is not None:
                changed = edit(records)
                records = records if changed is None else changed
            _write_annotation(root / "h36m", subset, records)
            _write_images(root / "h36m", files, formats)
        for subset in ("train", "valid") if mpii else ():
            records, files = mpii_records(mpii, rng, mpii_head_px)
            (root / mpii_name / "annot").mkdir(parents=True, exist_ok=True)
            (root / mpii_name / "annot" / f"{subset}.json").write_text(json.dumps(records))
            _write_images(root / mpii_name, files, formats)
        return root

    return make


@pytest.fixture
def tiny_totalcapture(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a small Total Capture of 8 cameras and return its ROOT.

    Keyword arguments of the factory:
        recordings: subset -> (subject, action, sub-action), actions by name or id (TOTALCAPTURE_RECORDINGS).
        frames: groups per recording (1).
    """

    def make(recordings: dict[str, list] = TOTALCAPTURE_RECORDINGS, frames: int = 1) -> Path:
        root = tmp_path_factory.mktemp("totalcapture")
        rng = np.random.default_rng(6)
        for subset, chosen in recordings.items():
            records, files = totalcapture_records(chosen, frames, rng)
            _write_annotation(root / "totalcapture", subset, records)
            _write_images(root / "totalcapture", files, ("jpg",))
        return root

    return make


@pytest.fixture
def h36m_pickle() -> Callable[[Path, str], list[dict]]:
    """Read an annotation with plain pickle: h36m_pickle(root, "validation")."""
    return lambda root, subset: pickle.loads((root / f"h36m/annot/h36m_{subset}.pkl").read_bytes())


TINY_EXPERIMENT = {
    "OUTPUT_DIR": "output",
    "LOG_DIR": "log",
    "WORKERS": 0,
    "PRINT_FREQ": 100,
    "NETWORK": {
        "PRETRAINED": "",
        "INIT": "kaiming",
        "FUSION_INIT": "zeros",
        "IMAGE_SIZE": 64,
        "HEATMAP_SIZE": 16,
        "SIGMA": 1,
    },
    "POSE_RESNET": {"NUM_LAYERS": 18, "NUM_DECONV_FILTERS": [32, 32, 32]},
    "DATASET": {"TRAIN_DATASET": "multiview_h36m", "TRAIN_STEP": 1, "TEST_STEP": 1},
    "TRAIN": {"BATCH_SIZE": 2, "END_EPOCH": 2, "LR_STEP": [1]},
    "TEST": {"BATCH_SIZE": 2},
    "DEBUG": {"DEBUG": False},
}


@pytest.fixture
def tiny_yaml(tmp_path: Path) -> Callable[[Path], Path]:
    """Write the YAML of a tiny experiment on a ROOT (64 px input, 16 px maps, ResNet-18); output below tmp_path."""

    def make(root: Path) -> Path:
        values = {
            section: dict(entry) if isinstance(entry, dict) else entry for section, entry in TINY_EXPERIMENT.items()
        }
        values["DATASET"]["ROOT"] = str(root)
        values["OUTPUT_DIR"], values["LOG_DIR"] = str(tmp_path / "output"), str(tmp_path / "log")
        path = tmp_path / "tiny.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return make


@pytest.fixture
def tiny_config(tiny_yaml: Callable[[Path], Path]) -> Callable[..., EasyDict]:
    """Load the configuration of a tiny experiment: tiny_config(root, "KEY", "VALUE", ...)."""
    return lambda root, *opts: load_config(tiny_yaml(root), opts)


@pytest.fixture
def restored_root_logger() -> Iterator[None]:
    """The root logger without handlers; what a test adds is closed and taken off again."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    level = root.level
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    root.setLevel(level)
