"""Methods of 3D inference on a batch of frames, from heatmaps to poses. Imports no torch.

A method takes (configuration, batch, limb prior, kernel) and returns BatchPoses; METHODS lists them by name and
run_method() runs one. To add one, write the function and name it there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lib.core.make_prior import pictorial_settings
from lib.multiviews.agreement import views_that_agree
from lib.multiviews.body import HumanBody, body_of
from lib.multiviews.cameras import Cameras
from lib.multiviews.kernels import Kernel
from lib.multiviews.limb_prior import LimbPrior
from lib.multiviews.peaks import find_peaks
from lib.multiviews.pictorial import PictorialSettings, rpsm
from lib.multiviews.refine import RefineSettings, refine
from lib.multiviews.triangulate import triangulate
from lib.multiviews.triangulate_robust import triangulate_robust
from lib.utils.checks import InputError, check_finite
from lib.utils.joints import H36M_17, JointSet
from lib.utils.transforms import invert_affine, transform_points

_TRUE_LENGTH_STD = 0.005  # share of a length: the truth is not exactly rigid


@dataclass(frozen=True)
class FrameBatch:
    """What is known of f frames.

    Attributes:
        image_ids: (f, V) image names.
        heatmaps: (f, V, J, H, W) in the order of the joint set.
        locations: (f, V, J, 3) predicted joints: x, y in image px and the peak value.
        cameras: leading axes (f, V).
        image_to_heatmap: (f, V, 2, 3) image px -> heatmap px.
        center: (f, V, 2) box centres, image px.
        truth_world: (f, J, 3) mm; only for the settings that ask for the ground truth.
        subject: (f,) ids; None = the frames may be of different people.
        joint_set: the J joints.
    """

    image_ids: np.ndarray
    heatmaps: np.ndarray
    locations: np.ndarray
    cameras: Cameras
    image_to_heatmap: np.ndarray
    center: np.ndarray
    truth_world: np.ndarray
    subject: np.ndarray | None = None
    joint_set: JointSet = H36M_17

    @property
    def body(self) -> HumanBody:
        """The tree over the joints."""
        return body_of(self.joint_set)

    def frames(self, rows: np.ndarray) -> FrameBatch:
        """Return some of the frames."""
        return FrameBatch(
            self.image_ids[rows], self.heatmaps[rows], self.locations[rows], self.cameras[rows],
            self.image_to_heatmap[rows], self.center[rows], self.truth_world[rows],
            None if self.subject is None else self.subject[rows], self.joint_set,
        )  # fmt: skip


@dataclass(frozen=True)
class BatchPoses:
    """Poses of f frames.

    Attributes:
        pose_world: (f, J, 3) mm.
        num_box_roots: frames on no joint of which two views agreed; the box centres stood in for the root.
        filled: (f, J) bool, joints that were not found and stand where the next one on the skeleton does; None = none.
        num_views_agree: (f, J) views whose heatmap is high where the joint projects to; run_method() counts them.
    """

    pose_world: np.ndarray
    num_box_roots: int = 0
    filled: np.ndarray | None = None
    num_views_agree: np.ndarray | None = None


Method = Callable[[Any, FrameBatch, LimbPrior | None, Kernel], BatchPoses]


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
        raise InputError(f"frame of '{batch.image_ids[frame, 0]}': its views stand at one place, so nothing can be "
                         "triangulated")  # fmt: skip
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
    pose, found = fill_from_skeleton(pose_world, batch.body), ~filled.all(1)
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


def _rpsm(config: Any, batch: FrameBatch, prior: LimbPrior, kernel: Kernel, settings: PictorialSettings) -> BatchPoses:
    root, num_box_roots = root_world(config, batch)
    lengths = limb_lengths(config, batch, prior)
    pose = rpsm(batch.heatmaps, batch.cameras, batch.image_to_heatmap, root, lengths, prior, settings, kernel)
    return BatchPoses(pose, num_box_roots)


def rpsm_method(config: Any, batch: FrameBatch, prior: LimbPrior, kernel: Kernel) -> BatchPoses:
    """The recursive pictorial structure around the root, PICT_STRUCT.RECUR_DEPTH grids after the first."""
    return _rpsm(config, batch, prior, kernel, pictorial_settings(config))


def psm_method(config: Any, batch: FrameBatch, prior: LimbPrior, kernel: Kernel) -> BatchPoses:
    """The pictorial structure without recursion: the first grid alone."""
    return _rpsm(config, batch, prior, kernel, replace(pictorial_settings(config), recur_depth=0))


def triangulate_method(config: Any, batch: FrameBatch, prior: LimbPrior | None, kernel: Kernel) -> BatchPoses:
    """Each joint by itself, from the predicted locations of all views: with equal weights the paper's baseline."""
    check_finite("locations", batch.locations)
    peaks = batch.locations[..., 2]
    weights = (peaks > 0).astype(float) if config.TRIANGULATE.WEIGHTS == "equal" else peaks
    pose = triangulate(batch.locations[..., :2], batch.cameras, weights)
    return _without_gaps(pose, batch)


def triangulate_robust_method(config: Any, batch: FrameBatch, prior: LimbPrior | None, kernel: Kernel) -> BatchPoses:
    """Each joint by itself, where most views agree on one of their best peaks."""
    return _without_gaps(robust_points(config, batch, slice(None)), batch)


def rpsm_refine_method(config: Any, batch: FrameBatch, prior: LimbPrior, kernel: Kernel) -> BatchPoses:
    """The pictorial structure, then all joints together between the pixels."""
    poses, keys = rpsm_method(config, batch, prior, kernel), config.PICT_STRUCT
    is_true = keys.LIMB_LENGTH_SOURCE == "ground_truth"
    length_std = _TRUE_LENGTH_STD if is_true else keys.REFINE_LENGTH_STD
    triangulation = config.TRIANGULATE
    pose = refine(
        batch.heatmaps,
        batch.cameras,
        batch.image_to_heatmap,
        poses.pose_world,
        limb_lengths(config, batch, prior),
        prior.body,
        kernel,
        RefineSettings(triangulation.NUM_PEAKS, triangulation.PEAK_MODE, triangulation.TOLERANCE, length_std),
        [tuple(batch.joint_set.indices(pair)) for pair in batch.joint_set.flip_pairs],
        batch.subject if keys.REFINE_PERSON else None,
    )
    return replace(poses, pose_world=pose)


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


def run_method(method: str, config: Any, batch: FrameBatch, prior: LimbPrior | None, kernel: Kernel) -> BatchPoses:
    """Run a method of METHODS and count the views that agree with its joints; none agrees with a filled one."""
    check_finite("heatmaps", batch.heatmaps)
    poses = METHODS[method](config, batch, prior, kernel)
    agree = views_that_agree(batch.heatmaps, poses.pose_world, batch.cameras, batch.image_to_heatmap)
    return replace(poses, num_views_agree=agree if poses.filled is None else agree * ~poses.filled)
