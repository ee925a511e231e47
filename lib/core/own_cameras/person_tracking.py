"""Find the person with BlazePose's detector, then follow the 3D pose: each frame's crops are placed from the last."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.core.evaluation2d.decode import locations_in_images
from lib.core.own_cameras.network import FramePrediction, PoseNetwork
from lib.core.own_cameras.recording import FLIP_PAIRS
from lib.dataset.own_cameras.person_detector import PersonDetector, upright_rotation
from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, project
from lib.multiviews.keypoints.triangulate_robust import triangulate_robust
from lib.multiviews.recording.person_association import choose_person
from lib.multiviews.recording.robust_poses import person_sizes
from lib.utils.joints import H36M_17
from lib.utils.transforms import SCALE_UNIT_PX, get_affine_transform, to_heatmap

logger = logging.getLogger(__name__)

_ROOT = H36M_17.index("root")
_NECK = H36M_17.index("neck")


@dataclass(frozen=True)
class TrackingSettings:
    """Crops around the followed person, and when the person counts as lost.

    Attributes:
        min_box_mm, max_box_mm: limits of the crops' side at the person.
        margin: side of the crops / twice the distance of the farthest joint from the root.
        tolerance: reprojection error of agreeing views, share of the crop side.
        gate: peaks farther from the predicted joint do not count, share of the crop side.
        min_joints: fewer located joints are no pose.
        max_missing: frames without a pose after which the person is searched again.
        min_upright: length of the upper body in the image, share of the crop side, from which it gives the rotation.
    """

    min_box_mm: float = 1900.0
    max_box_mm: float = 2600.0
    margin: float = 1.05
    tolerance: float = 0.04
    gate: float = 0.15
    min_joints: int = 8
    max_missing: int = 10
    min_upright: float = 0.08


_TRACKING = TrackingSettings()


@dataclass(frozen=True)
class _Crops:
    """N crops.

    Attributes:
        center: (N, 2) image px.
        side: (N,) image px.
        matrices: (N, 2, 3) image px -> crop px.
        image_to_heatmap: (N, 2, 3).
    """

    center: np.ndarray
    side: np.ndarray
    matrices: np.ndarray
    image_to_heatmap: np.ndarray


class PersonTracker:
    """Finds one person and follows the person through consecutive frames."""

    def __init__(self, network: PoseNetwork, detector: PersonDetector, cameras: Cameras) -> None:
        """
        Args:
            network: makes the heatmaps.
            detector: finds the people in an image.
            cameras: cameras of the rig, leading axis V.
        """
        self._network = network
        self._detector = detector
        self._cameras = cameras
        self._pose: np.ndarray | None = None  # (17, 3) mm, of the last frame
        self._step = np.zeros(3)  # of the person between the last two frames, mm
        self._missing = 0  # frames since the person was located
        self._rotation_deg = np.zeros(len(cameras))

    def search(self, images: Sequence[np.ndarray]) -> bool:
        """Find the person that most views agree on in V images (h, w, 3) BGR.

        Returns:
            Whether there is one. The next frame to follow is the same.
        """
        people, sides = self._joints_of_people(images)
        if not people.shape[1]:
            return False
        points_img = people[..., :2]
        frame = self._cameras.map(lambda array: array[None])
        chosen = choose_person(points_img[None], frame, person_sizes(points_img)[None], FLIP_PAIRS)[0]
        seen = chosen >= 0
        views = np.arange(len(images))
        used = np.repeat(seen[:, None], len(H36M_17), 1)
        pose = self._triangulate(people[views, chosen], used, sides[views, chosen])
        known = np.isfinite(pose).all(-1)
        if known.sum() < _TRACKING.min_joints:
            return False
        self._pose = np.where(known[:, None], pose, np.median(pose[known], 0))
        self._step = np.zeros(3)
        self._missing = 0
        logger.info(
            "person found in %d of %d views at %s mm", seen.sum(), len(seen), self._pose[_ROOT].round().tolist()
        )
        return True

    def _joints_of_people(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Detect people and their joints (V, P, 17, 3), NaN where a view shows fewer, and crop sides (V, P) px."""
        found = [self._detector(image) for image in images]
        num_people = max(len(people) for people in found)
        joints = np.full((len(images), num_people, len(H36M_17), 3), np.nan)
        sides = np.ones((len(images), num_people))
        for view, (image, people) in enumerate(zip(images, found, strict=True)):
            if not len(people):
                continue
            crops = self._crops(people.center, people.side, people.rotation_deg)
            heatmaps = self._network.single_view([image] * len(people), crops.matrices)
            joints[view, : len(people)] = _locations(heatmaps, crops)
            sides[view, : len(people)] = people.side
        return joints, sides

    def __call__(self, images: Sequence[np.ndarray]) -> FramePrediction:
        """Predict the next frame from V images (h, w, 3) BGR, after search() has found the person."""
        if self._missing > _TRACKING.max_missing:
            self.search(images)
        crops = self._crops_around(self._pose + self._step)
        heatmaps, single_view = self._network.heatmaps(images, crops.matrices)
        locations = _locations(heatmaps, crops)
        is_located = self._move(locations, crops.side)
        return FramePrediction(heatmaps, locations, crops.image_to_heatmap, crops.center, is_located, single_view)

    def _crops(self, center: np.ndarray, side: np.ndarray, rotation_deg: np.ndarray) -> _Crops:
        keys = self._network.config.NETWORK
        scale = np.repeat(side[:, None] / SCALE_UNIT_PX, 2, 1)
        matrices = get_affine_transform(center, scale, rotation_deg, keys.IMAGE_SIZE)
        return _Crops(center, side, matrices, to_heatmap(matrices, keys.IMAGE_SIZE, keys.HEATMAP_SIZE))

    def _crops_around(self, pose: np.ndarray) -> _Crops:
        """Return the crops of the V views around a pose (17, 3) mm, in which the upper body is upright."""
        ends, depth = project(pose[[_ROOT, _NECK]], self._cameras)  # (V, 2, 2), (V, 2)
        reach = np.linalg.norm(pose - pose[_ROOT], axis=-1).max()
        box_mm = np.clip(2 * _TRACKING.margin * reach, _TRACKING.min_box_mm, _TRACKING.max_box_mm)
        side = self._cameras.f.mean(-1) / np.maximum(depth[:, 0], MIN_DEPTH_MM) * box_mm
        up = ends[:, 1] - ends[:, 0]
        is_clear = np.linalg.norm(up, axis=-1) > _TRACKING.min_upright * side
        self._rotation_deg = np.where(is_clear, upright_rotation(up), self._rotation_deg)
        return self._crops(ends[:, 0], side, self._rotation_deg)

    def _move(self, locations: np.ndarray, side: np.ndarray) -> bool:
        """Move the pose to the joints (V, 17, 3) on which the views agree near the predicted pose, if they are enough.

        A person who hides this one in some views is not near it in all of them.
        """
        predicted = self._pose + self._step
        expected, _ = project(predicted, self._cameras)
        near = np.linalg.norm(locations[..., :2] - expected, axis=-1) < _TRACKING.gate * side[:, None]
        pose = self._triangulate(locations, near, side)
        known = np.isfinite(pose).all(-1)
        if known.sum() < _TRACKING.min_joints:
            self._missing += 1
            self._pose = predicted
            self._step = self._step / 2
            return False
        self._missing = 0
        self._step = np.median(pose[known] - self._pose[known], 0)
        self._pose = np.where(known[:, None], pose, self._pose + self._step)
        return True

    def _triangulate(self, locations: np.ndarray, used: np.ndarray, side: np.ndarray) -> np.ndarray:
        """Triangulate (17, 3) from locations (V, 17, 3) where used (V, 17); NaN where no two views agree."""
        points = np.where(used[..., None], locations, np.nan).astype(np.float64)[None, :, :, None]
        frame = self._cameras.map(lambda array: array[None])
        tolerance_px = _TRACKING.tolerance * side[None]
        return triangulate_robust(points[..., :2], np.nan_to_num(points[..., 2]), frame, tolerance_px)[0]


def _locations(heatmaps: np.ndarray, crops: _Crops) -> np.ndarray:
    """Return joints (N, 17, 3): x, y in image px and peak value."""
    return locations_in_images(heatmaps, crops.image_to_heatmap, "log_quadratic")
