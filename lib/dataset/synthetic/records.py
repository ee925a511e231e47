"""Annotation records in the published structures of Human3.6M and MPII."""

from __future__ import annotations

from typing import Any

import numpy as np

from lib.dataset.synthetic.scene import SubjectWorld
from lib.multiviews.cameras import Cameras, project, world_to_camera
from lib.utils.transforms import SCALE_UNIT_PX

BOX_MM = np.array([[-1000.0, -900.0, 0.0], [1000.0, 1100.0, 0.0]])  # corners around the root, camera frame
# What the reader of MPII does to a box, in advance undone here.
MPII_DOWN_PX = 15.0
MPII_ENLARGE = 1.25


def image_name(subject: int, action: int, subaction: int, camera_id: int, image_id: int) -> str:
    """Return the path of an image below `images/`; camera_id counts from 0, the name from 1."""
    stem = f"s_{subject:02d}_act_{action:02d}_subact_{subaction:02d}_ca_{camera_id + 1:02d}"
    return f"{stem}/{stem}_{image_id:06d}.jpg"


def person_box(root_cam: np.ndarray, camera: Cameras) -> np.ndarray:
    """Project a square of 2 m around the root: 1000 mm left and right, 900 above, 1100 below, at the root's depth.

    Args:
        root_cam: (F, 3) root, camera frame, mm.
        camera: one camera, without leading axes.

    Returns:
        (F, 4) x0, y0, x1, y1, px.
    """
    corners_cam = root_cam[:, None] + BOX_MM
    corners_world = corners_cam @ camera.R + camera.T
    return project(corners_world, camera)[0].reshape(-1, 4)


def recording_records(
    world: SubjectWorld, action: int, subaction: int, image_ids: np.ndarray, joints_world: np.ndarray,
    occluded: np.ndarray, first_video_id: int,
) -> list[dict[str, Any]]:
    """Make the records of one recording, frame by frame and camera by camera.

    Args:
        world: subject and rig.
        action: id 2..16.
        subaction: 1 or 2.
        image_ids: (F) frame numbers.
        joints_world: (F, 17, 3) mm.
        occluded: (F, V, 17) bool, stored as `joints_occluded`.
        first_video_id: number of the first camera's video.

    Returns:
        F * V dictionaries.
    """
    # Arrays from another process carry a dtype object of their own, which would show in the pickle's bytes.
    joints_world, occluded = joints_world.astype(np.float64), occluded.astype(np.bool_)
    columns = []
    for view in range(world.settings.num_views):
        camera = world.cameras[view]
        points, _ = project(joints_world, camera)
        joints_cam = world_to_camera(joints_world, camera)
        columns.append((points, joints_cam, person_box(joints_cam[:, 0], camera)))
    records = []
    for frame, image_id in enumerate(image_ids.tolist()):
        for view, (points, joints_cam, boxes) in enumerate(columns):
            box = boxes[frame].copy()
            records.append({
                "image": image_name(world.subject, action, subaction, view, image_id),
                "joints_2d": points[frame].copy(), "joints_3d": joints_cam[frame].copy(),
                "joints_3d_camera": joints_cam[frame].copy(), "joints_vis": np.ones((points.shape[1], 3)),
                "joints_occluded": occluded[frame, view].copy(),
                "video_id": first_video_id + view, "image_id": image_id, "subject": world.subject, "action": action,
                "subaction": subaction, "camera_id": view, "source": "h36m", "camera": world.camera_records[view],
                **_center_scale(box), "box": box,
            })  # fmt: skip
    return records


def _center_scale(box: np.ndarray) -> dict[str, tuple[float, float]]:
    x0, y0, x1, y1 = box.tolist()
    return {"center": ((x0 + x1) / 2, (y0 + y1) / 2), "scale": ((x1 - x0) / SCALE_UNIT_PX, (y1 - y0) / SCALE_UNIT_PX)}


def uncrop(records: list[dict[str, Any]], image_size: int) -> list[dict[str, Any]]:
    """Return copies of records whose box is the whole image."""
    box = np.array([0.0, 0.0, image_size, image_size])
    return [{**record, **_center_scale(box), "box": box.copy()} for record in records]


def mpii_record(name: str, joints: np.ndarray, hidden: np.ndarray, image_wh: tuple[int, int]) -> dict[str, Any]:
    """Make a record of MPII's json: coordinates count from 1, `scale` is the person's height / 200 px.

    The reader moves the box down by 15 * scale and enlarges it by 1.25; the box here is such that the result is
    centred on the person.

    Args:
        name: file name of the image.
        joints: (16, 2) px from 0.
        hidden: (16) bool, stored as `joints_occluded`.
        image_wh: (width, height), px.

    Returns:
        The record; joints out of the picture have visibility 0 and position -1.
    """
    low, high = joints.min(0), joints.max(0)
    scale = float(1.06 * (high - low).max() / SCALE_UNIT_PX)
    center = 0.5 * (low + high) + 1 - [0.0, MPII_DOWN_PX * scale]
    inside = ((joints >= 0) & (joints <= np.array(image_wh) - 1)).all(1)
    stored = np.where(inside[:, None], joints + 1, -1.0)
    return {
        "image": name, "center": center.round(4).tolist(), "scale": round(scale, 6), "joints": stored.round(4).tolist(),
        "joints_vis": inside.astype(int).tolist(), "joints_occluded": hidden.astype(int).tolist(),
    }  # fmt: skip
