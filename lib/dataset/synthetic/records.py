"""Records of a synthetic recording."""

from __future__ import annotations

from typing import Any

import numpy as np

from lib.dataset.storage.record_writer import Clip, clip_records
from lib.dataset.synthetic.scene import SubjectWorld
from lib.multiviews.cameras import project, world_to_camera


def recording_records(
    world: SubjectWorld,
    action: int,
    subaction: int,
    image_ids: np.ndarray,
    joints_world: np.ndarray,
    occluded: np.ndarray,
    first_video_id: int,
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
    views = []
    for view, camera_record in enumerate(world.camera_records):
        camera = world.cameras[view]
        views.append(
            clip_records(
                Clip(world.subject, action, subaction, view),
                first_video_id + view,
                camera_record,
                image_ids,
                project(joints_world, camera)[0],
                world_to_camera(joints_world, camera),
                {"joints_occluded": occluded[:, view]},
            )
        )
    return [record for frame in zip(*views, strict=True) for record in frame]
