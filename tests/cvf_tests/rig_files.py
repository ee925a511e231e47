"""Files of a small rig: calibration, detections and videos."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from lib.dataset.own_cameras.keypoint_sets import POINT_SETS

TABLE = """
[cam_{index}]
name = "{name}"
size = [200.0, 160.0]
matrix = [[300.0, 0.0, {cx}], [0.0, 301.0, 79.0], [0.0, 0.0, 1.0]]
distortions = [-0.1, 0.05, 0.001, -0.002{k3}]
rotation = [0.1, {angle}, -0.2]
translation = [0.3, -0.1, 4.0]
fisheye = false
"""


METADATA = "\n[metadata]\nadjusted = false\nerror = 0.0\n"


def write_toml(path: Path, names=("left", "right"), k3: str = ", 0.03") -> Path:
    tables = [
        TABLE.format(index=index, name=name, cx=100.5 + index, k3=k3, angle=0.4 * index)
        for index, name in enumerate(names)
    ]
    path.write_text("".join(tables) + METADATA)
    return path


def named_points(point_set: str) -> np.ndarray:
    """Return (K, 3) points with a unique position for each name, and confidence 0.9."""
    names = sorted({name for points in POINT_SETS.values() for name in points})
    return np.array([[100.0 + names.index(name), 2.0 * names.index(name), 0.9] for name in POINT_SETS[point_set]])


def write_openpose(folder: Path, frames: dict[int, list[np.ndarray]]) -> None:
    folder.mkdir(parents=True)
    for frame, people in frames.items():
        content = {"version": 1.3, "people": [{"pose_keypoints_2d": person.ravel().tolist()} for person in people]}
        (folder / f"{folder.name}_{frame:06d}_keypoints.json").write_text(json.dumps(content))


def write_video(path: Path, num_frames: int, rate: float = 30, wh: tuple[int, int] = (64, 32)) -> None:
    """Write a video whose frames show their number as 8 stripes, white = 1."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, wh)
    for number in range(num_frames):
        bits = np.uint8([[[255 * ((number >> bit) & 1)] * 3 for bit in range(8)]])
        writer.write(cv2.resize(bits, wh, interpolation=cv2.INTER_NEAREST))
    writer.release()


def number_in(image: np.ndarray) -> int:
    height, width = image.shape[:2]
    row = image[height // 2, width // 16 :: width // 8, 1] > 127
    return int(sum(int(bit) << place for place, bit in enumerate(row)))
