"""Annotation records in the published structures of Human3.6M and MPII."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.dataset.mpii import HEAD_OF_DIAGONAL, MPII_DOWN_PX
from lib.multiviews.cameras import Cameras, project_camera
from lib.utils.joints import MPII_16
from lib.utils.transforms import SCALE_UNIT_PX

BOX_MM = np.array([[-1000.0, -900.0, 0.0], [1000.0, 1100.0, 0.0]])  # corners around the root, camera frame


@dataclass(frozen=True, order=True)
class Clip:
    """What one camera filmed of a recording.

    Attributes:
        subject, action, subaction: ids.
        camera_id: number of the camera, from 0.
    """

    subject: int
    action: int
    subaction: int
    camera_id: int

    @property
    def stem(self) -> str:
        """Name of the folder of its images; cameras count from 1 there."""
        return f"s_{self.subject:02d}_act_{self.action:02d}_subact_{self.subaction:02d}_ca_{self.camera_id + 1:02d}"

    @classmethod
    def from_stem(cls, stem: str) -> Clip:
        """Read the name of a folder of images."""
        subject, action, subaction, camera = (int(part) for part in stem.split("_")[1::2])
        return cls(subject, action, subaction, camera - 1)

    def image_name(self, image_id: int) -> str:
        """Return the path of an image below `images/`."""
        return f"{self.stem}/{self.stem}_{image_id:06d}.jpg"


def camera_record(
    rotation: np.ndarray,
    centre: np.ndarray,
    focal: np.ndarray,
    middle: np.ndarray,
    radial: np.ndarray,
    tangential: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return a camera dictionary as Human3.6M's annotation has it: R (3,3), T (3,1) mm, fx ..., k (3,1), p (2,1)."""
    return {
        "R": np.asarray(rotation, float),
        "T": np.reshape(centre, (3, 1)).astype(float),
        "fx": np.array([focal[0]], float),
        "fy": np.array([focal[1]], float),
        "cx": np.array([middle[0]], float),
        "cy": np.array([middle[1]], float),
        "k": np.reshape(radial, (3, 1)).astype(float),
        "p": np.reshape(tangential, (2, 1)).astype(float),
    }


def person_box(root_cam: np.ndarray, camera: Cameras) -> np.ndarray:
    """Project a square of 2 m around the root: 1000 mm left and right, 900 above, 1100 below, at the root's depth.

    Args:
        root_cam: (F, 3) root, camera frame, mm.
        camera: one camera, without leading axes.

    Returns:
        (F, 4) x0, y0, x1, y1, px.
    """
    corners_cam = root_cam[:, None] + BOX_MM
    return project_camera(corners_cam, camera)[0].reshape(-1, 4)


def clip_records(
    clip: Clip,
    video_id: int,
    camera: dict[str, np.ndarray],
    image_ids: np.ndarray,
    joints_img: np.ndarray,
    joints_cam: np.ndarray,
    extra: Mapping[str, np.ndarray],
) -> list[dict[str, Any]]:
    """Make the records of one camera's film of a recording.

    Args:
        clip: whose film it is.
        video_id: number of the video in the data set.
        camera: camera dictionary, as Human3.6M's annotation has it; the records share it.
        image_ids: (F,) frame numbers.
        joints_img: (F, J, 2) px.
        joints_cam: (F, J, 3) camera frame, mm; joint 0 is the root, around which the box is.
        extra: further entries, key -> (F, ...), or others than usual, e.g. joints_vis (F, J, 3).

    Returns:
        F dictionaries.
    """
    boxes = person_box(joints_cam[:, 0], Cameras.from_records([camera])[0])
    visible = np.ones((joints_img.shape[1], 3))
    return [
        {
            "image": clip.image_name(image_id),
            "joints_2d": joints_img[frame].copy(),
            "joints_3d": joints_cam[frame].copy(),
            "joints_3d_camera": joints_cam[frame].copy(),
            "joints_vis": visible.copy(),
            **{key: values[frame].copy() for key, values in extra.items()},
            "video_id": video_id,
            "image_id": image_id,
            "subject": clip.subject,
            "action": clip.action,
            "subaction": clip.subaction,
            "camera_id": clip.camera_id,
            "source": "h36m",
            "camera": camera,
            **_center_scale(boxes[frame]),
            "box": boxes[frame].copy(),
        }
        for frame, image_id in enumerate(image_ids.tolist())
    ]


def _center_scale(box: np.ndarray) -> dict[str, tuple[float, float]]:
    x0, y0, x1, y1 = box.tolist()
    return {"center": ((x0 + x1) / 2, (y0 + y1) / 2), "scale": ((x1 - x0) / SCALE_UNIT_PX, (y1 - y0) / SCALE_UNIT_PX)}


def uncrop(records: Sequence[dict[str, Any]], image_wh: tuple[int, int]) -> list[dict[str, Any]]:
    """Return copies of records whose box is the whole image of (width, height) px."""
    box = np.array([0.0, 0.0, *image_wh])
    return [with_box(record, box) for record in records]


def with_box(record: dict[str, Any], box: np.ndarray) -> dict[str, Any]:
    """Return a copy of a record with another box x0, y0, x1, y1, px."""
    return {**record, **_center_scale(box), "box": box.copy()}


def mpii_record(
    name: str, joints: np.ndarray, hidden: np.ndarray, head_px: float, image_wh: tuple[int, int]
) -> dict[str, Any]:
    """Make a record of MPII's json: coordinates count from 1, `scale` is the person's height / 200 px.

    The reader moves the box down by 15 * scale and enlarges it by 1.25; the box here is such that the result is
    centred on the person.

    Args:
        name: file name of the image.
        joints: (16, 2) px from 0.
        hidden: (16) bool, stored as `joints_occluded`.
        head_px: head size; `head_box` is the square that has it, between upper neck and head top.
        image_wh: (width, height), px.

    Returns:
        The record; joints out of the picture have visibility 0 and position -1.
    """
    low, high = joints.min(0), joints.max(0)
    scale = float(1.06 * (high - low).max() / SCALE_UNIT_PX)
    center = 0.5 * (low + high) + 1 - [0.0, MPII_DOWN_PX * scale]
    inside = ((joints >= 0) & (joints <= np.array(image_wh) - 1)).all(1)
    stored = np.where(inside[:, None], joints + 1, -1.0)
    head = joints[MPII_16.indices(["upper neck", "head top"])].mean(0) + 1
    half_side = head_px / HEAD_OF_DIAGONAL / np.sqrt(8)
    return {
        "image": name,
        "center": center.round(4).tolist(),
        "scale": round(scale, 6),
        "joints": stored.round(4).tolist(),
        "joints_vis": inside.astype(int).tolist(),
        "joints_occluded": hidden.astype(int).tolist(),
        "head_box": np.concatenate([head - half_side, head + half_side]).round(4).tolist(),
    }
