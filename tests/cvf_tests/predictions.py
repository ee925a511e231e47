"""Files of a run without a network: perfect predictions (unrounded Gaussians), and chosen 3D poses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cvf_tests.scenes import draw_gaussians

from lib.core.config import DEFAULTS
from lib.core.evaluation2d.provenance import results_provenance
from lib.core.pose3d.frames import EvaluatedFrames, Poses, load_frames
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
        directory: run directory, created if missing.
        sigma: standard deviation, heatmap px.
        edit: called with heatmaps (F, V, 17, H, W) and locations (F, V, 17, 3), which it may change in place.

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
    """Make a value the default of its key, so that names of results do not mention it."""
    monkeypatch.setitem(DEFAULTS[section], key, replace(DEFAULTS[section][key], default=value))


def write_poses(
    config: Any, directory: Path, pose_world: np.ndarray | None = None, name: str = "poses3d.npz", method: str = "rpsm"
) -> np.ndarray:
    """Write a pose file and its results, as run_estimate() does.

    Args:
        config: the configuration.
        directory: run directory; holds the predictions.
        pose_world: (F, 17, 3) mm; None = the ground truth, moved up by 30 mm.
        name: name of the pose file.
        method: name of the entry in results_3d.json.

    Returns:
        The poses.
    """
    frames = load_frames(config)
    pose = frames.gt_world + [0, 0, 30.0] if pose_world is None else pose_world
    agree = np.full(pose.shape[:2], frames.image_ids.shape[1])
    results = {"poses": name, **summarize(pose, frames.gt_world, frames.actions, H36M_17.names)}
    with PredictionFile(directory / config.TEST.HEATMAP_LOCATION_FILE) as predictions:
        source = results_provenance(config.TEST.HEATMAP_LOCATION_FILE, predictions.fingerprint())
    save_poses(directory / name, frames, Poses(pose, num_views_agree=agree), source)
    save_results(directory, source, method, results)
    return pose
