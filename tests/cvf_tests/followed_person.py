"""Stand-ins for BlazePose's networks, which know where people are; images hold only the numbers of frame and view."""

from __future__ import annotations

import numpy as np
from cvf_tests.scenes import draw_gaussians
from easydict import EasyDict

from lib.dataset.own_cameras.person_detector import FoundPeople
from lib.multiviews.cameras import Cameras, project
from lib.utils.transforms import to_heatmap, transform_points

CONFIG = EasyDict(NETWORK={"IMAGE_SIZE": [256, 256], "HEATMAP_SIZE": [64, 64]})


def coded_images(frame: int, num_views: int) -> list[np.ndarray]:
    """Return V images (1, 1, 3) of a frame."""
    return [np.array([[[frame, view, 0]]], np.uint8) for view in range(num_views)]


class People:
    """People with their joints in all views.

    Args:
        poses_world: (people, F, 17, 3) mm.
        cameras: leading axis V.

    Attributes:
        hidden: (people, F, V) bool, the view shows the next person instead, or an empty heatmap without one.
        calls: crops of the network so far, list of (V, 2, 3).
        fusion: heatmaps (V, 17, H, W) -> fused ones; None = without fusion.
        path: weights that it was loaded from.
    """

    def __init__(self, poses_world: np.ndarray, cameras: Cameras) -> None:
        num_people, num_frames = poses_world.shape[:2]
        flat = poses_world.reshape(num_people * num_frames, 1, 17, 3)
        self.joints = project(flat, cameras.map(lambda x: np.broadcast_to(x, (len(flat), *x.shape))))[0].reshape(
            num_people, num_frames, -1, 17, 2
        )
        self.hidden = np.zeros(self.joints.shape[:3], bool)
        self.calls: list[np.ndarray] = []
        self.config = CONFIG
        self.fusion = None
        self.path = None

    def loaded(self, path):
        """As the constructor of PoseNetwork."""
        self.path = path
        return self

    def single_view(self, images, matrices):
        """As PoseNetwork.single_view(): the person whose hips are nearest to the center of each crop."""
        to_map = to_heatmap(matrices, (256, 256), (64, 64))
        maps = []
        for image, matrix in zip(images, to_map, strict=True):
            frame, view, _ = image[0, 0]
            joints = transform_points(self.joints[:, frame, view], matrix)
            order = np.argsort(np.linalg.norm(joints[:, 0] - 32, axis=-1))
            seen = [person for person in order if not self.hidden[person, frame, view]]
            shown = draw_gaussians(joints[seen[0]], (64, 64), 2.0) if seen else np.zeros((17, 64, 64), np.float32)
            maps.append(shown)
        return np.stack(maps)

    def heatmaps(self, images, matrices):
        """As PoseNetwork.heatmaps(); `fusion` gives the fused heatmaps."""
        self.calls.append(matrices)
        single_view = self.single_view(images, matrices)
        return (single_view, None) if self.fusion is None else (self.fusion(single_view), single_view)

    def detect(self, image):
        """As PersonDetector: all people that are not hidden."""
        frame, view, _ = image[0, 0]
        joints = self.joints[~self.hidden[:, frame, view], frame, view]
        size = 1.2 * np.ptp(joints, axis=1).max(-1)
        return FoundPeople(np.ones(len(joints)), joints[:, 0], size, np.zeros(len(joints)))
