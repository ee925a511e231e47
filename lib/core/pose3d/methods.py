"""Methods of 3D inference on batches of frames, from heatmaps to poses. Imports no torch.

A method takes (configuration, batch, limb prior, backend) and returns BatchPoses; METHODS lists them by name and
run_method() runs one, run_batches() over more frames than fit into memory. To add one, write the function and name it
there and, with the keys that it reads, in lib/core/pose3d/results_3d.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lib.core.pose3d.frames import BatchPoses, FrameBatch
from lib.core.pose3d.make_prior import pictorial_settings
from lib.multiviews.body import HumanBody
from lib.multiviews.keypoints.peaks import find_peaks
from lib.multiviews.keypoints.triangulate import triangulate
from lib.multiviews.keypoints.triangulate_robust import triangulate_robust
from lib.multiviews.keypoints.view_support import count_supporting_views
from lib.multiviews.pictorial.backend_numpy import Backend
from lib.multiviews.pictorial.limb_prior import LimbPrior
from lib.multiviews.pictorial.rpsm import PictorialSettings, rpsm
from lib.multiviews.refinement.refine import RefineSettings, fit_frames, fit_persons, fitted_poses
from lib.utils.errors import InputError, check_finite
from lib.utils.transforms import invert_affine, transform_points

_TRUE_LENGTH_STD = 0.005  # share of a length: the truth is not exactly rigid


Method = Callable[[Any, FrameBatch, LimbPrior | None, Backend], BatchPoses]
Solve = Callable[[FrameBatch], BatchPoses]
ForEachBatch = Callable[[Solve], list[BatchPoses]]  # reads the batches in their order and calls the function for each


def root_index(config: Any, body: HumanBody) -> int:
    """Return DATASET.ROOTIDX, checked against the skeleton."""
    root = config.DATASET.ROOTIDX
    if root >= body.num_joints:
        raise InputError(f"DATASET.ROOTIDX: expected a joint index below {body.num_joints}, received {root}")
    return root


def root_world(config: Any, batch: FrameBatch) -> tuple[np.ndarray, int]:
    """Locate the roots as PICT_STRUCT.ROOT_SOURCE says: "triangulated" is the robust one, from the root's heatmaps.

    Where no two views agree on the root, the nearest joint on the skeleton that they agree on stands in, and where
    there is none the box centre: a whole image's is not where the person is.

    Returns:
        (f, 3) mm, world frame, and the number of frames in which the box centres stood in.

    Raises:
        InputError: the views of a frame stand at one place.
    """
    root = root_index(config, batch.body)
    if config.PICT_STRUCT.ROOT_SOURCE == "ground_truth":
        return batch.truth_world[:, root], 0
    points = robust_points(config, batch, slice(root, root + 1))[:, 0]
    missing = np.flatnonzero(~np.isfinite(points).all(1))
    if len(missing):
        others = robust_points(config, batch.frames(missing), slice(None))
        points[missing] = fill_from_skeleton(others, batch.body)[:, root]
    return _box_centers_where_missing(points, batch)


def _box_centers_where_missing(points_world: np.ndarray, batch: FrameBatch) -> tuple[np.ndarray, int]:
    """Put the triangulated box centres where (f, 3) points are NaN, and count them.

    A box around the person has its centre near enough for a cube of 2 m.
    """
    missing = ~np.isfinite(points_world).all(1)
    if missing.any():
        centers = triangulate(batch.center[:, :, None], batch.cameras)[:, 0]
        points_world = np.where(missing[:, None], centers, points_world)
    if not np.isfinite(points_world).all():
        frame = int(np.flatnonzero(~np.isfinite(points_world).all(1))[0])
        raise InputError(
            f"frame of '{batch.image_ids[frame, 0]}': its views stand at one place, so nothing can be triangulated"
        )
    return points_world, int(missing.sum())


def robust_points(config: Any, batch: FrameBatch, joints: slice) -> np.ndarray:
    """Triangulate joints from the best peaks of their heatmaps, as TRIANGULATE says.

    Args:
        config: the configuration.
        batch: the frames.
        joints: which joints.

    Returns:
        (f, joints, 3) mm, world frame; NaN where no two views agree.
    """
    keys = config.TRIANGULATE
    peaks_hm, values = find_peaks(batch.heatmaps[:, :, joints], keys.NUM_PEAKS, keys.PEAK_MODE)  # (f, V, P, K, 2)
    flat = peaks_hm.reshape(*peaks_hm.shape[:2], -1, 2)
    peaks_img = transform_points(flat, invert_affine(batch.image_to_heatmap)).reshape(peaks_hm.shape)
    box_side = batch.heatmaps.shape[-1] / batch.image_to_heatmap[..., 0, 0]  # (f, V), image px
    return triangulate_robust(peaks_img, values, batch.cameras, keys.TOLERANCE * box_side)


def limb_lengths(config: Any, batch: FrameBatch, prior: LimbPrior) -> np.ndarray:
    """Return the limb lengths that PICT_STRUCT.LIMB_LENGTH_SOURCE asks for: (f, E) or (E,), mm."""
    if config.PICT_STRUCT.LIMB_LENGTH_SOURCE == "ground_truth":
        return prior.body.limb_lengths(batch.truth_world)
    return prior.mean_lengths


def _without_gaps(pose_world: np.ndarray, batch: FrameBatch) -> BatchPoses:
    """Fill joints that are NaN from the skeleton."""
    filled = ~np.isfinite(pose_world).all(-1)
    pose = fill_from_skeleton(pose_world, batch.body)
    found = ~filled.all(1)
    if found.all():
        return BatchPoses(pose, filled=filled)
    centers, num_box_roots = _box_centers_where_missing(pose[:, batch.body.root], batch)
    return BatchPoses(np.where(found[:, None, None], pose, centers[:, None]), num_box_roots, filled)


def fill_from_skeleton(pose_world: np.ndarray, body: HumanBody) -> np.ndarray:
    """Put joints that are NaN where the next one toward the root stands, or where there is none, toward the leaves.

    Args:
        pose_world: (f, J, 3) mm.
        body: the skeleton.

    Returns:
        (f, J, 3) mm; NaN only where a frame has no joint at all.
    """
    pose = pose_world.copy()
    to_leaf = pose_world.copy()  # what stands nearest below
    for parent, child in body.edges_leaf_to_root:
        to_leaf[:, parent] = np.where(np.isfinite(to_leaf[:, parent]), to_leaf[:, parent], to_leaf[:, child])
    pose[:, body.root] = to_leaf[:, body.root]
    for parent, child in body.edges:
        pose[:, child] = np.where(np.isfinite(pose[:, child]), pose[:, child], pose[:, parent])
    return pose


def _rpsm(
    config: Any, batch: FrameBatch, prior: LimbPrior, backend: Backend, settings: PictorialSettings
) -> BatchPoses:
    root, num_box_roots = root_world(config, batch)
    lengths = limb_lengths(config, batch, prior)
    pose = rpsm(batch.heatmaps, batch.cameras, batch.image_to_heatmap, root, lengths, prior, settings, backend)
    return BatchPoses(pose, num_box_roots)


def rpsm_method(config: Any, batch: FrameBatch, prior: LimbPrior, backend: Backend) -> BatchPoses:
    """The recursive pictorial structure around the root, PICT_STRUCT.RECUR_DEPTH grids after the first."""
    return _rpsm(config, batch, prior, backend, pictorial_settings(config))


def psm_method(config: Any, batch: FrameBatch, prior: LimbPrior, backend: Backend) -> BatchPoses:
    """The pictorial structure without recursion: the first grid alone."""
    return _rpsm(config, batch, prior, backend, replace(pictorial_settings(config), recur_depth=0))


def triangulate_method(config: Any, batch: FrameBatch, prior: LimbPrior | None, backend: Backend) -> BatchPoses:
    """Each joint by itself, from the predicted locations of all views: with equal weights the paper's baseline."""
    check_finite("locations", batch.locations)
    peaks = batch.locations[..., 2]
    weights = (peaks > 0).astype(float) if config.TRIANGULATE.WEIGHTS == "equal" else peaks
    pose = triangulate(batch.locations[..., :2], batch.cameras, weights)
    return _without_gaps(pose, batch)


def triangulate_robust_method(config: Any, batch: FrameBatch, prior: LimbPrior | None, backend: Backend) -> BatchPoses:
    """Each joint by itself, where most views agree on one of their best peaks."""
    return _without_gaps(robust_points(config, batch, slice(None)), batch)


def rpsm_refine_method(config: Any, batch: FrameBatch, prior: LimbPrior, backend: Backend) -> BatchPoses:
    """The pictorial structure, then all joints together between the pixels."""
    poses = rpsm_method(config, batch, prior, backend)
    keys = config.PICT_STRUCT
    is_true = keys.LIMB_LENGTH_SOURCE == "ground_truth"
    length_std = _TRUE_LENGTH_STD if is_true else keys.REFINE_LENGTH_STD
    triangulation = config.TRIANGULATE
    fitted = fit_frames(
        batch.heatmaps,
        batch.cameras,
        batch.image_to_heatmap,
        poses.pose_world,
        limb_lengths(config, batch, prior),
        prior.body,
        backend,
        RefineSettings(triangulation.NUM_PEAKS, triangulation.PEAK_MODE, triangulation.TOLERANCE, length_std),
        [tuple(batch.joint_set.indices(pair)) for pair in batch.joint_set.flip_pairs],
    )
    goes_on = keys.REFINE_PERSON and batch.subject is not None
    return replace(poses, pose_world=fitted_poses(fitted, prior.body, backend), fitted=fitted if goes_on else ())


METHODS: dict[str, Method] = {
    "rpsm": rpsm_method,
    "rpsm+refine": rpsm_refine_method,
    "psm": psm_method,
    "triangulate": triangulate_method,
    "triangulate_robust": triangulate_robust_method,
}
WITHOUT_PRIOR = ("triangulate", "triangulate_robust")  # methods that get None as limb prior


def chosen_method(config: Any, method: str) -> str:
    """Return the method to run: rpsm means rpsm+refine where PICT_STRUCT.REFINE says so."""
    return "rpsm+refine" if method == "rpsm" and config.PICT_STRUCT.REFINE else method


def run_method(method: str, config: Any, batch: FrameBatch, prior: LimbPrior | None, backend: Backend) -> BatchPoses:
    """Run a method of METHODS on frames that are in memory together, and count the views that agree with its joints."""
    return run_batches(method, config, lambda solve: [solve(batch)], prior, backend)


def run_batches(
    method: str, config: Any, for_each_batch: ForEachBatch, prior: LimbPrior | None, backend: Backend
) -> BatchPoses:
    """Run a method of METHODS on batches of frames, and count the views that agree with its joints.

    The poses do not depend on the size of the batches: what the frames of a person show of each other is measured over
    all of them. Such a method goes through the batches twice, for the poses and for the counts.

    Args:
        method: name of the method.
        config: the configuration.
        for_each_batch: calls a function for each batch, in order, and returns what it gave; one batch is in memory.
        prior: limb-length prior; None for the methods that need none.
        backend: NumpyBackend or TorchBackend.

    Returns:
        The poses of all frames; with none of the views does a filled joint agree.

    Raises:
        InputError: heatmaps that are not finite, or the method cannot use the frames.
    """
    subjects: list[np.ndarray | None] = []

    def solve(batch: FrameBatch) -> BatchPoses:
        check_finite("heatmaps", batch.heatmaps)
        subjects.append(batch.subject)
        poses = METHODS[method](config, batch, prior, backend)
        return poses if poses.fitted else _count_views(poses, batch)

    parts = for_each_batch(solve)
    fitted = [block for part in parts for block in part.fitted]
    if fitted:
        pose = fit_persons(fitted, np.concatenate(subjects), prior.body, backend)
        ends = np.cumsum([len(part.pose_world) for part in parts])
        settled = iter(
            [
                replace(part, pose_world=own, fitted=())
                for part, own in zip(parts, np.split(pose, ends[:-1]), strict=True)
            ]
        )
        parts = for_each_batch(lambda batch: _count_views(next(settled), batch))
    return _joined(parts)


def _count_views(poses: BatchPoses, batch: FrameBatch) -> BatchPoses:
    """Count the views that agree with each joint; none agrees with a filled one."""
    agree = count_supporting_views(batch.heatmaps, poses.pose_world, batch.cameras, batch.image_to_heatmap)
    return replace(poses, num_views_agree=agree if poses.filled is None else agree * ~poses.filled)


def _joined(parts: Sequence[BatchPoses]) -> BatchPoses:
    return BatchPoses(
        np.concatenate([part.pose_world for part in parts]),
        sum(part.num_box_roots for part in parts),
        None if parts[0].filled is None else np.concatenate([part.filled for part in parts]),
        np.concatenate([part.num_views_agree for part in parts]),
    )
