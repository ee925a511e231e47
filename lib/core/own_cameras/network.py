"""Run a trained network on a recording: locate the person, place the crops, predict heatmaps and joints."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from heapq import nlargest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lib.core.build_model import build_model
from lib.core.config_io import dataset_root
from lib.core.evaluation2d.decode import predict_locations
from lib.core.own_cameras.recording import Recording
from lib.core.run_directory import TRAINING_CAMERAS_NAME
from lib.core.runtime.device import select_device
from lib.dataset.camera_rigs import is_same_rig, load_rigs, rigs_of
from lib.dataset.data_sets import has_views, load_multiview
from lib.dataset.groups import group_views
from lib.dataset.network_input import network_images
from lib.dataset.own_cameras.videos import read_frames
from lib.dataset.storage.record_writer import person_box
from lib.models.registry import FUSIONS, fusion_name
from lib.models.weights import load_model
from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, CropCameras, project, world_to_camera
from lib.multiviews.keypoints.peaks import stacked_peaks
from lib.multiviews.keypoints.triangulate_robust import triangulate_robust
from lib.multiviews.keypoints.view_consensus import consistent_points
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17, UNION_20
from lib.utils.transforms import SCALE_UNIT_PX, crop_image, get_affine_transform, to_heatmap

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchSettings:
    """Search for the person in the first frame, and tracking in the next ones.

    Attributes:
        grid_mm: spacing of the first positions, around the center of the views. A network trained on centered people
            shows a low peak 400 mm off the center.
        grid_reach: positions to either side of the center.
        num_refined: best first positions that are refined.
        search_steps_mm: steps of the refinement in the first frame; each is repeated while the score increases.
        track_steps_mm: steps in the next frames.
        max_jump_mm: distance up to which the triangulated root is tried as the next position.
        min_gain: ratio of scores below which a step is not worth its evaluation.
        center_penalty: loss of score if the root is max_jump_mm or more off the center of the crops.
        tolerance: reprojection error of agreeing views, share of the crop side length.
    """

    grid_mm: float = 400.0
    grid_reach: int = 4
    num_refined: int = 3
    search_steps_mm: tuple[float, ...] = (200.0, 100.0, 50.0, 25.0)
    track_steps_mm: tuple[float, ...] = (60.0, 30.0)
    max_jump_mm: float = 400.0
    min_gain: float = 1.002
    center_penalty: float = 0.2
    tolerance: float = 0.06


SEARCH = SearchSettings()


@dataclass(frozen=True)
class CropOutput:
    """Output of the network for the V crops of one frame.

    Attributes:
        heatmaps: (V, 17, H, W) float32, fused if the network fuses views.
        locations: (V, 17, 3) x, y in image px and peak value.
        center: (V, 2) crop centers, image px.
        scale: (V, 2) crop side lengths / 200 px.
        single_view: (V, 17, H, W) heatmaps before fusion; None = without fusion.
    """

    heatmaps: np.ndarray
    locations: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    single_view: np.ndarray | None


@dataclass(frozen=True)
class Prediction:
    """Output of the network for F frames.

    Attributes:
        heatmaps: (F, V, 17, H, W) float32, fused if the network fuses views.
        locations: (F, V, 17, 3) x, y in image px and peak value.
        center: (F, V, 2) crop centers, image px.
        scale: (F, V, 2) crop side lengths / 200 px.
        single_view_peaks: (F, V, 17, K, 3) peaks before fusion, see FrameBatch; None = without fusion.
    """

    heatmaps: np.ndarray
    locations: np.ndarray
    center: np.ndarray
    scale: np.ndarray
    single_view_peaks: np.ndarray | None = None

    @classmethod
    def of(cls, outputs: Sequence[CropOutput], triangulate: Any) -> Prediction:
        """Stack the output of F frames; `triangulate` is section TRIANGULATE, which says how peaks are found."""
        peaks = None
        if outputs[0].single_view is not None:
            format_ = (triangulate.NUM_PEAKS, triangulate.PEAK_MODE)
            peaks = np.stack([stacked_peaks(output.single_view, *format_) for output in outputs])
        names = ("heatmaps", "locations", "center", "scale")
        return cls(*(np.stack([getattr(output, name) for output in outputs]) for name in names), peaks)


class PoseNetwork:
    """A network with its weights, applied to the images of one frame."""

    def __init__(self, config: Any, checkpoint: str | os.PathLike, cameras: Cameras) -> None:
        """
        Args:
            config: configuration that the network was trained with.
            checkpoint: file of the weights.
            cameras: cameras of the rig, leading axis V.

        Raises:
            InputError: the weights are missing, damaged, or for another network or rig.
        """
        check_rig(config, checkpoint, cameras)
        self.config = config
        self.device = select_device(config.GPUS, config.CUDNN)
        self._model = build_model(config, len(cameras))
        load_model(self._model, checkpoint)
        self._model.to(self.device).eval()
        self._cameras = cameras.map(lambda array: self._batch(array.astype(np.float32)))
        self._joints = UNION_20.indices(H36M_17.names)

    def _batch(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array)[None].to(self.device)

    def __call__(self, images: Sequence[np.ndarray], center: np.ndarray, scale: np.ndarray) -> CropOutput:
        """Return the output for crops, center (V, 2) px and scale (V, 2), of V images (h, w, 3) BGR."""
        size = self.config.NETWORK.IMAGE_SIZE
        heatmaps, single_view = self._predict(images, get_affine_transform(center, scale, 0.0, size))
        locations = predict_locations(heatmaps, center, scale, size, "log_quadratic")
        return CropOutput(heatmaps, locations, center, scale, single_view)

    def heatmaps(self, images: Sequence[np.ndarray], matrices: np.ndarray) -> np.ndarray:
        """Return heatmaps (V, 17, H, W) of crops, matrices (V, 2, 3) image px -> crop px, of V images (h, w, 3) BGR."""
        return self._predict(images, matrices)[0]

    @torch.no_grad()
    def _predict(self, images: Sequence[np.ndarray], matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the heatmaps (V, 17, H, W) of crops, and the ones before fusion; see heatmaps()."""
        inputs = self._inputs(images, matrices)
        matrices = to_heatmap(matrices, self.config.NETWORK.IMAGE_SIZE, self.config.NETWORK.HEATMAP_SIZE)
        views = CropCameras(self._cameras, self._batch(matrices.astype(np.float32)))
        single_view, fused = self._model(inputs, views)
        single_view, fused = (
            None if maps is None else maps[0, :, self._joints].float().cpu().numpy() for maps in (single_view, fused)
        )
        return (single_view, None) if fused is None else (fused, single_view)

    @torch.no_grad()
    def single_view(self, images: Sequence[np.ndarray], matrices: np.ndarray) -> np.ndarray:
        """Return heatmaps (N, 17, H, W) without fusion of crops, matrices (N, 2, 3), of any N images."""
        heatmaps = self._model.backbone(self._inputs(images, matrices)[0])
        return heatmaps[:, self._joints].float().cpu().numpy()

    def _inputs(self, images: Sequence[np.ndarray], matrices: np.ndarray) -> torch.Tensor:
        size = self.config.NETWORK.IMAGE_SIZE
        crops = [crop_image(image, matrix, size) for image, matrix in zip(images, matrices, strict=True)]
        return network_images(torch.from_numpy(np.stack(crops))[None], self.device)


def predict(
    recording: Recording, config: Any, checkpoint: str | os.PathLike, roots_world: np.ndarray | None = None
) -> tuple[Recording, Prediction]:
    """Run a network on a recording.

    As in training, the crops cover 2 m around the root. Without roots the person is searched in the first frame
    and then tracked: the crops move to where most views agree with the highest peaks. A lost person is not searched
    again.

    Args:
        recording: recording with videos.
        config: configuration that the network was trained with.
        checkpoint: file of the weights.
        roots_world: (F, 3) mm, from detections; None = search.

    Returns:
        The recording with the network's joints as its points, and the output of the network.

    Raises:
        InputError: there are no videos, or the weights are for another network or number of views.
    """
    if recording.videos is None:
        raise InputError("the network needs the videos: --videos")
    network = PoseNetwork(config, checkpoint, recording.rig.cameras)
    images_of_frames = read_frames(recording.videos, recording.table)
    frames = tqdm(images_of_frames, "network", len(recording), unit="frame", disable=None, leave=False)
    outputs = []
    root = None
    for frame, images in enumerate(frames):
        search = PersonSearch(network, images, recording.rig.cameras)
        if roots_world is not None:
            outputs.append(search.predict(roots_world[frame]))
            continue
        found = search.first(recording.rig.image_wh) if root is None else search.track(root)
        root = found.root
        outputs.append(found.output)
    prediction = Prediction.of(outputs, config.TRIANGULATE)
    points = prediction.locations.astype(np.float64)
    return replace(recording, points=np.where(points[..., 2:] > 0, points, np.nan)), prediction


def check_rig(config: Any, checkpoint: str | os.PathLike, cameras: Cameras) -> None:
    """Refuse learned fusion matrices if the cameras or their order differ from the training.

    The cameras of the training are in training_cameras.json next to the checkpoint. Trainings of earlier versions have
    no such file: then the training annotation is read. Without both, the cameras are accepted with a warning.

    Args:
        config: reads NETWORK.FUSION, NETWORK.AGGRE, DATA_DIR and DATASET.
        checkpoint: the weights.
        cameras: cameras of the rig, leading axis V.

    Raises:
        InputError: the cameras differ.
    """
    name = fusion_name(config.NETWORK)
    if not FUSIONS[name].fixed_rig:
        return
    path = Path(checkpoint).parent / TRAINING_CAMERAS_NAME
    source: Any = path
    if path.is_file():
        rigs = load_rigs(path)
    else:
        source = dataset_root(config)
        try:
            rigs = _rigs_of_training_data(config.DATASET, source)
        except InputError:  # another machine, or the data were deleted
            logger.warning(
                "NETWORK.FUSION %s: expected the cameras of the training in %s or in the training data below %s, found "
                "neither; assuming that these cameras are the same, in this order",
                name,
                path,
                source,
            )
            return
    if not any(is_same_rig(cameras, rig) for rig in rigs):
        raise InputError(
            f"NETWORK.FUSION {name}: expected the {len(rigs[0])} cameras of the training ({source}) in their order, "
            f"received {len(cameras)} cameras of another rig or in another order; for another rig use --opts "
            "NETWORK.FUSION none, or epipolar_max, or a network trained with adaptive"
        )


def _rigs_of_training_data(section: Any, root: Path) -> list[Cameras]:
    """Read the rigs from the training annotation of section DATASET; an InputError if there is none."""
    if not has_views(section.TRAIN_DATASET):
        raise InputError(f"{section.TRAIN_DATASET} has no calibrated views")
    annotations = load_multiview(section.TRAIN_DATASET, section, root, section.TRAIN_SUBSET, check=False)
    return rigs_of(annotations, group_views(annotations, section.INCOMPLETE_GROUPS, section.CAMERAS))


@dataclass(frozen=True)
class _Candidate:
    """A position of the person with the output of the network.

    Attributes:
        root: (3,) mm, the position around which the crops are placed.
        triangulated_root: (3,) mm; NaN if no two views agree.
        score: share of agreeing joints times peak height, reduced if the root is off the center.
        output: output of the network.
    """

    root: np.ndarray
    triangulated_root: np.ndarray
    score: float
    output: CropOutput


class PersonSearch:
    """Search for the person in the images of one frame."""

    def __init__(self, network: PoseNetwork, images: Sequence[np.ndarray], cameras: Cameras) -> None:
        self._network = network
        self._images = images
        self._cameras = cameras

    def predict(self, root: np.ndarray) -> CropOutput:
        """Return the output for the V views around a root (3,) mm."""
        return self.predict_crops(*_crops(root, self._cameras))

    def predict_crops(self, center: np.ndarray, scale: np.ndarray) -> CropOutput:
        """Return the output for crops with centers (V, 2), px, and scales (V, 2)."""
        return self._network(self._images, center, scale)

    def evaluate(self, root: np.ndarray) -> _Candidate:
        """Run the network around a root (3,) mm, and score it."""
        output = self.predict(root)
        found = _triangulated_root(output.locations, self._cameras, output.scale)
        distance = np.nan_to_num(np.linalg.norm(found - root), nan=np.inf)
        centered = 1 - SEARCH.center_penalty * min(1.0, distance / SEARCH.max_jump_mm)
        height = float(output.heatmaps.max((-2, -1)).mean())
        score = _agreement(output.locations, self._cameras, output.scale) * height * centered
        return _Candidate(root, found, score, output)

    def climb(self, candidate: _Candidate, steps_mm: Sequence[float]) -> _Candidate:
        """Move to the triangulated root, or along the axes, while the score increases."""
        for step in steps_mm:
            better = candidate
            while better is not None:
                candidate = better
                roots = [candidate.root + move for move in step * np.concatenate([np.eye(3), -np.eye(3)])]
                jump = np.linalg.norm(candidate.triangulated_root - candidate.root)
                if jump < SEARCH.max_jump_mm:  # false for NaN
                    roots.insert(0, candidate.triangulated_root)
                required = SEARCH.min_gain * candidate.score
                better = next((other for other in map(self.evaluate, roots) if other.score > required), None)
        return candidate

    def track(self, root: np.ndarray) -> _Candidate:
        """Follow the person from the root of the previous frame."""
        return self.climb(self.evaluate(root), SEARCH.track_steps_mm)

    def first(self, image_wh: np.ndarray) -> _Candidate:
        """Search on a grid around the center of the views, whose images have (V, 2) px."""
        center = _center_of_views(self._cameras)
        steps = range(-SEARCH.grid_reach, SEARCH.grid_reach + 1)
        grid = center + SEARCH.grid_mm * np.array(list(itertools.product(steps, repeat=3)))
        points, depth = project(grid[None], self._cameras)  # (V, N, 2), (V, N)
        visible = ((points >= 0) & (points < image_wh[:, None])).all(-1) & (depth > MIN_DEPTH_MM)
        roots = grid[visible.sum(0) >= 2]
        if not len(roots):
            roots = center[None]
        bar = tqdm(roots, desc="search", unit="position", disable=None, leave=False)
        best = nlargest(SEARCH.num_refined, map(self.evaluate, bar), key=lambda candidate: candidate.score)
        found = max(
            (self.climb(candidate, SEARCH.search_steps_mm) for candidate in best), key=lambda candidate: candidate.score
        )
        logger.info("person found at %s mm, score %.2f", found.root.round().tolist(), found.score)
        return found


def _crops(root: np.ndarray, cameras: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Return centers (V, 2) px and scales (V, 2) of the crops around a root (3,) mm."""
    root_cam = world_to_camera(root[None], cameras)  # (V, 1, 3)
    boxes = np.stack([person_box(root_cam[view], cameras[view])[0] for view in range(len(cameras))])
    return (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / SCALE_UNIT_PX


def _triangulated_root(locations: np.ndarray, cameras: Cameras, scale: np.ndarray) -> np.ndarray:
    """Triangulate the root from its peaks: (3,) mm, NaN if no two views agree."""
    peaks = locations[None, :, H36M_17.index("root"), None, None].astype(np.float64)
    frame = cameras.map(lambda array: array[None])
    tolerance_px = SEARCH.tolerance * scale[None, :, 0] * SCALE_UNIT_PX
    return triangulate_robust(peaks[..., :2], peaks[..., 2], frame, tolerance_px)[0, 0]


def _agreement(locations: np.ndarray, cameras: Cameras, scale: np.ndarray) -> float:
    """Return the share of the joints (V, 17, 3) on which the views agree."""
    frame = cameras.map(lambda array: array[None])
    side_px = scale[None, :, 0] * SCALE_UNIT_PX
    points_img = locations[None, ..., :2].astype(np.float64)
    found = consistent_points(points_img, frame, side_px, SEARCH.tolerance, min(3, len(cameras)))
    return float(found.agrees.mean())


def _center_of_views(cameras: Cameras) -> np.ndarray:
    """Return the point nearest to the optical axes of all cameras, (3,) mm."""
    axis = cameras.R[:, 2]  # (V, 3)
    across = np.eye(3) - axis[:, :, None] * axis[:, None]
    right = (across @ cameras.T[..., None])[..., 0].sum(0)
    return np.linalg.lstsq(across.sum(0), right, rcond=None)[0]
