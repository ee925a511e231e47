"""Predicted heatmaps -> 3D poses -> tables: what estimate.py and estimate_cuda.py run. Imports no torch."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.core.config_io import dataset_root
from lib.core.evaluate3d import summarise
from lib.core.make_prior import load_prior, prior_path
from lib.core.methods3d import FrameBatch, Method, root_index, rpsm_method
from lib.core.tables3d import save_tidy_csv
from lib.dataset.h36m import group_views, load_h36m
from lib.multiviews.body import H36M_BODY
from lib.multiviews.cameras import Cameras
from lib.multiviews.kernels import Kernel
from lib.multiviews.limb_prior import LimbPrior
from lib.utils.checks import InputError
from lib.utils.files import atomic_path, read_json, write_json
from lib.utils.joints import UNION_20, union_subset
from lib.utils.prediction_io import PredictionFile
from lib.utils.transforms import image_to_heatmap_affine

logger = logging.getLogger(__name__)

RESULTS_NAME = "results_3d.json"
CSV_NAME = "results_3d.csv"
_ROOT_TEXT = {"triangulated": "triangulated from the predicted 2D roots", "ground_truth": "ground truth"}
_LENGTH_TEXT = {"prior": "means of the limb prior", "ground_truth": "ground truth of each frame"}


@dataclass(frozen=True)
class Frames:
    """F frames of V views to be evaluated.

    Attributes:
        image_ids: (F, V) image names.
        joint_names: joints of the predictions, in union order.
        cameras: leading axes (F, V).
        center: (F, V, 2) box centres, image px.
        scale: (F, V, 2) box sides / 200 px.
        truth_world: (F, 17, 3) mm.
        actions: (F,) ids.
    """

    image_ids: np.ndarray
    joint_names: list[str]
    cameras: Cameras
    center: np.ndarray
    scale: np.ndarray
    truth_world: np.ndarray
    actions: np.ndarray

    def __len__(self) -> int:
        return len(self.image_ids)


@dataclass(frozen=True)
class Estimate:
    """Poses of all frames.

    Attributes:
        pose_world: (F, 17, 3) mm.
        num_box_roots: frames whose root was not found in two views; the box centres stood in.
        seconds: time of the inference, reading included.
    """

    pose_world: np.ndarray
    num_box_roots: int
    seconds: float


def load_frames(config: Any) -> Frames:
    """Read the test frames, in the order in which valid.py predicts them.

    Raises:
        InputError: the data set has no calibrated views, or its annotation cannot be read.
    """
    if config.DATASET.TEST_DATASET not in ("multiview_h36m", "h36m"):
        raise InputError(
            f"DATASET.TEST_DATASET: 3D poses need groups of calibrated views (multiview_h36m), "
            f"received '{config.DATASET.TEST_DATASET}'"
        )
    annotations = load_h36m(dataset_root(config), config.DATASET.TEST_SUBSET, config.DATASET.CROP)
    groups = group_views(annotations, config.DATASET.INCOMPLETE_GROUPS)[:: config.DATASET.TEST_STEP]
    labels, first = annotations.labels3d, groups[:, 0]
    return Frames(
        image_ids=np.array([[annotations.image_name(row) for row in group] for group in groups]),
        joint_names=[UNION_20.names[joint] for joint in union_subset(annotations.joint_set)],
        cameras=labels.cameras[labels.camera_idx[groups]],
        center=annotations.center[groups].astype(np.float64),
        scale=annotations.scale[groups].astype(np.float64),
        truth_world=labels.pose_world(first),
        actions=labels.action[first],
    )


def open_predictions(config: Any, directory: Path, frames: Frames) -> PredictionFile:
    """Open the run's predictions and check that they are those of the frames.

    Raises:
        InputError: missing or damaged file, other images, joints or map size.
    """
    predictions = PredictionFile(directory / config.TEST.HEATMAP_LOCATION_FILE)
    predictions.check_matches(frames.image_ids.ravel().tolist(), frames.joint_names)
    width, height = config.NETWORK.HEATMAP_SIZE
    if predictions.heatmaps.shape[2:] != (height, width):
        found = predictions.heatmaps.shape[:1:-1]
        raise InputError(f"{predictions.path}: heatmaps are {found} px (width, height), NETWORK.HEATMAP_SIZE is "
                         f"({width}, {height})")  # fmt: skip
    return predictions


def estimate_poses(
    config: Any,
    frames: Frames,
    predictions: PredictionFile,
    prior: LimbPrior,
    kernel: Kernel,
    batch_size: int,
    method: Method = rpsm_method,
) -> Estimate:
    """Run a method over all frames, reading the heatmaps batch by batch.

    Args:
        config: the configuration.
        frames: the frames.
        predictions: their heatmaps and 2D locations.
        prior: limb-length prior.
        kernel: NumpyKernel or TorchKernel.
        batch_size: frames read at once.
        method: one of lib/core/methods3d.py.

    Returns:
        The poses in the world frame.

    Raises:
        InputError: the file is damaged or its heatmaps are not finite.
    """
    parts, start_time = [], time.perf_counter()
    bar = tqdm(total=len(frames), desc="3D poses", unit="frame", disable=None, leave=False)
    for start in range(0, len(frames), batch_size):
        batch = _read_batch(config, frames, predictions, prior, slice(start, min(start + batch_size, len(frames))))
        try:
            parts.append(method(config, batch, prior, kernel))
        except InputError as error:
            raise InputError(f"{predictions.path}: batch that begins with '{batch.image_ids[0, 0]}': {error}") from None
        bar.update(len(batch.heatmaps))
    bar.close()
    poses = np.concatenate([part.pose_world for part in parts])
    return Estimate(poses, sum(part.num_box_roots for part in parts), time.perf_counter() - start_time)


def _read_batch(
    config: Any, frames: Frames, predictions: PredictionFile, prior: LimbPrior, chosen: slice
) -> FrameBatch:
    num_views = frames.image_ids.shape[1]
    order = [predictions.joint_names.index(name) for name in prior.body.joint_names]
    heatmaps, locations = predictions.read(chosen.start * num_views, chosen.stop * num_views)
    if order != sorted(order):  # Human3.6M's joints are in union order
        heatmaps, locations = heatmaps[:, order], locations[:, order]
    return FrameBatch(
        image_ids=frames.image_ids[chosen],
        heatmaps=heatmaps.reshape(-1, num_views, *heatmaps.shape[1:]),
        locations=locations.reshape(-1, num_views, *locations.shape[1:]),
        cameras=frames.cameras[chosen],
        image_to_heatmap=image_to_heatmap_affine(
            frames.center[chosen], frames.scale[chosen], config.NETWORK.IMAGE_SIZE, config.NETWORK.HEATMAP_SIZE
        ),
        center=frames.center[chosen],
        truth_world=frames.truth_world[chosen],
    )


def run_estimate(
    config: Any, directory: Path, kernel: Kernel, method: str, batch_size: int, poses_name: str
) -> dict[str, Any]:
    """Estimate, evaluate and store the poses of the test frames.

    Args:
        config: the configuration.
        directory: run directory; holds the predictions and receives the results.
        kernel: NumpyKernel or TorchKernel.
        method: name of the results, e.g. "rpsm (numpy)".
        batch_size: frames read at once.
        poses_name: file of the poses, in the run directory.

    Returns:
        The results as stored under `method` in results_3d.json.
    """
    if batch_size < 1:
        raise InputError(f"--batch-size: expected at least 1, received {batch_size}")
    if not poses_name.endswith(".npz"):
        raise InputError(f"--poses: expected a name that ends in .npz, received '{poses_name}'")
    prior, frames = load_prior(config), load_frames(config)
    keys = config.PICT_STRUCT
    logger.info("%d frames of %d views; root: %s; limb lengths: %s", *frames.image_ids.shape,
                _ROOT_TEXT[keys.ROOT_SOURCE], _LENGTH_TEXT[keys.LIMB_LENGTH_SOURCE])  # fmt: skip
    if prior.length_errors.any() and keys.LIMB_LENGTH_SOURCE == "prior":
        logger.warning("%s states no limb lengths (published form): they were derived from its bins, within %.0f mm",
                       prior_path(config), prior.length_errors.max())  # fmt: skip
    with open_predictions(config, directory, frames) as predictions:
        estimate = estimate_poses(config, frames, predictions, prior, kernel, batch_size)
    if estimate.num_box_roots:
        logger.warning("%d frames: the root has a positive peak in fewer than 2 views; the boxes' centres stood in",
                       estimate.num_box_roots)  # fmt: skip
    results = {
        "unit": "mm",
        "root_source": keys.ROOT_SOURCE,
        "limb_length_source": keys.LIMB_LENGTH_SOURCE,
        "num_box_roots": estimate.num_box_roots,
        **summarise(
            estimate.pose_world, frames.truth_world, frames.actions, H36M_BODY.joint_names, root_index(config)
        ),
        "settings": {key: keys[key] for key in (
            "FIRST_NBINS", "RECUR_NBINS", "RECUR_DEPTH", "LIMB_LENGTH_TOLERANCE", "GRID_SIZE", "PAIRWISE_FILE")},
        "frames_per_second": len(frames) / max(estimate.seconds, 1e-9),
        "poses": poses_name,
    }  # fmt: skip
    _save_poses(directory / poses_name, estimate.pose_world, frames)
    _save_results(directory, config.TEST.HEATMAP_LOCATION_FILE, method, results)
    return results


def _save_poses(path: Path, pose_world: np.ndarray, frames: Frames) -> None:
    with atomic_path(path) as temporary:
        np.savez_compressed(
            temporary,
            pose_world=pose_world,
            gt_world=frames.truth_world,
            image_ids=frames.image_ids,
            joint_names=np.array(H36M_BODY.joint_names),
        )


def _save_results(directory: Path, predictions_name: str, method: str, results: dict[str, Any]) -> None:
    """Add a method to results_3d.json; methods that used other predictions than those now in place go."""
    path, stored = directory / RESULTS_NAME, {}
    if path.exists():
        try:
            stored = read_json(path)
        except InputError as error:
            logger.warning("%s; it is written anew", error)
    changed = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime((directory / predictions_name).stat().st_mtime))
    source = {"file": predictions_name, "written": changed}
    kept = {
        name: entry
        for name, entry in (stored.items() if isinstance(stored, dict) else ())
        if isinstance(entry, dict) and entry.get("predictions") == source
    }
    methods = {**kept, method: {"predictions": source, **results}}
    write_json(path, methods)
    save_tidy_csv(directory / CSV_NAME, methods)
