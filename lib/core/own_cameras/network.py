"""The trained network on the frames of an own recording: boxes found and followed, heatmaps, 2D joints."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from heapq import nlargest
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lib.core.build_model import build_model
from lib.core.config_io import dataset_root
from lib.core.evaluation2d.decode import predict_locations
from lib.core.own_cameras.recording import Capture
from lib.core.runtime.device import select_device
from lib.dataset.network_input import network_images
from lib.dataset.own_cameras.dataset_writer import made_with
from lib.dataset.own_cameras.videos import read_instants
from lib.dataset.storage.record_writer import person_box
from lib.models.registry import FUSIONS, fusion_name
from lib.models.weights import load_model
from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, CropCameras, project, world_to_camera
from lib.multiviews.keypoints.triangulate_robust import triangulate_robust
from lib.multiviews.keypoints.view_consensus import consistent_points
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17, UNION_20
from lib.utils.transforms import SCALE_UNIT_PX, crop_image, get_affine_transform, to_heatmap

logger = logging.getLogger(__name__)

# Where the person is looked for at first, around the middle of the views. A network that was trained with the person in
# the middle of the box shows a low peak 400 mm beside it.
_SEARCH_MM = 400.0
_SEARCH_STEPS = range(-4, 5)
_BEST_PLACES = 3  # that are looked at more closely
_FIND_STEPS_MM = (200.0, 100.0, 50.0, 25.0)  # the box is moved by them as long as that makes it better
_FOLLOW_STEPS_MM = (60.0, 30.0)
_JUMP_MM = 400.0  # a root that is farther away is not believed
_GAIN = 1.002  # a move that makes it better by less is not worth the looks it takes
_OFF_CENTRE = 0.2  # what a root that far from the middle of the box takes from the score
_TOLERANCE = 0.06  # share of the box; for the search and the root alone


@dataclass(frozen=True)
class Prediction:
    """What the network says of F instants.

    Attributes:
        heatmaps: (F, V, 17, H, W) float32, fused where the network fuses.
        locations: (F, V, 17, 3) x, y in image px and the peak value.
        center: (F, V, 2) box centres, image px.
        scale: (F, V, 2) box sides / 200 px.
    """

    heatmaps: np.ndarray
    locations: np.ndarray
    center: np.ndarray
    scale: np.ndarray


class PoseNetwork:
    """A network with its weights, on pictures of one instant."""

    def __init__(self, config: Any, checkpoint: str | os.PathLike, cameras: Cameras) -> None:
        """
        Args:
            config: the configuration that it was trained with.
            checkpoint: its weights.
            cameras: of the rig, leading axis (V,).

        Raises:
            InputError: weights that are missing, damaged, or for another network or rig.
        """
        _check_rig(config, cameras)
        self.config = config
        self.device = select_device(config)
        self._model = build_model(config, len(cameras))
        load_model(self._model, checkpoint)
        self._model.to(self.device).eval()
        self._cameras = cameras.map(lambda array: self._batch(array.astype(np.float32)))
        self._joints = UNION_20.indices(H36M_17.names)

    def _batch(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array)[None].to(self.device)

    @torch.no_grad()
    def __call__(self, pictures: Sequence[np.ndarray], center: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Return the heatmaps (V, 17, H, W) of V pictures (h, w, 3) BGR in their boxes, (V, 2) px and / 200 px."""
        size = self.config.NETWORK.IMAGE_SIZE
        matrices = get_affine_transform(center, scale, 0.0, size)
        crops = [crop_image(picture, matrix, size) for picture, matrix in zip(pictures, matrices, strict=True)]
        images = network_images(torch.from_numpy(np.stack(crops))[None], self.device)
        matrices = to_heatmap(matrices, size, self.config.NETWORK.HEATMAP_SIZE).astype(np.float32)
        single, fused = self._model(images, CropCameras(self._cameras, self._batch(matrices)))
        maps = single if fused is None else fused
        return maps[0, :, self._joints].float().cpu().numpy()

    def locations(self, heatmaps: np.ndarray, center: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Return the joints (V, 17, 3): x, y in image px and the peak value."""
        return predict_locations(heatmaps, center, scale, self.config.NETWORK.IMAGE_SIZE, "log_quadratic")


def predict(
    capture: Capture, config: Any, checkpoint: str | os.PathLike, roots_world: np.ndarray | None = None
) -> tuple[Capture, Prediction]:
    """Run a network over a recording.

    The boxes are those of the training: 2 m around the root. Where no roots are given the person is looked for in the
    first instant, in boxes around places near the middle of the views, and then followed: the boxes are moved to where
    the views agree most and the peaks are highest. A person who is lost is not looked for again.

    Args:
        capture: with videos.
        config: the configuration that the network was trained with.
        checkpoint: its weights.
        roots_world: (F, 3) mm, from detections; None = to be found.

    Returns:
        The recording with the network's joints as its detections, and what the network said.

    Raises:
        InputError: no videos, or weights for another network or number of views.
    """
    if capture.videos is None:
        raise InputError("the network needs the videos: --videos")
    network = PoseNetwork(config, checkpoint, capture.rig.cameras)
    cameras = capture.rig.cameras
    parts = []
    root = None
    frames = tqdm(
        read_instants(capture.videos, capture.table),
        total=len(capture),
        desc="network",
        unit="instant",
        disable=None,
        leave=False,
    )
    for frame, pictures in enumerate(frames):
        look = _Look(network, pictures, cameras)
        if roots_world is not None:
            parts.append(look.see(roots_world[frame]))
            continue
        glance = look.find(capture.rig.image_wh) if root is None else look.climb(look.at(root), _FOLLOW_STEPS_MM)
        root = glance.root
        parts.append(glance.seen)
    prediction = Prediction(*(np.stack(column) for column in zip(*parts, strict=True)))
    points = prediction.locations.astype(np.float64)
    return replace(capture, points=np.where(points[..., 2:] > 0, points, np.nan)), prediction


def _check_rig(config: Any, cameras: Cameras) -> None:
    """Refuse the paper's matrices unless the training's data set was made from these cameras in this order."""
    if not FUSIONS[fusion_name(config.NETWORK)].fixed_rig or made_with(dataset_root(config), cameras):
        return
    raise InputError(
        "NETWORK.FUSION learned: the matrices fit the cameras they were trained on alone, and "
        f"{dataset_root(config)} was not made from these in this order; for another rig: "
        "--opts NETWORK.FUSION none, or epipolar_max, or a network trained with adaptive"
    )


def _boxes(root: np.ndarray, cameras: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Return centres (V, 2) px and scales (V, 2) of the boxes around a root (3,) mm."""
    root_cam = world_to_camera(root[None], cameras)  # (V, 1, 3)
    boxes = np.stack([person_box(root_cam[view], cameras[view])[0] for view in range(len(cameras))])
    return (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / SCALE_UNIT_PX


@dataclass(frozen=True)
class _Glance:
    """What the network shows in boxes around a place.

    Attributes:
        root: (3,) mm, the place.
        found: (3,) mm, where its peaks say that the root is; NaN where no two views agree.
        score: share of the joints that agree times height of the peaks, less where the root is off the middle.
        seen: of see().
    """

    root: np.ndarray
    found: np.ndarray
    score: float
    seen: tuple[np.ndarray, ...]


class _Look:
    """Looks for the person in the pictures of one instant."""

    def __init__(self, network: PoseNetwork, pictures: Sequence[np.ndarray], cameras: Cameras) -> None:
        self._network, self._pictures, self._cameras = network, pictures, cameras

    def see(self, root: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return heatmaps, locations, center and scale of the V views around a place (3,) mm, as in Prediction."""
        center, scale = _boxes(root, self._cameras)
        heatmaps = self._network(self._pictures, center, scale)
        return heatmaps, self._network.locations(heatmaps, center, scale), center, scale

    def at(self, root: np.ndarray) -> _Glance:
        """Look at one place, (3,) mm, and judge it."""
        seen = heatmaps, locations, _, scale = self.see(root)
        found = _root(locations, self._cameras, scale)
        distance = np.nan_to_num(np.linalg.norm(found - root), nan=np.inf)
        middle = 1 - _OFF_CENTRE * min(1.0, distance / _JUMP_MM)
        score = _agreement(locations, self._cameras, scale) * float(heatmaps.max((-2, -1)).mean()) * middle
        return _Glance(root, found, score, seen)

    def climb(self, glance: _Glance, steps_mm: Sequence[float]) -> _Glance:
        """Move the boxes to the root that the network shows, and along the axes, as long as that makes it better."""
        for step in steps_mm:
            better = True
            while better:
                moves = [glance.root + move for move in step * np.concatenate([np.eye(3), -np.eye(3)])]
                if np.linalg.norm(glance.found - glance.root) < _JUMP_MM:  # NaN compares as false
                    moves.insert(0, glance.found)
                better = False
                for place in moves:
                    other = self.at(place)
                    if other.score > _GAIN * glance.score:
                        glance = other
                        better = True
                        break
        return glance

    def find(self, image_wh: np.ndarray) -> _Glance:
        """Look for the person anywhere near the middle of the views of (V, 2) px."""
        middle = _middle(self._cameras)
        places = middle + _SEARCH_MM * np.array(list(itertools.product(_SEARCH_STEPS, repeat=3)))
        points, depth = project(places[None], self._cameras)  # (V, N, 2), (V, N)
        seen = ((points >= 0) & (points < image_wh[:, None])).all(-1) & (depth > MIN_DEPTH_MM)
        chosen = places[seen.sum(0) >= 2]
        if not len(chosen):
            chosen = middle[None]
        bar = tqdm(chosen, desc="search", unit="place", disable=None, leave=False)
        glances = nlargest(_BEST_PLACES, map(self.at, bar), key=lambda glance: glance.score)
        best = max((self.climb(glance, _FIND_STEPS_MM) for glance in glances), key=lambda glance: glance.score)
        logger.info(
            "the person was found around %s mm; share of joints that agree times height of the peaks: %.2f",
            best.root.round().tolist(),
            best.score,
        )
        return best


def _root(locations: np.ndarray, cameras: Cameras, scale: np.ndarray) -> np.ndarray:
    """Triangulate the root from its peaks: (3,) mm, NaN where no two views agree."""
    joint = H36M_17.index("root")
    peaks = locations[None, :, joint, None, None]
    one = cameras.map(lambda array: array[None])
    tolerance = _TOLERANCE * scale[None, :, 0] * SCALE_UNIT_PX
    return triangulate_robust(peaks[..., :2].astype(np.float64), peaks[..., 2].astype(np.float64), one, tolerance)[0, 0]


def _agreement(locations: np.ndarray, cameras: Cameras, scale: np.ndarray) -> float:
    """Return the share of the joints (V, 17, 3) on which the views agree."""
    one = cameras.map(lambda array: array[None])
    side = scale[None, :, 0] * SCALE_UNIT_PX
    points_img = locations[None, ..., :2].astype(np.float64)
    found = consistent_points(points_img, one, side, _TOLERANCE, min(3, len(cameras)))
    return float(found.agrees.mean())


def _middle(cameras: Cameras) -> np.ndarray:
    """Return the point nearest to the optical axes of all cameras, (3,) mm."""
    axis = cameras.R[:, 2]  # (V, 3)
    across = np.eye(3) - axis[:, :, None] * axis[:, None]
    right = (across @ cameras.T[..., None])[..., 0].sum(0)
    return np.linalg.lstsq(across.sum(0), right, rcond=None)[0]
