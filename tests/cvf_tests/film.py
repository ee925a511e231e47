"""Data set with trackable images: textured patches follow the joints in front of a textured room."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
from cvf_tests.tiny_data import BOX_PX, SIDE, STANDING_MM, tiny_camera

from lib.multiviews.cameras import Cameras, project, world_to_camera

NUM_FRAMES = 24
ZOOM = 2  # of the tiny data set's images, for texture to track
SIZE = ZOOM * SIDE
PATCH_PX = 25


def _pose(frame: int) -> np.ndarray:
    """Return (17, 3) mm: the person turns slightly, and each joint sways with its own phase."""
    phase = np.arange(17)
    sway = 85 * np.sin(0.35 * frame + phase[:, None] + [0, 2, 4]) * (0.3 + 0.1 * (phase[:, None] % 5))
    angle = 0.12 * frame
    return STANDING_MM + sway + [80 * np.cos(angle), 80 * np.sin(angle), 0]


def texture(rng: np.random.Generator, size: int, blur: float) -> np.ndarray:
    """Return a gray image (size, size) with texture to track."""
    noise = cv2.GaussianBlur(rng.normal(0, 1, (size, size)).astype(np.float32), (0, 0), blur)
    return cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def draw(room: np.ndarray, patches: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Draw a patch at the subpixel position of each joint."""
    image = room.copy()
    for patch, (x, y) in zip(patches, joints, strict=True):
        matrix = np.array([[1, 0, x - patch.shape[1] // 2], [0, 1, y - patch.shape[0] // 2]])
        moved = cv2.warpAffine(patch, matrix, room.shape[::-1])
        mask = cv2.warpAffine(np.full_like(patch, 255), matrix, room.shape[::-1]) > 127
        image[mask] = moved[mask]
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)


def write_film(root: Path, num_views: int = 4, gap: int = 1) -> list[dict]:
    """Write ROOT/h36m with one recording of subject 1 and return its records, which store() writes after changes.

    Args:
        root: new folder.
        num_views: number of cameras.
        gap: distance of the frames.
    """
    rng = np.random.default_rng(3)
    records = []
    patches = np.stack([texture(rng, PATCH_PX, 1.5) for _ in range(17)])
    for view in range(num_views):
        record = tiny_camera(view, num_views, rng)
        record |= {key: ZOOM * record[key] for key in ("fx", "fy", "cx", "cy")}
        camera = Cameras.from_records([record])[0]
        room = texture(rng, SIZE, 3.0)
        clip = f"s_01_act_14_subact_01_ca_{view + 1:02}"
        (root / "h36m/images" / clip).mkdir(parents=True)
        for number in range(NUM_FRAMES):
            frame = 1 + gap * number
            pose = _pose(gap * number)
            joints = project(pose, camera)[0]
            name = f"{clip}/{clip}_{frame:06}.jpg"
            cv2.imwrite(str(root / "h36m/images" / name), draw(room, patches, joints))
            center = (joints.min(0) + joints.max(0)) / 2
            records.append(
                {
                    "image": name,
                    "source": "h36m",
                    "video_id": view,
                    "subject": 1,
                    "action": 14,
                    "subaction": 1,
                    "image_id": frame,
                    "camera_id": view,
                    "joints_2d": joints,
                    "joints_3d": world_to_camera(pose, camera),
                    "joints_3d_camera": world_to_camera(pose, camera),
                    "joints_vis": np.ones((17, 3)),
                    "camera": record,
                    "center": center,
                    "scale": np.full(2, ZOOM * BOX_PX / 200),
                    "box": np.zeros(4),
                }
            )
    (root / "h36m/annot").mkdir()
    store(root, records)
    return records


def store(root: Path, records: list[dict]) -> None:
    """Write records as training and validation annotation."""
    for subset in ("train", "validation"):
        (root / f"h36m/annot/h36m_{subset}.pkl").write_bytes(pickle.dumps(records))
