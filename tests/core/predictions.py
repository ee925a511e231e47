"""Perfect predictions for a data set: unrounded Gaussians written as valid.py writes its heatmaps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lib.core.estimate3d import Frames, load_frames
from lib.multiviews.cameras import project
from lib.utils.prediction_io import PredictionWriter
from lib.utils.transforms import image_to_heatmap_affine, transform_points
from tests.multiviews.scenes import draw_gaussians


def write_perfect_predictions(config: Any, directory: Path, sigma: float = 1.0, edit: Any = None) -> Frames:
    """Write predicted_heatmaps.h5 for the test frames of a configuration.

    Args:
        config: the configuration.
        directory: run directory, made if it is not there.
        sigma: standard deviation, heatmap px.
        edit: called with heatmaps (F, V, 17, H, W) and locations (F, V, 17, 3), may change both in place.

    Returns:
        The frames.
    """
    frames = load_frames(config)
    matrix = image_to_heatmap_affine(
        frames.center, frames.scale, config.NETWORK.IMAGE_SIZE, config.NETWORK.HEATMAP_SIZE
    )
    joints_img, _ = project(frames.truth_world[:, None], frames.cameras)
    heatmaps = draw_gaussians(transform_points(joints_img, matrix), config.NETWORK.HEATMAP_SIZE, sigma)
    locations = np.concatenate([joints_img, np.ones((*joints_img.shape[:3], 1))], -1)
    if edit is not None:
        edit(heatmaps, locations)
    directory.mkdir(parents=True, exist_ok=True)
    path, num_images = directory / config.TEST.HEATMAP_LOCATION_FILE, frames.image_ids.size
    with PredictionWriter(path, num_images, frames.joint_names, config.NETWORK.HEATMAP_SIZE) as writer:
        writer.append(
            heatmaps.reshape(num_images, *heatmaps.shape[2:]),
            locations.reshape(num_images, *locations.shape[2:]),
            frames.image_ids.ravel().tolist(),
        )
    return frames
