"""Perfect predictions for a data set: unrounded Gaussians written as valid.py writes its heatmaps; poses of choice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cvf_tests.scenes import draw_gaussians

from lib.core.config import DEFAULTS
from lib.core.evaluation2d.provenance import results_provenance
from lib.core.pose3d.frames import EvaluatedFrames, load_frames
from lib.core.pose3d.metrics_3d import summarize
from lib.core.pose3d.results_3d import save_poses, save_results
from lib.multiviews.cameras import project
from lib.utils.files.prediction_file import PredictionFile, PredictionWriter
from lib.utils.joints import H36M_17
from lib.utils.transforms import image_to_heatmap_affine, transform_points


def write_perfect_predictions(config: Any, directory: Path, sigma: float = 1.0, edit: Any = None) -> EvaluatedFrames:
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
    joints_img, _ = project(frames.gt_world[:, None], frames.cameras)
    heatmaps = draw_gaussians(transform_points(joints_img, matrix), config.NETWORK.HEATMAP_SIZE, sigma)
    locations = np.concatenate([joints_img, np.ones((*joints_img.shape[:3], 1))], -1)
    if edit is not None:
        edit(heatmaps, locations)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / config.TEST.HEATMAP_LOCATION_FILE
    num_images = frames.image_ids.size
    with PredictionWriter(path, num_images, frames.joint_names, config.NETWORK.HEATMAP_SIZE) as writer:
        writer.append(
            heatmaps.reshape(num_images, *heatmaps.shape[2:]),
            locations.reshape(num_images, *locations.shape[2:]),
            frames.image_ids.ravel().tolist(),
        )
    return frames


def take_for_default(monkeypatch: pytest.MonkeyPatch, section: str, key: str, value: Any) -> None:
    """Make a value that tests set, to be faster, the default of its key, so that it stands in no name of results."""
    monkeypatch.setitem(DEFAULTS[section], key, replace(DEFAULTS[section][key], default=value))


def write_poses(
    config: Any, directory: Path, pose_world: np.ndarray | None = None, name: str = "poses3d.npz", method: str = "rpsm"
) -> np.ndarray:
    """Write poses and their results as run_estimate() does, without estimating anything.

    Args:
        config: the configuration.
        directory: run directory; holds the predictions.
        pose_world: (F, 17, 3) mm; None = the truth, each joint 30 mm too high.
        name: file of the poses.
        method: name of the results.

    Returns:
        The poses.
    """
    frames = load_frames(config)
    pose = frames.gt_world + [0, 0, 30.0] if pose_world is None else pose_world
    agree = np.full(pose.shape[:2], frames.image_ids.shape[1])
    results = {"poses": name, **summarize(pose, frames.gt_world, frames.actions, H36M_17.names)}
    with PredictionFile(directory / config.TEST.HEATMAP_LOCATION_FILE) as predictions:
        source = results_provenance(config.TEST.HEATMAP_LOCATION_FILE, predictions)
    save_poses(
        directory / name,
        H36M_17.names,
        pose_world=pose,
        gt_world=frames.gt_world,
        image_ids=frames.image_ids,
        num_views_agree=agree,
        source=source,
    )
    save_results(directory, source, method, results)
    return pose
