"""A network with its weights, applied to crops of the images of one frame."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.core.build_model import build_model
from lib.core.config_io import dataset_root
from lib.core.evaluation2d.decode import predict_locations
from lib.core.pose3d.frames import FrameBatch
from lib.core.run_directory import TRAINING_CAMERAS_NAME
from lib.core.runtime.device import select_device
from lib.dataset.camera_rigs import is_same_rig, load_rigs, rigs_of
from lib.dataset.data_sets import has_views, load_multiview
from lib.dataset.groups import group_views
from lib.dataset.network_input import network_images
from lib.models.registry import FUSIONS, fusion_name
from lib.models.weights import load_model
from lib.multiviews.cameras import Cameras, CropCameras
from lib.multiviews.keypoints.peaks import stacked_peaks
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17, UNION_20
from lib.utils.transforms import crop_image, get_affine_transform, image_to_heatmap_affine, to_heatmap

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FramePrediction:
    """Output of the network for the V views of one frame.

    Attributes:
        heatmaps: (V, 17, H, W) float32, fused if the network fuses views.
        locations: (V, 17, 3) x, y in image px and peak value.
        image_to_heatmap: (V, 2, 3).
        center: (V, 2) crop centers, image px.
        is_located: the views agree on enough joints; otherwise the person is lost, and the crops are a guess.
        single_view: (V, 17, H, W) heatmaps before fusion; None = without fusion, or not kept.
        single_view_peaks: (V, 17, K, 3) peaks before fusion, see FrameBatch; None = without fusion, or not searched.
    """

    heatmaps: np.ndarray
    locations: np.ndarray
    image_to_heatmap: np.ndarray
    center: np.ndarray
    is_located: bool = True
    single_view: np.ndarray | None = None
    single_view_peaks: np.ndarray | None = None

    def with_peaks(self, triangulate: Any) -> FramePrediction:
        """Replace the single-view heatmaps by their peaks; `triangulate` is section TRIANGULATE."""
        if self.single_view is None:
            return self
        peaks = stacked_peaks(self.single_view, triangulate.NUM_PEAKS, triangulate.PEAK_MODE)
        return replace(self, single_view=None, single_view_peaks=peaks)


def frame_batch(predictions: Sequence[FramePrediction], cameras: Cameras) -> FrameBatch:
    """Return frames as input of a 3D method.

    Args:
        predictions: F frames of one person, with peaks instead of single-view heatmaps.
        cameras: leading axes (F, V).
    """
    peaks = [one.single_view_peaks for one in predictions]
    return FrameBatch(
        heatmaps=np.stack([one.heatmaps for one in predictions]),
        locations=np.stack([one.locations for one in predictions]),
        cameras=cameras,
        image_to_heatmap=np.stack([one.image_to_heatmap for one in predictions]),
        center=np.stack([one.center for one in predictions]),
        single_view_peaks=None if peaks[0] is None else np.stack(peaks),
        subject=np.zeros(len(predictions), int),
    )


@dataclass(frozen=True)
class CropOutput:
    """Output of the network for upright crops of the V views of one frame.

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

    def as_frame(self, keys: Any) -> FramePrediction:
        """Return the output as a frame; `keys` is section NETWORK."""
        matrices = image_to_heatmap_affine(self.center, self.scale, keys.IMAGE_SIZE, keys.HEATMAP_SIZE)
        return FramePrediction(self.heatmaps, self.locations, matrices, self.center, single_view=self.single_view)


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
        heatmaps, single_view = self.heatmaps(images, get_affine_transform(center, scale, 0.0, size))
        locations = predict_locations(heatmaps, center, scale, size, "log_quadratic")
        return CropOutput(heatmaps, locations, center, scale, single_view)

    @torch.no_grad()
    def heatmaps(self, images: Sequence[np.ndarray], matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Predict heatmaps of crops.

        Args:
            images: V images (h, w, 3) BGR.
            matrices: (V, 2, 3) image px -> crop px.

        Returns:
            (V, 17, H, W) float32, fused if the network fuses views, and the ones before fusion; None = without fusion.
        """
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
