"""Annotation records in the formats of the original code for Human3.6M and MPII."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.dataset.mpii import HEAD_OF_DIAGONAL, MPII_DOWN_PX
from lib.multiviews.cameras import Cameras, project_camera
from lib.utils.joints import MPII_16
from lib.utils.transforms import SCALE_UNIT_PX

BOX_MM = np.array([[-1000.0, -900.0, 0.0], [1000.0, 1100.0, 0.0]])  # corners relative to the root, camera frame


@dataclass(frozen=True, order=True)
class Clip:
    """Video of one camera of a recording.

    Attributes:
        subject, action, subaction: ids.
        camera_id: 0-based id of the camera.
    """

    subject: int
    action: int
    subaction: int
    camera_id: int

    @property
    def stem(self) -> str:
        """Name of the folder of images; its camera number is 1-based."""
        return f"s_{self.subject:02d}_act_{self.action:02d}_subact_{self.subaction:02d}_ca_{self.camera_id + 1:02d}"

    @classmethod
    def from_stem(cls, stem: str) -> Clip:
        """Parse the name of a folder of images."""
        subject, action, subaction, camera = (int(part) for part in stem.split("_")[1::2])
        return cls(subject, action, subaction, camera - 1)

    def image_name(self, image_id: int) -> str:
        """Return the path of an image below `images/`."""
        return f"{self.stem}/{self.stem}_{image_id:06d}.jpg"


def camera_record(
    rotation: np.ndarray,
    center: np.ndarray,
    focal: np.ndarray,
    principal: np.ndarray,
    radial: np.ndarray,
    tangential: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return a camera dictionary of the Human3.6M annotation: R (3,3), T (3,1) mm, fx ..., k (3,1), p (2,1)."""
    return {
        "R": np.asarray(rotation, float),
        "T": np.reshape(center, (3, 1)).astype(float),
        "fx": np.array([focal[0]], float),
        "fy": np.array([focal[1]], float),
        "cx": np.array([principal[0]], float),
        "cy": np.array([principal[1]], float),
        "k": np.reshape(radial, (3, 1)).astype(float),
        "p": np.reshape(tangential, (2, 1)).astype(float),
    }


def person_box(root_cam: np.ndarray, camera: Cameras) -> np.ndarray:
    """Return the boxes (F, 4) x0, y0, x1, y1, px, of a square of 2 m around roots (F, 3), camera frame, mm.

    The square is at the depth of the root: 1000 mm left and right, 900 mm above and 1100 mm below.
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
    """Return the F records of one video.

    Args:
        clip: ids of the video.
        video_id: number of the video in the data set.
        camera: camera dictionary, shared by the records.
        image_ids: (F,) frame numbers.
        joints_img: (F, J, 2) px.
        joints_cam: (F, J, 3) camera frame, mm; joint 0 is the root, the center of the box.
        extra: additional or overridden entries, key -> (F, ...).
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
    """Return copies of records with the whole image, (width, height) px, as box."""
    box = np.array([0.0, 0.0, *image_wh])
    return [with_box(record, box) for record in records]


def with_box(record: dict[str, Any], box: np.ndarray) -> dict[str, Any]:
    """Return a copy of a record with another box x0, y0, x1, y1, px."""
    return {**record, **_center_scale(box), "box": box.copy()}


def mpii_record(
    name: str, joints: np.ndarray, hidden: np.ndarray, head_px: float, image_wh: tuple[int, int]
) -> dict[str, Any]:
    """Return a record of MPII's JSON: coordinates are 1-based, `scale` is the height of the person / 200 px.

    load_mpii() moves the box down and enlarges it; the result is centered on the person.

    Args:
        name: file name of the image.
        joints: (16, 2) 0-based px. Joints outside of the image are stored with visibility 0 and position -1.
        hidden: (16,) bool, stored as `joints_occluded`.
        head_px: head size; `head_box` is a square of this size between upper neck and head top.
        image_wh: (width, height), px.
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
