"""Annotations of M images as one struct of arrays.

Human3.6M has 1.56 million records; a list of dictionaries of that length is slow to open and is copied by every
loading process, arrays are shared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.dataset.protocol import HUMAN36M, EvaluationProtocol, Parts
from lib.multiviews.cameras import Cameras, camera_to_world
from lib.utils.joints import JointSet


@dataclass(frozen=True)
class PoseLabels:
    """What only multi-view 3D data sets have; leading axis M.

    Attributes:
        subject, action, subaction: (M,) int32 ids of the recording.
        frame: (M,) int64 (int32 in older files) number of the frame in it.
        camera_id: (M,) int32 number of the camera in its rig, as annotated.
        pose_cam: (M, J, 3) joints in the image's camera frame, mm, in the order of the data set's joints.
        cameras: the C different cameras.
        camera_idx: (M,) int32 which of them took the image.
        protocol: names of the recordings, and what results are split into.
    """

    subject: np.ndarray
    action: np.ndarray
    subaction: np.ndarray
    frame: np.ndarray
    camera_id: np.ndarray
    pose_cam: np.ndarray
    cameras: Cameras
    camera_idx: np.ndarray
    protocol: EvaluationProtocol = HUMAN36M

    def pose_world(self, rows: np.ndarray) -> np.ndarray:
        """Return the joints of some images in the world frame, (len(rows), J, 3) mm."""
        return camera_to_world(self.pose_cam[rows].astype(np.float64), self.cameras[self.camera_idx[rows]])

    def listed_actions(self, rows: np.ndarray) -> np.ndarray:
        """Return what per-action results list some images under, (len(rows),): ids of actions, or recordings' names."""
        return self.protocol.listed_actions(self.action[rows], self.subaction[rows])

    def parts(self, rows: np.ndarray) -> Parts:
        """Split some images into the parts that results are given for; {} where there are none."""
        return self.protocol.parts(self.subject[rows], self.action[rows], self.subaction[rows])


@dataclass(frozen=True)
class Annotations:
    """Annotations of M images.

    Attributes:
        source: "h36m", "totalcapture" or "mpii".
        joint_set: joints that the data set annotates.
        images_dir: folder of the images (or, plus `.zip`, the archive).
        image: (M,) bytes, path below `images_dir`; bytes take a quarter of the memory of str.
        joints_img: (M, 20, 2) float32, union joints, original image px, 0-based.
        visible: (M, 20) bool; false for joints that the data set lacks or did not annotate.
        center: (M, 2) float32, box centre, image px.
        scale: (M, 2) float32, box (width, height) / 200 px.
        labels3d: 3D labels and cameras, None for single images.
        head_size: (M,) float32 head sizes of MPII's PCKh, image px, NaN where not annotated; None if nobody's is.
        occluded: (M, 20) bool, joints that the picture does not show, though they are annotated; None where nobody
            noted it.
        reopen: opens the same annotations from disk; other processes call it instead of receiving a copy. None where
            the arrays are in memory only; set it to None in anything derived.
    """

    source: str
    joint_set: JointSet
    images_dir: Path
    image: np.ndarray
    joints_img: np.ndarray
    visible: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    labels3d: PoseLabels | None = None
    head_size: np.ndarray | None = None
    occluded: np.ndarray | None = None
    reopen: Callable[[], Annotations] | None = None

    def __len__(self) -> int:
        return len(self.image)

    def __reduce_ex__(self, protocol: int) -> Any:
        return super().__reduce_ex__(protocol) if self.reopen is None else (self.reopen, ())

    def image_name(self, row: int) -> str:
        """Return the path of an image below the images folder."""
        return self.image[row].decode()
