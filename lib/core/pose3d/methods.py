"""Methods of 3D inference: heatmaps of several views -> 3D poses. Imports no torch.

To add one: write solve(batch, context) -> Poses and add an entry to METHODS at the end of this file.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lib.core.pose3d.frames import FrameBatch, Poses
from lib.core.pose3d.make_prior import pictorial_settings
from lib.multiviews.body import HumanBody
from lib.multiviews.keypoints.peak_rays import PeakRays
from lib.multiviews.keypoints.peaks import find_peaks
from lib.multiviews.keypoints.triangulate import triangulate
from lib.multiviews.keypoints.triangulate_robust import triangulate_robust
from lib.multiviews.keypoints.view_support import SupportPatches, count_supporting_views
from lib.multiviews.pictorial.backend_numpy import Backend
from lib.multiviews.pictorial.limb_prior import LimbPrior
from lib.multiviews.pictorial.rpsm import PictorialSettings, rpsm
from lib.multiviews.refinement.learned_refinement import LearnedRefinement
from lib.multiviews.refinement.refine import (
    RefineSettings,
    fit_frames,
    fit_persons,
    fitted_errors,
    fitted_poses,
    trusted_rays,
)
from lib.multiviews.refinement.view_sampler import ViewSampler, partners
from lib.utils.errors import InputError, check_finite, check_shape, naming_part
from lib.utils.transforms import invert_affine, similarity_scale, transform_points

_GT_LENGTH_STD = 0.005  # standard deviation / length; annotated skeletons are not exactly rigid


@dataclass(frozen=True)
class MethodContext:
    """What a method uses in addition to the frames.

    Attributes:
        pict_struct: section PICT_STRUCT of the configuration.
        triangulate: section TRIANGULATE.
        root: index of the root joint, DATASET.ROOTIDX.
        prior: limb prior; None if the method needs none.
        backend: array library of RPSM and of the refinement.
        learned: networks of the learned refinement; None if the method needs none.
    """

    pict_struct: Any
    triangulate: Any
    root: int
    prior: LimbPrior | None
    backend: Backend
    learned: LearnedRefinement | None = None


@dataclass(frozen=True)
class Method:
    """A method of 3D inference.

    Attributes:
        solve: (batch, context) -> poses of the batch.
        finish: (states of all batches, context) -> final poses of all frames, for methods that fit them together;
            None = the poses of solve() are final.
        needs_prior: the context holds a limb prior.
        needs_learned: the context holds the networks of the learned refinement.
        keys: configuration keys that the results depend on. Values other than the default become part of the name
            of the results.
        fixed: keys whose value in the configuration the method ignores -> the value that it uses.
    """

    solve: Callable[[FrameBatch, MethodContext], Poses]
    finish: Callable[[list[Any], MethodContext], Poses] | None = None
    needs_prior: bool = True
    needs_learned: bool = False
    keys: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)


def make_context(
    config: Any, body: HumanBody, prior: LimbPrior | None, backend: Backend, learned: LearnedRefinement | None = None
) -> MethodContext:
    """Return the context for PICT_STRUCT, TRIANGULATE and DATASET.ROOTIDX; an InputError if there is no such root."""
    root = root_index(config.DATASET.ROOTIDX, body)
    return MethodContext(config.PICT_STRUCT, config.TRIANGULATE, root, prior, backend, learned)


def root_index(index: int, body: HumanBody) -> int:
    """Return DATASET.ROOTIDX, or raise an InputError if the skeleton has no such joint."""
    if index >= body.num_joints:
        raise InputError(f"DATASET.ROOTIDX: expected a joint index below {body.num_joints}, received {index}")
    return index


def run_method(method: Method, batches: Iterable[FrameBatch], context: MethodContext) -> Poses:
    """Estimate the poses of all frames, and count the views that support each joint.

    The poses do not depend on the size of the batches. Each batch is used once, so memory does not grow with the
    heatmaps. A method with finish() keeps what it needs of them, see Poses.state and SupportPatches.

    Args:
        method: a value of METHODS.
        batches: a list, or FrameBatches.
        context: of make_context().

    Returns:
        The poses of all frames. No view supports a filled joint.

    Raises:
        InputError: heatmaps are not finite, or the method cannot use the frames.
    """
    name = getattr(method.solve, "__name__", method.solve)
    parts: list[Poses] = []
    states: list[Any] = []
    patches: list[SupportPatches] = []
    for batch in batches:
        on_device = replace(batch, heatmaps=context.backend.heatmaps(batch.heatmaps))
        try:
            _check_heatmaps(on_device.heatmaps, context.backend)
            with naming_part(f"3D method {name}"):
                poses = method.solve(on_device, context)
            if not isinstance(poses, Poses):
                raise InputError(f"{name}: expected Poses, received {type(poses).__name__}")
            check_shape("poses of the method", np.shape(poses.pose_world), (len(batch), batch.body.num_joints, 3))
            check_finite("poses of the method", poses.pose_world)
        except InputError as error:
            raise InputError(f"{batch.name}: {error}") from None
        inputs = (on_device.heatmaps, poses.pose_world, batch.cameras, batch.image_to_heatmap)
        if poses.state is None:
            counts = count_supporting_views(*inputs, context.backend)
            poses = replace(poses, num_views_agree=counts if poses.filled is None else counts * ~poses.filled)
        else:
            patches.append(SupportPatches.around(*inputs, backend=context.backend))
            states.append(poses.state)
        parts.append(replace(poses, state=None))
        del batch, on_device, inputs  # free the heatmaps before the next batch is read
    if states:
        with naming_part(f"3D method {name}, finish()"):
            final = method.finish(states, context)
            if not isinstance(final, Poses):
                raise InputError(f"{name}, finish(): expected Poses, received {type(final).__name__}")
        parts = _finished(parts, final, patches)
    return Poses(
        pose_world=np.concatenate([poses.pose_world for poses in parts]),
        num_box_roots=sum(poses.num_box_roots for poses in parts),
        filled=_joined([poses.filled for poses in parts]),
        num_views_agree=np.concatenate([poses.num_views_agree for poses in parts]),
        covariance=_joined([poses.covariance for poses in parts]),
        degrees_of_freedom=_joined([poses.degrees_of_freedom for poses in parts]),
    )


def _joined(parts: list[np.ndarray | None]) -> np.ndarray | None:
    """Join the arrays of all batches; None if the method does not return them."""
    return None if parts[0] is None else np.concatenate(parts)


def _check_heatmaps(heatmaps: Any, backend: Backend) -> None:
    """Check that heatmaps are finite, in the backend's threads."""
    if not isinstance(heatmaps, np.ndarray):
        check_finite("heatmaps", heatmaps)
        return

    def check(frames: slice) -> None:
        if not np.isfinite(heatmaps[frames]).all():
            check_finite("heatmaps", heatmaps)  # names the first frame of the whole batch

    backend.for_each(check, backend.shares(len(heatmaps)))


def _finished(parts: list[Poses], final: Poses, patches: list[SupportPatches]) -> list[Poses]:
    """Put the final poses of all frames into the poses of the batches."""
    finished = []
    start = 0
    for poses, patch in zip(parts, patches, strict=True):
        frames = slice(start, start + len(poses.pose_world))
        pose = final.pose_world[frames]
        covariance, dof = (
            None if array is None else array[frames] for array in (final.covariance, final.degrees_of_freedom)
        )
        agree = patch.count(pose)
        finished.append(
            replace(poses, pose_world=pose, num_views_agree=agree, covariance=covariance, degrees_of_freedom=dof)
        )
        start = frames.stop
    return finished


def solve_triangulate(batch: FrameBatch, context: MethodContext) -> Poses:
    """Triangulate each joint from the predicted locations in all views; the paper's baseline with equal weights."""
    check_finite("locations", batch.locations)
    peaks = batch.locations[..., 2]
    weights = (peaks > 0).astype(float) if context.triangulate.WEIGHTS == "equal" else peaks
    return _filled(triangulate(batch.locations[..., :2], batch.cameras, weights), batch)


def solve_triangulate_robust(batch: FrameBatch, context: MethodContext) -> Poses:
    """Triangulate each joint from the largest set of views with heatmap peaks that agree."""
    return _filled(triangulate_peaks(batch, context), batch)


def triangulate_peaks(
    batch: FrameBatch, context: MethodContext, rows: list[int] | slice = slice(None), joints: slice = slice(None)
) -> np.ndarray:
    """Triangulate joints from the best peaks of their heatmaps, with the settings of TRIANGULATE.

    Args:
        batch: the frames.
        context: of make_context().
        rows: frames of the batch.
        joints: joints of the joint set.

    Returns:
        (rows, joints, 3) mm, world frame; NaN if no two views agree.
    """
    keys = context.triangulate
    to_heatmap = batch.image_to_heatmap[rows]
    peaks_hm, values = find_peaks(
        batch.heatmaps[rows][:, :, joints], keys.NUM_PEAKS, keys.PEAK_MODE, backend=context.backend
    )
    flat = peaks_hm.reshape(*peaks_hm.shape[:2], -1, 2)  # of (f, V, P, K, 2)
    peaks_img = transform_points(flat, invert_affine(to_heatmap)).reshape(peaks_hm.shape)
    crop_side = batch.heatmaps.shape[-1] / similarity_scale(to_heatmap)  # (f, V), image px
    return triangulate_robust(peaks_img, values, batch.cameras[rows], keys.TOLERANCE * crop_side, context.backend)


def _filled(pose_world: np.ndarray, batch: FrameBatch) -> Poses:
    """Give joints that are NaN the position of a neighbor, or of the box center if the frame has no joint."""
    filled = ~np.isfinite(pose_world).all(-1)
    pose = fill_from_skeleton(pose_world, batch.body)
    has_joint = ~filled.all(1)
    if has_joint.all():
        return Poses(pose, filled=filled)
    centers, num_box_roots = _box_centers_where_missing(pose[:, batch.body.root], batch)
    return Poses(np.where(has_joint[:, None, None], pose, centers[:, None]), num_box_roots, filled)


def fill_from_skeleton(pose_world: np.ndarray, body: HumanBody) -> np.ndarray:
    """Replace joints that are NaN by the next joint toward the root, or toward the leaves if there is none.

    Args:
        pose_world: (f, J, 3) mm.
        body: the skeleton.

    Returns:
        (f, J, 3) mm; NaN only in frames without any joint.
    """
    pose = pose_world.copy()
    toward_leaf = pose_world.copy()  # nearest joint below
    for parent, child in body.edges_leaf_to_root:
        known = np.isfinite(toward_leaf[:, parent])
        toward_leaf[:, parent] = np.where(known, toward_leaf[:, parent], toward_leaf[:, child])
    pose[:, body.root] = toward_leaf[:, body.root]
    for parent, child in body.edges:
        pose[:, child] = np.where(np.isfinite(pose[:, child]), pose[:, child], pose[:, parent])
    return pose


def locate_roots(batch: FrameBatch, context: MethodContext) -> tuple[np.ndarray, int]:
    """Locate the roots as PICT_STRUCT.ROOT_SOURCE says.

    If no two views agree on the root, the nearest joint on the skeleton replaces it. If they agree on no joint, the
    triangulated box center does.

    Returns:
        (f, 3) mm, world frame, and the number of frames with the box center.

    Raises:
        InputError: all cameras of a frame are at one place, or there is no ground truth.
    """
    root = context.root
    if context.pict_struct.ROOT_SOURCE == "ground_truth":
        return _ground_truth(batch, "ROOT_SOURCE")[:, root], 0
    points = triangulate_peaks(batch, context, joints=slice(root, root + 1))[:, 0]
    missing = np.flatnonzero(~np.isfinite(points).all(1))
    if len(missing):
        points[missing] = fill_from_skeleton(triangulate_peaks(batch, context, missing.tolist()), batch.body)[:, root]
    return _box_centers_where_missing(points, batch)


def _box_centers_where_missing(points_world: np.ndarray, batch: FrameBatch) -> tuple[np.ndarray, int]:
    """Replace points (f, 3) that are NaN by triangulated box centers, and count them.

    The center of a box around the person is near enough for a grid of 2 m.
    """
    missing = ~np.isfinite(points_world).all(1)
    if missing.any():
        centers = triangulate(batch.center[:, :, None], batch.cameras)[:, 0]
        points_world = np.where(missing[:, None], centers, points_world)
    impossible = np.flatnonzero(~np.isfinite(points_world).all(1))
    if len(impossible):
        raise InputError(f"frame {impossible[0]} of the batch: all cameras are at one place; check the calibration")
    return points_world, int(missing.sum())


def _ground_truth(batch: FrameBatch, key: str) -> np.ndarray:
    if batch.gt_world is None:
        raise InputError(f"PICT_STRUCT.{key}: received ground_truth, but these frames have none; use the default")
    if not np.isfinite(batch.gt_world).all():
        raise InputError(f"PICT_STRUCT.{key}: received ground_truth, but some joints are not labeled; use the default")
    return batch.gt_world


def limb_lengths(batch: FrameBatch, context: MethodContext) -> np.ndarray:
    """Return the limb lengths of PICT_STRUCT.LIMB_LENGTH_SOURCE: (f, E) or (E,), mm."""
    if context.pict_struct.LIMB_LENGTH_SOURCE == "ground_truth":
        return context.prior.body.limb_lengths(_ground_truth(batch, "LIMB_LENGTH_SOURCE"))
    return context.prior.mean_lengths


def _solve_pictorial(batch: FrameBatch, context: MethodContext, settings: PictorialSettings) -> Poses:
    root, num_box_roots = locate_roots(batch, context)
    pose = rpsm(
        batch.heatmaps,
        batch.cameras,
        batch.image_to_heatmap,
        root,
        limb_lengths(batch, context),
        context.prior,
        settings,
        context.backend,
        check_heatmaps=False,
    )
    return Poses(pose, num_box_roots)


def solve_psm(batch: FrameBatch, context: MethodContext) -> Poses:
    """Run the pictorial structure model on the first grid, without recursion."""
    return _solve_pictorial(batch, context, replace(pictorial_settings(context.pict_struct), recur_depth=0))


def solve_rpsm(batch: FrameBatch, context: MethodContext) -> Poses:
    """Run the recursive pictorial structure model: the first grid, then PICT_STRUCT.RECUR_DEPTH finer ones."""
    return _solve_pictorial(batch, context, pictorial_settings(context.pict_struct))


def solve_rpsm_refine(batch: FrameBatch, context: MethodContext) -> Poses:
    """Run RPSM, then fit all joints of a frame together, with subpixel accuracy.

    Behind a fusion, the fused heatmaps choose (RPSM) and the single-view heatmaps place (the fit). With networks in
    the context, the learned refinement follows.
    """
    poses = solve_rpsm(batch, context)
    keys = context.pict_struct
    fitted = fit_frames(
        batch.heatmaps,
        batch.cameras,
        batch.image_to_heatmap,
        poses.pose_world,
        limb_lengths(batch, context),
        context.prior.body,
        context.backend,
        _refine_settings(context),
        _flip_pairs(batch),
        check_heatmaps=False,
        single_view_peaks=batch.single_view_peaks,
        learned=context.learned,
    )
    state = (batch.subject, fitted) if keys.REFINE_PERSON and batch.subject is not None else None
    pose = fitted_poses(fitted, context.prior.body, context.backend)
    if state is not None:  # refine_persons() fits again
        return replace(poses, pose_world=pose, state=state)
    covariance, dof = fitted_errors(fitted, context.prior.body)
    return replace(poses, pose_world=pose, covariance=covariance, degrees_of_freedom=dof)


def _refine_settings(context: MethodContext) -> RefineSettings:
    keys, peaks = context.pict_struct, context.triangulate
    is_gt = keys.LIMB_LENGTH_SOURCE == "ground_truth"
    length_std = _GT_LENGTH_STD if is_gt else keys.REFINE_LENGTH_STD
    return RefineSettings(peaks.NUM_PEAKS, peaks.PEAK_MODE, peaks.TOLERANCE, length_std)


def _flip_pairs(batch: FrameBatch) -> list[tuple[int, int]]:
    return [tuple(batch.joint_set.indices(pair)) for pair in batch.joint_set.flip_pairs]


def views_and_peaks(batch: FrameBatch, context: MethodContext) -> tuple[ViewSampler, PeakRays]:
    """Return what the networks of rpsm+learned see of a batch."""
    where = (batch.cameras, batch.image_to_heatmap)
    peaks = trusted_rays(batch.heatmaps, batch.single_view_peaks, *where, _refine_settings(context), context.backend)
    partner = partners(len(batch.joint_set), _flip_pairs(batch))
    return ViewSampler(batch.heatmaps, *where, partner, context.backend), peaks


def refine_persons(states: list[Any], context: MethodContext) -> Poses:
    """Fit the frames again, with limb lengths estimated over all frames of each person."""
    subject = np.concatenate([subject for subject, _ in states])
    fitted = [block for _, blocks in states for block in blocks]
    again = fit_persons(fitted, subject, context.prior.body, context.backend)
    body = context.prior.body
    covariance, dof = fitted_errors(again, body)
    return Poses(fitted_poses(again, body, context.backend), covariance=covariance, degrees_of_freedom=dof)


_PEAK_KEYS = ("TRIANGULATE.NUM_PEAKS", "TRIANGULATE.PEAK_MODE", "TRIANGULATE.TOLERANCE")  # also of the root
_GRID_KEYS = ("PICT_STRUCT.FIRST_NBINS", "PICT_STRUCT.GRID_SIZE", "PICT_STRUCT.LIMB_LENGTH_TOLERANCE")
_RPSM_KEYS = (
    "PICT_STRUCT.RECUR_DEPTH",
    "PICT_STRUCT.ROOT_SOURCE",
    "PICT_STRUCT.LIMB_LENGTH_SOURCE",
    "PICT_STRUCT.RECUR_NBINS",
    *_GRID_KEYS,
)

_REFINE_KEYS = (*_RPSM_KEYS, "PICT_STRUCT.REFINE_PERSON", "PICT_STRUCT.REFINE_LENGTH_STD", *_PEAK_KEYS)

METHODS: dict[str, Method] = {
    "rpsm": Method(solve_rpsm, keys=(*_RPSM_KEYS, *_PEAK_KEYS)),
    "rpsm+refine": Method(solve_rpsm_refine, refine_persons, keys=_REFINE_KEYS),
    "rpsm+learned": Method(solve_rpsm_refine, refine_persons, needs_learned=True, keys=_REFINE_KEYS),
    "psm": Method(
        solve_psm,
        keys=("PICT_STRUCT.ROOT_SOURCE", *_GRID_KEYS, *_PEAK_KEYS),
        fixed={"PICT_STRUCT.RECUR_DEPTH": 0, "PICT_STRUCT.LIMB_LENGTH_SOURCE": "prior"},
    ),
    "triangulate": Method(solve_triangulate, needs_prior=False, keys=("TRIANGULATE.WEIGHTS",)),
    "triangulate_robust": Method(solve_triangulate_robust, needs_prior=False, keys=_PEAK_KEYS),
}


def chosen_method(name: str, refine: bool) -> str:
    """Return the name of the method to run: "rpsm" means "rpsm+refine" if PICT_STRUCT.REFINE is true."""
    return "rpsm+refine" if name == "rpsm" and refine else name
