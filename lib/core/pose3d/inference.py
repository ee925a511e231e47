"""Predicted heatmaps -> 3D poses -> tables: what estimate.py and estimate_cuda.py run. Imports no torch."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.core.evaluation2d.provenance import check_description, source_of, warn_of_outdated
from lib.core.pose3d.frames import BatchPoses, FrameBatch
from lib.core.pose3d.make_prior import load_prior, prior_path
from lib.core.pose3d.methods import METHODS, WITHOUT_PRIOR, Solve, root_index, run_batches
from lib.core.pose3d.metrics_3d import joint_errors, summarise
from lib.core.pose3d.results_3d import default_poses_name, results_name, save_poses, save_results, sources_and_settings
from lib.core.report.run_poses import evaluated_groups, image_ids_of, poses_of_frames, poses_source
from lib.dataset.protocol import Parts
from lib.multiviews.body import body_of
from lib.multiviews.cameras import Cameras
from lib.multiviews.pictorial.backend_numpy import Backend
from lib.multiviews.pictorial.limb_prior import LimbPrior
from lib.utils.errors import InputError, unknown_name
from lib.utils.files.prediction_file import PredictionFile
from lib.utils.joints import UNION_20, JointSet, union_subset
from lib.utils.transforms import image_to_heatmap_affine

logger = logging.getLogger(__name__)

_ROOT_TEXT = {"triangulated": "triangulated from the root's heatmaps", "ground_truth": "ground truth"}
_LENGTH_TEXT = {"prior": "means of the limb prior", "ground_truth": "ground truth of each frame"}


@dataclass(frozen=True)
class Frames:
    """F frames of V views to be evaluated.

    Attributes:
        image_ids: (F, V) image names.
        joint_set: the J joints of the truth.
        cameras: leading axes (F, V).
        center: (F, V, 2) box centres, image px.
        scale: (F, V, 2) box sides / 200 px.
        truth_world: (F, J, 3) mm.
        actions: (F,) what per-action tables list the frames under, ids or names.
        subjects: (F,) ids.
        parts: the parts that results are given for, which frames they have; may be empty.
    """

    image_ids: np.ndarray
    joint_set: JointSet
    cameras: Cameras
    center: np.ndarray
    scale: np.ndarray
    truth_world: np.ndarray
    actions: np.ndarray
    subjects: np.ndarray
    parts: Parts

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def joint_names(self) -> list[str]:
        """Joints of the predictions, in union order."""
        return [UNION_20.names[joint] for joint in union_subset(self.joint_set)]


@dataclass(frozen=True)
class Estimate:
    """Poses of all frames.

    Attributes:
        pose_world: (F, J, 3) mm.
        num_views_agree: (F, J) views whose heatmap is high where the joint projects to.
        num_box_roots: frames on no joint of which two views agreed; the box centres stood in for the root.
        num_filled_joints: joints that were not found and stand where the next one on the skeleton does.
        seconds: time of the inference, reading included.
    """

    pose_world: np.ndarray
    num_views_agree: np.ndarray
    num_box_roots: int
    num_filled_joints: int
    seconds: float


def load_frames(config: Any) -> Frames:
    """Read the test frames, in the order in which valid.py predicts them.

    Raises:
        InputError: the data set has no calibrated views, or its annotation cannot be read.
    """
    annotations, groups = evaluated_groups(config)
    labels = annotations.labels3d
    first = groups[:, 0]
    return Frames(
        image_ids=image_ids_of(annotations, groups),
        joint_set=annotations.joint_set,
        cameras=labels.cameras[labels.camera_idx[groups]],
        center=annotations.center[groups].astype(np.float64),
        scale=annotations.scale[groups].astype(np.float64),
        truth_world=labels.pose_world(first),
        actions=labels.listed_actions(first),
        subjects=labels.subject[first],
        parts=labels.parts(first),
    )


def open_predictions(config: Any, directory: Path, frames: Frames, needs_heatmaps: bool = True) -> PredictionFile:
    """Open the run's predictions and check that they are those of the frames; a warning if not of the configuration.

    Raises:
        InputError: missing or damaged file, no heatmaps where they are needed, other images, joints or map size.
    """
    predictions = PredictionFile(directory / config.TEST.HEATMAP_LOCATION_FILE, needs_heatmaps)
    predictions.check_matches(frames.image_ids.ravel().tolist(), frames.joint_names)
    width, height = config.NETWORK.HEATMAP_SIZE
    if predictions.heatmaps is not None and predictions.heatmaps.shape[2:] != (height, width):
        found = predictions.heatmaps.shape[:1:-1]
        raise InputError(
            f"{predictions.path}: heatmaps are {found} px (width, height), NETWORK.HEATMAP_SIZE is ({width}, {height})"
        )
    check_description(config, predictions)
    return predictions


def estimate_poses(
    config: Any,
    frames: Frames,
    predictions: PredictionFile,
    prior: LimbPrior | None,
    backend: Backend,
    batch_size: int,
    method: str = "rpsm",
) -> Estimate:
    """Run a method over all frames, batch by batch; the next batch is read meanwhile.

    The method rpsm+refine reads them twice, the second time to count the views that agree with the final poses.

    Args:
        config: the configuration.
        frames: the frames.
        predictions: their heatmaps and 2D locations.
        prior: limb-length prior; None for the methods that need none.
        backend: NumpyBackend or TorchBackend.
        batch_size: frames solved at once; the memory holds the heatmaps of two batches.
        method: one of METHODS in lib/core/pose3d/methods.py.

    Returns:
        The poses in the world frame.

    Raises:
        InputError: the file is damaged or its heatmaps are not finite.
    """
    start_time = time.perf_counter()
    found = run_batches(
        method, config, partial(_for_each_batch, config, frames, predictions, batch_size), prior, backend
    )
    return Estimate(
        pose_world=found.pose_world,
        num_views_agree=found.num_views_agree,
        num_box_roots=found.num_box_roots,
        num_filled_joints=0 if found.filled is None else int(found.filled.sum()),
        seconds=time.perf_counter() - start_time,
    )


def _for_each_batch(
    config: Any, frames: Frames, predictions: PredictionFile, batch_size: int, solve: Solve
) -> list[BatchPoses]:
    """Read the frames batch by batch and call a function for each; errors name the batch."""
    parts = []
    rows = batch_size * frames.image_ids.shape[1]
    with (
        tqdm(total=len(frames), desc="3D poses", unit="frame", disable=None, leave=False) as bar,
        closing(predictions.batches(rows)) as batches,
    ):
        for start, (heatmaps, locations) in zip(range(0, len(frames), batch_size), batches, strict=True):
            batch = _make_batch(config, frames, heatmaps, locations, start)
            try:
                parts.append(solve(batch))
            except InputError as error:
                where = f"{predictions.path}: batch that begins with '{batch.image_ids[0, 0]}'"
                raise InputError(f"{where}: {error}") from None
            bar.update(len(batch.heatmaps))
    return parts


def _make_batch(config: Any, frames: Frames, heatmaps: np.ndarray, locations: np.ndarray, start: int) -> FrameBatch:
    """Combine rows of the predictions with what is known of their frames, which begin at frame `start`."""
    num_views = frames.image_ids.shape[1]
    chosen = slice(start, start + len(heatmaps) // num_views)
    names = frames.joint_names  # those of the file may be numbers
    order = [names.index(name) for name in frames.joint_set.names]
    if order != sorted(order):  # those of Human3.6M and Total Capture are in union order
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
        subject=frames.subjects[chosen],
        joint_set=frames.joint_set,
    )


def run_estimate(
    config: Any,
    directory: Path,
    backend: Backend,
    method: str,
    batch_size: int,
    poses_name: str | None = None,
    check_name: str | None = None,
) -> dict[str, Any]:
    """Estimate, evaluate and store the poses of the test frames.

    Args:
        config: the configuration.
        directory: run directory; holds the predictions and receives the results.
        backend: NumpyBackend or TorchBackend.
        method: one of METHODS in lib/core/pose3d/methods.py.
        batch_size: frames read at once.
        poses_name: file of the poses, in the run directory; None = default_poses_name().
        check_name: poses of the run directory, the largest distance to which is logged; None = none.

    Returns:
        The results as stored in results_3d.json under results_name().

    Raises:
        InputError: arguments or files that cannot be used, or the disk refuses.
    """
    _check_arguments(method, batch_size, poses_name)
    library = backend.xp.__name__
    poses_name = default_poses_name(config, method, library) if poses_name is None else poses_name
    frames = load_frames(config)
    body = body_of(frames.joint_set)
    root = root_index(config, body)
    others = None
    if check_name is not None:
        others = poses_of_frames(directory / check_name, frames.image_ids, body.joint_names)
    prior = None if method in WITHOUT_PRIOR else load_prior(config, body)
    logger.info("%d frames of %d views; %s", *frames.image_ids.shape, method)
    _describe_prior(config, prior)
    with open_predictions(config, directory, frames) as predictions:
        source = source_of(config, predictions)
        if check_name is not None:
            warn_of_outdated(directory, {}, {check_name: poses_source(others)})
        estimate = estimate_poses(config, frames, predictions, prior, backend, batch_size, method)
    _warn_of_gaps(estimate)
    results = {
        "unit": "mm",
        **sources_and_settings(config, method),
        "num_box_roots": estimate.num_box_roots,
        "num_filled_joints": estimate.num_filled_joints,
        "mean_confidence": float(estimate.num_views_agree.mean() / frames.image_ids.shape[1]),
        **summarise(estimate.pose_world, frames.truth_world, frames.actions, body.joint_names, root, frames.parts),
        "frames_per_second": len(frames) / max(estimate.seconds, 1e-9),
        "poses": poses_name,
    }
    save_poses(
        directory / poses_name,
        body.joint_names,
        pose_world=estimate.pose_world,
        gt_world=frames.truth_world,
        image_ids=frames.image_ids,
        num_views_agree=estimate.num_views_agree,
        source=source,
    )
    save_results(directory, source, results_name(config, method, library), results)
    if others is not None:
        distance = float(joint_errors(estimate.pose_world, others["pose_world"]).max())
        logger.info("joints are at most %.4f mm from those of %s", distance, check_name)
    return results


def _check_arguments(method: str, batch_size: int, poses_name: str | None) -> None:
    if method not in METHODS:
        raise unknown_name("method", method, METHODS, "--method")
    if batch_size < 1:
        raise InputError(f"--batch-size: expected at least 1, received {batch_size}")
    if poses_name is not None and not poses_name.endswith(".npz"):
        raise InputError(f"--poses: expected a name that ends in .npz, received '{poses_name}'")


def _warn_of_gaps(estimate: Estimate) -> None:
    if estimate.num_box_roots:
        logger.warning(
            "%d frames: no two views agree on any joint; the boxes' centres stood in for the root",
            estimate.num_box_roots,
        )
    if estimate.num_filled_joints:
        logger.warning(
            "%d of %d joints: no two views agree; they stand where the next joint on the skeleton does",
            estimate.num_filled_joints,
            estimate.num_views_agree.size,
        )


def _describe_prior(config: Any, prior: LimbPrior | None) -> None:
    if prior is None:
        return
    keys = config.PICT_STRUCT
    logger.info("root: %s; limb lengths: %s", _ROOT_TEXT[keys.ROOT_SOURCE], _LENGTH_TEXT[keys.LIMB_LENGTH_SOURCE])
    if prior.length_errors.any() and keys.LIMB_LENGTH_SOURCE == "prior":
        logger.warning(
            "%s states no limb lengths (published form): they were derived from its bins, within %.0f mm",
            prior_path(config),
            prior.length_errors.max(),
        )
