"""BlazePose's person detector: people in an image, each with a box for the landmark network."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.utils.tflite import TfliteNetwork
from lib.utils.transforms import SCALE_UNIT_PX, crop_image, get_affine_transform, invert_affine, transform_points

_INPUT_PX = 224
_GRIDS = ((8, 2), (16, 2), (32, 6))  # stride, px, and anchors per cell
_LANDMARK_BOX = 1.25  # side of the landmark network's box / diameter of the circle around the person


@dataclass(frozen=True)
class DetectorSettings:
    """Selection of the detector's candidates.

    Attributes:
        min_score: smallest probability of a person.
        max_people: people per image.
        same_person: candidates whose hips are nearer than this share of the person's size are the same person.
        tile_overlap: overlap of the tiles of an elongated image, share of their side.
    """

    min_score: float = 0.5
    max_people: int = 6
    same_person: float = 0.2
    tile_overlap: float = 0.25


_DETECTOR = DetectorSettings()


@dataclass(frozen=True)
class FoundPeople:
    """P people in one image, best first.

    Attributes:
        score: (P,) probability.
        center: (P, 2) middle of the hips, image px.
        side: (P,) side of the landmark network's box, image px.
        rotation_deg: (P,) rotation of the box in which the person is upright.
    """

    score: np.ndarray
    center: np.ndarray
    side: np.ndarray
    rotation_deg: np.ndarray

    def __len__(self) -> int:
        return len(self.score)


class PersonDetector:
    """The detector with its network.

    Args:
        path: pose_detection.tflite.
        advice: what to do if it is missing, for the error message.

    Source: MediaPipe, modules/pose_detection and modules/pose_landmark (Apache-2.0).
    """

    def __init__(self, path: Path, advice: str = "check the path") -> None:
        self._network = TfliteNetwork(path, advice=advice)

    def __call__(self, image: np.ndarray) -> FoundPeople:
        """Find the people in an image (h, w, 3) uint8 BGR: in the whole of it, and in square tiles of a long one."""
        height, width = image.shape[:2]
        boxes = _boxes(width, height)
        scale = np.repeat(boxes[:, 2:] / SCALE_UNIT_PX, 2, 1)
        matrices = get_affine_transform(boxes[:, :2], scale, 0.0, (_INPUT_PX, _INPUT_PX))
        found = []
        for matrix in matrices:
            crop = crop_image(image, matrix, (_INPUT_PX, _INPUT_PX))[None, ..., ::-1]
            points, logits = self._network(crop / np.float32(127.5) - 1, "Identity", "Identity_1")
            score = 1 / (1 + np.exp(-logits[0, :, 0].clip(-50, 50)))
            kept = score >= _DETECTOR.min_score
            # The first two of a candidate's points are the middle of the hips and a point on the circle around it.
            relative = points[0, kept, 4:8].reshape(-1, 2, 2) / _INPUT_PX + _anchors()[kept, None]
            found.append((score[kept], transform_points(relative * _INPUT_PX, invert_affine(matrix))))
        return _distinct(*(np.concatenate(column) for column in zip(*found, strict=True)))


def _boxes(width: int, height: int) -> np.ndarray:
    """Return centers and side (N, 3), px, of the square around an image and of the tiles that cover a long one."""
    short, long = sorted((width, height))
    whole = [width / 2, height / 2, long]
    if long * (1 - _DETECTOR.tile_overlap) <= short:
        return np.array([whole])
    count = 1 + int(np.ceil((long - short) / (short * (1 - _DETECTOR.tile_overlap))))
    tiles = np.full((count, 3), [short / 2, short / 2, short])
    tiles[:, 0 if width > height else 1] = np.linspace(short / 2, long - short / 2, count)
    return np.concatenate([[whole], tiles])


def _anchors() -> np.ndarray:
    """Return the anchors (2254, 2) as shares of the input."""
    grids = []
    for stride, count in _GRIDS:
        side = _INPUT_PX // stride
        at = (np.arange(side) + 0.5) / side
        grids.append(np.repeat(np.stack(np.meshgrid(at, at), -1).reshape(-1, 2), count, 0))
    return np.concatenate(grids)


def _distinct(score: np.ndarray, points: np.ndarray) -> FoundPeople:
    """Return the best candidate of each person from scores (N,) and points (N, 2, 2), image px."""
    radius = np.linalg.norm(points[:, 1] - points[:, 0], axis=-1)
    chosen: list[int] = []
    for one in np.argsort(-score):
        distance = np.linalg.norm(points[chosen, 0] - points[one, 0], axis=-1)
        if len(chosen) < _DETECTOR.max_people and (distance > 2 * _DETECTOR.same_person * radius[one]).all():
            chosen.append(int(one))
    up = points[chosen, 1] - points[chosen, 0]
    return FoundPeople(
        score=score[chosen],
        center=points[chosen, 0],
        side=2 * _LANDMARK_BOX * radius[chosen],
        rotation_deg=upright_rotation(up),
    )


def upright_rotation(up: np.ndarray) -> np.ndarray:
    """Return the rotation, degrees, of boxes in which directions (..., 2), image px, point up."""
    return np.degrees(np.arctan2(up[..., 0], -up[..., 1]))
