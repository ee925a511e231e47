"""The trained network on the frames of an own recording: boxes found and followed, heatmaps, 2D joints."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lib.core.device import select_device
from lib.core.inference import predict_locations
from lib.core.own.capture import Capture
from lib.dataset.network_input import network_images
from lib.dataset.own.videos import read_instants
from lib.dataset.records import person_box
from lib.models.build import build_model
from lib.models.weights import load_model
from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, CropCameras, project, world_to_camera
from lib.multiviews.consistent_views import consistent_points
from lib.multiviews.triangulate_robust import triangulate_robust
from lib.utils.checks import InputError
from lib.utils.joints import H36M_17, UNION_20
from lib.utils.transforms import SCALE_UNIT_PX, crop_image, get_affine_transform, to_heatmap

logger = logging.getLogger(__name__)

_SEARCH_MM, _SEARCH_STEPS = 800.0, (-1, 0, 1)  # where the person is looked for at first, around the middle of the views
_REFINEMENTS = 3  # boxes placed anew around the root that was found
_JUMP_MM = 400.0  # a root that moved farther since the last instant is not believed
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
        self.config, self.device = config, select_device(config)
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
    first instant, in boxes around places near the middle of the views, and then followed.

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
    network, cameras = PoseNetwork(config, checkpoint, capture.rig.cameras), capture.rig.cameras
    parts, root = [], None
    frames = tqdm(read_instants(capture.videos, capture.table), total=len(capture), desc="network", unit="instant",
                  disable=None, leave=False)  # fmt: skip
    for frame, pictures in enumerate(frames):
        if roots_world is not None:
            root = roots_world[frame]
        elif root is None:
            root = _find(network, pictures, cameras, capture.rig.image_wh)
        center, scale = _boxes(root, cameras)
        heatmaps = network(pictures, center, scale)
        locations = network.locations(heatmaps, center, scale)
        parts.append((heatmaps, locations, center, scale))
        if roots_world is None:
            found = _root(locations, cameras, scale)
            if np.linalg.norm(found - root) < _JUMP_MM:  # NaN compares as false
                root = found
    prediction = Prediction(*(np.stack(column) for column in zip(*parts, strict=True)))
    points = prediction.locations.astype(np.float64)
    return replace(capture, points=np.where(points[..., 2:] > 0, points, np.nan)), prediction


def _boxes(root: np.ndarray, cameras: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Return centres (V, 2) px and scales (V, 2) of the boxes around a root (3,) mm."""
    root_cam = world_to_camera(root[None], cameras)  # (V, 1, 3)
    boxes = np.stack([person_box(root_cam[view], cameras[view])[0] for view in range(len(cameras))])
    return (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / SCALE_UNIT_PX


def _root(locations: np.ndarray, cameras: Cameras, scale: np.ndarray) -> np.ndarray:
    """Triangulate the root from its peaks: (3,) mm, NaN where no two views agree."""
    joint = H36M_17.index("root")
    peaks, one = locations[None, :, joint, None, None], cameras.map(lambda array: array[None])
    tolerance = _TOLERANCE * scale[None, :, 0] * SCALE_UNIT_PX
    return triangulate_robust(peaks[..., :2].astype(np.float64), peaks[..., 2].astype(np.float64), one, tolerance)[0, 0]


def _find(
    network: PoseNetwork, pictures: Sequence[np.ndarray], cameras: Cameras, image_wh: np.ndarray
) -> np.ndarray:
    """Look for the person: the root (3,) mm of the boxes in which the views agree best and the peaks are high."""
    middle = _middle(cameras)
    places = middle + _SEARCH_MM * np.array(list(itertools.product(_SEARCH_STEPS, repeat=3)))
    points, depth = project(places[None], cameras)  # (V, N, 2), (V, N)
    seen = ((points >= 0) & (points < image_wh[:, None])).all(-1) & (depth > MIN_DEPTH_MM)
    best, best_score = middle, -1.0
    for start in places[seen.sum(0) >= 2]:
        root = start
        for _ in range(_REFINEMENTS):
            center, scale = _boxes(root, cameras)
            heatmaps = network(pictures, center, scale)
            locations = network.locations(heatmaps, center, scale)
            found = _root(locations, cameras, scale)
            score = _agreement(locations, cameras, scale) * float(heatmaps.max((-2, -1)).mean())
            if score > best_score:
                best, best_score = root, score
            if not np.linalg.norm(found - root) < 2 * _SEARCH_MM:  # NaN too
                break
            root = found
    logger.info("the person was found around %s mm; share of joints that agree times height of the peaks: %.2f",
                best.round().tolist(), best_score)  # fmt: skip
    return best


def _agreement(locations: np.ndarray, cameras: Cameras, scale: np.ndarray) -> float:
    """Return the share of the joints (V, 17, 3) on which the views agree."""
    one, side = cameras.map(lambda array: array[None]), scale[None, :, 0] * SCALE_UNIT_PX
    points_img = locations[None, ..., :2].astype(np.float64)
    found = consistent_points(points_img, one, side, _TOLERANCE, min(3, len(cameras)))
    return float(found.agrees.mean())


def _middle(cameras: Cameras) -> np.ndarray:
    """Return the point nearest to the optical axes of all cameras, (3,) mm."""
    axis = cameras.R[:, 2]  # (V, 3)
    across = np.eye(3) - axis[:, :, None] * axis[:, None]
    right = (across @ cameras.T[..., None])[..., 0].sum(0)
    return np.linalg.lstsq(across.sum(0), right, rcond=None)[0]
