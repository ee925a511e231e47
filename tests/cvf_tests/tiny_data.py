"""Records, images and annotation files of a miniature data set: exact cameras, a colored disc at each joint."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

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
    """Return a camera record: 5 m from the person, 1.5 m high, looking at the center of the room."""
    angle = 2 * np.pi * (view + 0.3) / num_views
    center = np.array([5000 * np.cos(angle), 5000 * np.sin(angle), 1500.0])
    forward = np.array([0, 0, 900.0]) - center
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    focal = 1145 * SIDE / 1000 + rng.uniform(-2, 2, 2)
    return {
        "R": np.stack([right, np.cross(forward, right), forward]),
        "T": center.reshape(3, 1),
        "fx": focal[:1],
        "fy": focal[1:],
        "cx": np.array([SIDE / 2 + 2.5]),
        "cy": np.array([SIDE / 2 - 1.5]),
        "k": np.array([[-0.2], [0.24], [-0.002]]),
        "p": np.array([[-0.0009], [-0.0014]]),
    }


def tiny_pose(rng: np.random.Generator) -> np.ndarray:
    """Return (17, 3) mm, world frame: the standing person rotated, moved, with bent limbs."""
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    bent = STANDING_MM + rng.normal(0, 25, STANDING_MM.shape)
    return bent @ turn.T + [*rng.uniform(-300, 300, 2), 0]


def draw_blobs(joints_img: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a dark, noisy image with a disc of one color at each joint."""
    image = rng.integers(0, 40, (SIDE, SIDE, 3), np.uint8)
    for point, color in zip(joints_img, JOINT_COLORS[: len(joints_img)], strict=True):
        cv2.circle(image, [int(value) for value in np.round(point)], 3, color.tolist(), -1)
    return image


def _jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def h36m_records(
    subjects: Sequence[int], num_frames: int, num_views: int, rng: np.random.Generator, with_images: bool = True
) -> tuple[list[dict], dict[str, bytes]]:
    """Return annotation records, one per image, and the image files by name; no files without images."""
    records = []
    files = {}
    for subject in subjects:
        cameras = [tiny_camera(view, num_views, rng) for view in range(num_views)]
        for frame in range(1, num_frames + 1):
            ids = {"source": "h36m", "subject": subject, "action": 2 + frame % 3, "subaction": 1, "image_id": frame}
            views, images = _view_records(tiny_pose(rng), ids, cameras, rng, with_images)
            records += views
            files |= images
    return records, files


def _view_records(
    pose: np.ndarray, ids: dict, cameras: Sequence[dict], rng: np.random.Generator, with_images: bool = True
) -> tuple[list[dict], dict[str, bytes]]:
    """Return one record per camera for a pose (J, 3) mm, and the image files by name."""
    records = []
    files = {}
    clip = f"s_{ids['subject']:02}_act_{str(ids['action']).zfill(2)}_subact_{ids['subaction']:02}"
    for view, camera in enumerate(cameras):
        one = Cameras.from_records([camera])[0]
        joints_img = project(pose, one)[0]
        joints_cam = world_to_camera(pose, one)
        name = f"{clip}_ca_{view + 1:02}/{clip}_ca_{view + 1:02}_{ids['image_id']:06}.jpg"
        if with_images:
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
    """Return records of 8 cameras for (subject, action, sub-action), and the image files by name."""
    cameras = [tiny_camera(view, 8, rng) for view in range(8)]  # one rig for all subjects
    records = []
    files = {}
    for subject, action, subaction in recordings:
        for frame in range(1, num_frames + 1):
            ids = {"source": "totalcapture", "subject": subject, "action": action, "subaction": subaction}
            pose = np.delete(tiny_pose(rng), 10, 0)  # no head
            views, images = _view_records(pose, ids | {"image_id": frame}, cameras, rng)
            records += views
            files |= images
    return records, files


# MPII joint -> Human3.6M joint at nearly the same place
_MPII_FROM_H36M = [3, 2, 1, 4, 5, 6, 0, 8, 8, 10, 16, 15, 14, 11, 12, 13]


def mpii_records(
    num_images: int, rng: np.random.Generator, head_px: float | None = None
) -> tuple[list[dict], dict[str, bytes]]:
    """Return records with 1-based coordinates and the image files by name; joint 9 (head top) is not annotated.

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


@cache
def tiny_sets(
    num_views: int,
    subjects: tuple[tuple[int, ...], tuple[int, ...]],
    frames: int,
    mpii: int,
    mpii_head_px: float | None,
    with_images: bool,
) -> list[tuple[list[dict], dict[str, bytes]]]:
    """Return records and files of the Human3.6M subsets, then of the MPII subsets; copy the records before changes."""
    rng = np.random.default_rng(5)
    sets = [h36m_records(ids, frames, num_views, rng, with_images) for ids in subjects]
    return sets + [mpii_records(mpii, rng, mpii_head_px) for _ in range(2 if mpii else 0)]


def write_images(folder: Path, files: dict[str, bytes], formats: Sequence[str]) -> None:
    if "jpg" in formats:
        for name, data in files.items():
            (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "images" / name).write_bytes(data)
    if "zip" in formats:
        with zipfile.ZipFile(folder / "images.zip", "a") as archive:
            for name, data in files.items():
                archive.writestr(f"images/{name}", data)


def write_annotation(folder: Path, subset: str, records: list[dict]) -> None:
    """Write the records with their boxes and with the whole image. The folder name is the name of the data set."""
    uncrop = [
        record | {"center": np.full(2, SIDE / 2), "scale": np.full(2, SIDE / 200), "box": np.array([0, 0, SIDE, SIDE])}
        for record in records
    ]
    (folder / "annot").mkdir(parents=True, exist_ok=True)
    for suffix, content in (("", records), ("_uncrop", uncrop)):
        (folder / "annot" / f"{folder.name}_{subset}{suffix}.pkl").write_bytes(pickle.dumps(content, protocol=2))


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
