"""Heatmaps before fusion of some frames of a run, which the file of predictions does not hold."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.core.build_data import build_dataset
from lib.core.build_model import build_model
from lib.core.config_io import dataset_root
from lib.core.report.run_page import SingleView
from lib.core.run_directory import weights_file
from lib.core.runtime.device import select_device
from lib.dataset.network_input import network_images
from lib.models.registry import fusion_name
from lib.models.weights import load_model
from lib.utils.files.digest import content_digest
from lib.utils.files.prediction_file import PredictionFile
from lib.utils.joints import union_subset

logger = logging.getLogger(__name__)


def load_single_view(config: Any, directory: Path) -> SingleView | None:
    """Return predict_single_view() for a run; None if its predictions are not fused or from other weights.

    Args:
        config: the configuration; the keys of validation are read.
        directory: the run directory.

    Raises:
        InputError: the predictions are missing or damaged.
    """
    weights = weights_file(config, directory)
    with PredictionFile(directory / config.TEST.HEATMAP_LOCATION_FILE, needs_heatmaps=False) as predictions:
        stored = predictions.attributes
    if fusion_name(config.NETWORK) == "none" or stored.get("fusion") != fusion_name(config.NETWORK):
        return None
    if not weights.is_file() or stored.get("checkpoint") != content_digest(weights):
        logger.info("no single-view heatmaps in the report: %s did not make the predictions, or is missing", weights)
        return None
    return partial(predict_single_view, config, weights)


@torch.no_grad()
def predict_single_view(config: Any, weights: Path, frames: Sequence[int]) -> np.ndarray:
    """Run the backbone on test frames.

    Args:
        config: the configuration; the keys of validation are read.
        weights: the checkpoint.
        frames: indices of the frames.

    Returns:
        (f, V, J, H, W) float32 heatmaps in the joint order of the predictions.

    Raises:
        InputError: an image is missing, or the weights do not fit.
    """
    device = select_device(config.GPUS, config.CUDNN)
    dataset = build_dataset(config, dataset_root(config), is_train=False)
    model = build_model(config, dataset.num_views)
    load_model(model, weights)
    backbone = model.backbone.to(device).eval()
    joints = union_subset(dataset.joint_set)
    heatmaps = []
    for start in range(0, len(frames), config.TEST.BATCH_SIZE):
        batch = dataset.__getitems__(list(frames[start : start + config.TEST.BATCH_SIZE]))
        images = network_images(batch["crops"], device)
        found = backbone(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        heatmaps.append(found[:, :, joints].float().cpu().numpy())
    return np.concatenate(heatmaps)
