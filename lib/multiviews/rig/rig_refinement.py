"""Refinement of a calibration from 2D detections of a person: cameras, clocks, uncertainty, and whether it matters.

First the rig is brought near by joints that left/right swaps do not change, with a tolerance that decreases. Then swaps
and trajectories are estimated with the new rig, and all joints and limb lengths adjust it (bundle adjustment).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lib.multiviews.body import HumanBody
from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.triangulate_robust import triangulate_robust
from lib.multiviews.recording.robust_poses import RobustSettings, robust_poses, sizes_over_time
from lib.multiviews.recording.synchronization import estimate_sync_offsets, swap_free_points
from lib.multiviews.rig.rig_adjustment import AdjustmentSettings, Frames, ReducedEquations, RigAdjustment, free_columns
from lib.multiviews.rig.rig_parameters import (
    CENTER,
    DRIFT,
    FOCAL,
    OFFSET,
    ROTATION,
    RigState,
    aligned,
    clock,
    without_similarity,
)

FlipPairs = Sequence[tuple[int, int]]
_QUICK_FRAMES, _QUICK_RUN = 200, 20  # of quick_refinement()
_MIN_BLOCKS = 5  # fewer show nothing about the dependence of residuals


@dataclass(frozen=True)
class RefinementSettings:
    """Settings of refine_rig().

    Attributes:
        focal: estimate the focal lengths.
        clocks: estimate sync offsets and drifts.
        start_noise: first noise, share of the person's size; it covers the error of the given rig.
        coarse_passes: passes with the joints that swaps do not change.
        coarse_steps: Gauss-Newton steps in each.
        focal_pass: first of the passes in which focal lengths are estimated.
        coarse_frames: frames that are used.
        fine_passes: passes with all joints, each with new swaps.
        fine_steps: Gauss-Newton steps in each.
        fine_frames: frames that are used.
        drift_frames: shortest recording in which a drift is estimated, frames.
        block_frames: frames whose residuals may depend on each other.
        adjustment: settings of the adjustment.
    """

    focal: bool = False
    clocks: bool = True
    start_noise: float = 0.06
    coarse_passes: int = 6
    coarse_steps: int = 3
    focal_pass: int = 2
    coarse_frames: int = 400
    fine_passes: int = 3
    fine_steps: int = 3
    fine_frames: int = 3000
    drift_frames: int = 300
    block_frames: int = 50
    adjustment: AdjustmentSettings = field(default_factory=AdjustmentSettings)

    def columns(self, num_frames: int) -> list[int | slice]:
        """Return the unknowns that are estimated."""
        clocks = [OFFSET, DRIFT] if num_frames >= self.drift_frames else [OFFSET]
        return [ROTATION, CENTER, *([FOCAL] if self.focal else []), *(clocks if self.clocks else [])]


DEFAULT_SETTINGS = RefinementSettings()


@dataclass(frozen=True)
class RigRefinement:
    """Refined rig of V cameras, where as many cameras as possible lie where the given rig has them.

    Attributes:
        state: cameras and clocks.
        step: (V, NUM_COLUMNS) from the given rig to `state`.
        sd: (V, NUM_COLUMNS) standard deviations of `state`; 0 = not estimated.
        covariance: (N, N) of the estimated unknowns in the order of `free`.
        free: (V, NUM_COLUMNS) bool.
        noise_px: (V,) standard deviation of the detections per axis.
        error_before, error_after: (V,) median reprojection error, px, with the given and the refined rig.
        inlier_share: (V,) share of the detections that fit the refined rig.
        size_px: (V,) size of the person.
        change: squared length of `step` in its standard deviations, cameras only.
        change_freedom: number of independent unknowns of the cameras; `change` of a right rig is about as large.
        shift_px: root mean square by which the given cameras misplace joints in the images.
        inflation: factor of the covariance for residuals that depend on each other, at least 1.
        adjustment: state of the adjustment, for tests of further unknowns.
    """

    state: RigState
    step: np.ndarray
    sd: np.ndarray
    covariance: np.ndarray
    free: np.ndarray
    noise_px: np.ndarray
    error_before: np.ndarray
    error_after: np.ndarray
    inlier_share: np.ndarray
    size_px: np.ndarray
    change: float
    change_freedom: int
    shift_px: float
    inflation: float
    adjustment: RigAdjustment


def refine_rig(
    points: np.ndarray,
    cameras: Cameras,
    body: HumanBody,
    flip_pairs: FlipPairs,
    settings: RefinementSettings = DEFAULT_SETTINGS,
) -> RigRefinement:
    """Adjust a rig to a person.

    Args:
        points: (F, V, J, 3) x, y in image px and confidence, consecutive frames; NaN = not seen.
        cameras: the given rig, leading axis (V,).
        body: skeleton of the J joints.
        flip_pairs: (right, left) joints.
        settings: see RefinementSettings.
    """
    points_img = np.where(points[..., 2:] >= RobustSettings.min_confidence, points[..., :2], np.nan)
    size = np.median(sizes_over_time(points_img), 0)
    given = RigState.in_sync(cameras)
    state = approach(points_img, given, size, flip_pairs, settings)
    free = free_columns(len(size), settings.columns(len(points)))
    for _ in range(settings.fine_passes):
        adjustment = _fine_adjustment(points, given, state, free, body, flip_pairs, settings)
        adjustment.solve_joints(1)
        for _ in range(settings.fine_steps):
            adjustment.measure_motion()
            adjustment.step()
        state = adjustment.state
    return summarized(adjustment, given, size, settings.block_frames)


def approach(
    points_img: np.ndarray, given: RigState, size: np.ndarray, flip_pairs: FlipPairs, settings: RefinementSettings
) -> RigState:
    """Bring a rig near, with joints that left/right swaps do not change.

    Args:
        points_img: (F, V, J, 2) image px; NaN = not seen.
        given: the given rig.
        size: (V,) size of the person, px.
        flip_pairs: (right, left) joints.
        settings: see RefinementSettings.
    """
    points = swap_free_points(points_img, flip_pairs)
    num_frames, num_views = points.shape[:2]
    numbers = spread_frames(num_frames, settings.coarse_frames)
    columns = [column for column in settings.columns(num_frames) if column != DRIFT]
    state = given
    if settings.clocks and num_frames > 3:
        offsets = estimate_sync_offsets(points_img, given.cameras, size, flip_pairs)
        middle = np.nan_to_num(offsets.frames + offsets.drift * num_frames / 2)
        state = replace(given, offset=middle - middle[0], drift=(offsets.drift - offsets.drift[0]) * num_frames)
    noise = settings.start_noise * float(np.median(size))
    for number in range(settings.coarse_passes):
        frames = in_step(points, state, numbers)
        over_frames = state.cameras.map(lambda array: np.broadcast_to(array, (len(numbers), *array.shape)))
        tolerance = np.full((len(numbers), num_views), settings.adjustment.outlier_std * noise)
        peaks = frames.points_img[:, :, :, None]
        start = triangulate_robust(peaks, np.ones(peaks.shape[:4]), over_frames, tolerance)
        used = [column for column in columns if column != FOCAL or number >= settings.focal_pass]
        free = free_columns(num_views, used)
        adjustment = RigAdjustment(frames, given, state, free, start, settings.adjustment)
        adjustment.noise_px[:] = noise
        adjustment.reweight()
        for _ in range(settings.coarse_steps):
            adjustment.measure_motion()
            adjustment.step(coarse=True)
        adjustment.measure_noise()
        noise = max(float(np.median(adjustment.noise_px)), noise / 2)
        state = adjustment.state
    return state


def spread_frames(num_frames: int, count: int, run: int = 50) -> np.ndarray:
    """Return at most `count` frames, in runs of consecutive frames that are spread over the recording."""
    if num_frames <= count:
        return np.arange(num_frames)
    starts = np.linspace(0, num_frames - run, max(count // run, 1)).astype(int)
    return np.unique((starts[:, None] + np.arange(run)).ravel())


def in_step(points: np.ndarray, state: RigState, numbers: np.ndarray) -> Frames:
    """Move the detections of each view by whole frames, so that a row shows one instant.

    Args:
        points: (F, V, J, ...), the first two of the last axis are image px.
        state: cameras and clocks.
        numbers: (N,) frames.
    """
    num_frames = len(points)
    shift = np.round(state.lag(clock(numbers, num_frames))).astype(int)
    rows = numbers[:, None] + shift
    inside = (rows >= 0) & (rows < num_frames)
    moved = points[rows.clip(0, num_frames - 1), np.arange(rows.shape[1])]
    return Frames(numbers, np.where(inside[..., None, None], moved, np.nan), shift, num_frames)


def _fine_adjustment(
    points: np.ndarray,
    given: RigState,
    state: RigState,
    free: np.ndarray,
    body: HumanBody,
    flip_pairs: FlipPairs,
    settings: RefinementSettings,
) -> RigAdjustment:
    """Estimate swaps and joints with a rig."""
    frames = in_step(points, state, spread_frames(len(points), settings.fine_frames))
    over_frames = state.cameras.map(lambda array: np.broadcast_to(array, (len(frames.numbers), *array.shape)))
    poses = robust_poses(frames.points_img, over_frames, body, flip_pairs)
    frames = replace(frames, points_img=poses.points_img)
    adjustment = RigAdjustment(frames, given, state, free, poses.pose_world, settings.adjustment)
    adjustment.noise_px = poses.noise.px.copy()
    return adjustment


def quick_refinement(
    points_img: np.ndarray, pose_world: np.ndarray, cameras: Cameras, settings: RefinementSettings = DEFAULT_SETTINGS
) -> RigRefinement:
    """Adjust cameras and clocks to a few hundred frames of known poses, to see whether a refinement would matter.

    Args:
        points_img: (F, V, J, 2) image px, swaps corrected; NaN = not seen.
        pose_world: (F, J, 3) mm; NaN = unknown.
        cameras: the given rig, leading axis V.
        settings: columns and block_frames are used.
    """
    given = RigState.in_sync(cameras)
    numbers = spread_frames(len(points_img), _QUICK_FRAMES, _QUICK_RUN)
    frames = in_step(points_img, given, numbers)
    free = free_columns(len(cameras), [ROTATION, CENTER, OFFSET])
    adjustment = RigAdjustment(frames, given, given, free, pose_world[numbers], settings.adjustment)
    for coarse in (True, True, False, False):
        adjustment.measure_motion()
        adjustment.step(coarse)
        if coarse:
            adjustment.noise_px[:] = adjustment.median_noise()
            adjustment.reweight()
    size = np.median(sizes_over_time(points_img), 0)
    return summarized(adjustment, given, size, _QUICK_RUN)


def summarized(adjustment: RigAdjustment, given: RigState, size: np.ndarray, block_frames: int) -> RigRefinement:
    """Return the result of an adjustment: moves of the cameras, and their uncertainty.

    Args:
        adjustment: adjustment that has converged.
        given: the given rig.
        size: (V,) size of the person, px.
        block_frames: frames whose residuals may depend on each other.
    """
    information, equations = adjustment.equations()
    free = adjustment.free
    is_camera = np.zeros_like(free)
    is_camera[:, : FOCAL + 1] = True
    is_camera = is_camera[free]
    state, stayed = aligned(adjustment.state, given)
    step = state.minus(given)
    index = np.flatnonzero(free.ravel())
    projection = without_similarity(state.cameras, stayed)[np.ix_(index, index)]
    influence = projection @ np.linalg.inv(information)
    covariance = influence @ projection.T
    inflation = score_inflation(equations, influence, covariance, block_frames)
    covariance = inflation * covariance
    sd = np.zeros(free.shape)
    sd[free] = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    change = squared_change(equations.matrix, is_camera, step[free])
    noise = float(np.sqrt((adjustment.noise_px**2).mean()))
    fits = adjustment.weight > 0.5
    after = _median_errors(adjustment, fits)
    return RigRefinement(
        state=state,
        step=step,
        sd=sd,
        covariance=covariance,
        free=free,
        noise_px=adjustment.noise_px,
        error_before=_errors_of(adjustment, given, fits),
        error_after=after,
        inlier_share=adjustment.weight.sum((0, 2)) / np.maximum(adjustment.seen.sum((0, 2)), 1),
        size_px=size,
        change=change / inflation,
        change_freedom=int(is_camera.sum()) - 7,
        shift_px=noise * float(np.sqrt(change / max(2 * adjustment.weight.sum(), 1.0))),
        inflation=inflation,
        adjustment=adjustment,
    )


def _median_errors(adjustment: RigAdjustment, chosen: np.ndarray) -> np.ndarray:
    """Return the median distance (V,), px, of chosen detections (N, V, J) from the joints."""
    distance = np.linalg.norm(adjustment.residual, axis=-1)
    views = range(distance.shape[1])
    return np.array(
        [np.median(distance[:, view][chosen[:, view]]) if chosen[:, view].any() else np.nan for view in views]
    )


def _errors_of(adjustment: RigAdjustment, state: RigState, chosen: np.ndarray) -> np.ndarray:
    """Return the median errors (V,), px, of chosen detections (N, V, J) if the joints are fitted with another rig."""
    other = adjustment.with_state(state)
    other.noise_px[:] = other.median_noise()
    other.solve_joints()
    return _median_errors(other, chosen)


def score_inflation(
    equations: ReducedEquations, influence: np.ndarray, covariance: np.ndarray, block_frames: int
) -> float:
    """Return the factor by which the covariance grows because residuals depend on each other, at least 1.

    The steps that the detections of single blocks of frames, or of single joints, cause vary more than those of
    independent residuals.

    Args:
        equations: the equations.
        influence: (M, M) steps of the rig by the scores, without similarity.
        covariance: (M, M) of the steps if residuals are independent, of rank M - 7.
        block_frames: length of a block.

    Source: cluster-robust covariance, see Cameron and Miller, Journal of Human Resources 2015.
    """
    unit = 1 / np.sqrt(np.maximum(np.diagonal(covariance), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(covariance * unit * unit[:, None])
    whitened = (influence.T * unit) @ (vectors[:, 7:] / np.sqrt(np.maximum(values[7:], 1e-9)))
    factors = [1.0]
    starts = np.arange(0, len(equations.frame_scores), block_frames)
    for sums in (np.add.reduceat(equations.frame_scores, starts), equations.joint_scores):
        count = len(sums)
        if count > _MIN_BLOCKS:
            steps = (sums - sums.mean(0)) @ whitened
            factors.append(float((steps**2).sum() / whitened.shape[1]) * count / (count - 1))
    return max(factors)


def squared_change(information: np.ndarray, is_camera: np.ndarray, step: np.ndarray) -> float:
    """Return the squared length of a step of the cameras in standard deviations, whatever the other unknowns are.

    Args:
        information: (M, M) without prior.
        is_camera: (M,) bool, unknowns of cameras.
        step: (M,).
    """
    chosen = np.append(is_camera, np.zeros(len(information) - len(is_camera), bool))
    own, cross, other = (
        information[np.ix_(a, b)] for a, b in ((chosen, chosen), (chosen, ~chosen), (~chosen, ~chosen))
    )
    if len(other):
        unit = 1 / np.sqrt(np.maximum(np.diagonal(other), np.finfo(float).tiny))
        scaled = cross * unit
        own = own - scaled @ np.linalg.lstsq(other * unit * unit[:, None], scaled.T, rcond=1e-12)[0]
    return float(step[is_camera] @ own @ step[is_camera])
