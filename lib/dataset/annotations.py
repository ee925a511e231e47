"""Annotations of M images as a struct of arrays.

Human3.6M has 1.56 million records. A list of dictionaries opens slowly and is copied by every loading process; arrays
are shared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.dataset.protocol import HUMAN36M, EvaluationProtocol, Parts
from lib.multiviews.cameras import Cameras, camera_to_world
from lib.utils.joints import UNION_20, JointSet


@dataclass(frozen=True)
class PoseLabels:
    """3D labels and cameras of M images of a multi-view data set.

    Attributes:
        subject, action, subaction: (M,) int32 ids of the recording.
        frame: (M,) int64 frame number in the recording (int32 in older files).
        camera_id: (M,) int32 id of the camera in its rig.
        pose_cam: (M, J, 3) joints in the camera frame, mm, in the order of the data set's joints.
        cameras: the C distinct cameras.
        camera_idx: (M,) int32 index into `cameras`.
        protocol: names of the recordings and parts of the results.
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
        """Return EvaluationProtocol.listed_actions() of some images."""
        return self.protocol.listed_actions(self.action[rows], self.subaction[rows])

    def parts(self, rows: np.ndarray) -> Parts:
        """Return EvaluationProtocol.parts() of some images."""
        return self.protocol.parts(self.subject[rows], self.action[rows], self.subaction[rows])


@dataclass(frozen=True)
class Annotations:
    """Annotations of M images.

    Attributes:
        source: "h36m", "totalcapture" or "mpii".
        joint_set: joints annotated in the data set.
        images_dir: folder of the images; with `.zip` appended, the archive.
        image: (M,) bytes, path below `images_dir`; bytes take a quarter of the memory of str.
        joints_img: (M, 20, 2) float32, union joints, image px, 0-based.
        visible: (M, 20) bool; False for joints that are not annotated.
        center: (M, 2) float32, center of the crop, image px.
        scale: (M, 2) float32, (width, height) of the crop / 200 px.
        labels3d: 3D labels and cameras; None for single images.
        head_size: (M,) float32 head sizes for PCKh, image px, NaN = missing; None if all are missing.
        occluded: (M, 20) bool, annotated joints that are hidden in the image; None = unknown.
        reopen: opens the same annotations from disk. Pickling calls it, so other processes receive no copy. None for
            arrays in memory; must be None in anything derived.
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

    def labeled(self, groups: np.ndarray) -> np.ndarray:
        """Return which joints of groups (F, V) are labeled in a view: (F, J), in the order of the joint set."""
        return self.visible[:, UNION_20.indices(self.joint_set.names)][groups].any(1)

    def image_name(self, row: int) -> str:
        """Return the path of an image below the images folder."""
        return self.image[row].decode()
