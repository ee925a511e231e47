"""3D poses of one person over time from 2D detections with swaps and outliers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import convolve1d

from lib.multiviews.body import HumanBody
from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.left_right import FlipPairs, limb_pairs, swap, swapped_limbs_over_time, swapped_views
from lib.multiviews.keypoints.peak_rays import frame_blocks, peak_rays
from lib.multiviews.keypoints.triangulate_robust import triangulate_robust
from lib.multiviews.keypoints.view_consensus import consistent_points, reprojection_error
from lib.multiviews.recording.pixel_terms import PixelTerms, covariance_of, detection_rays
from lib.multiviews.recording.smoothing import noise_gain, smooth_trajectories
from lib.multiviews.recording.trajectory_fit import fit_trajectories
from lib.multiviews.recording.view_noise import ViewNoise, measure_view_noise
from lib.utils.errors import InputError, check_shape

AUTO = "auto"  # cutoff: smoothing with the measured noise and motion
SOURCES = ("none", "views", "two views", "bridged")  # by the numbers in RobustPoses.source
NO_SOURCE, FROM_VIEWS, FROM_TWO_VIEWS, BRIDGED = range(len(SOURCES))
REGION_90 = 2.5003  # radius of the 90 % region of a 3D normal distribution, standard deviations

_CLEAR_SWAP = 2.0  # a late swap must reduce the median error of a limb pair by this factor
_MAX_TOLERANCE = 0.03  # share of the person's size; limit of the measured tolerance
_TOLERANCE_STD = 4.0  # measured tolerance, standard deviations of the detections
_MIN_TRUST = 0.02  # share of the usual confidence
_BLOCK = 1000  # frames; limits memory
_REACH = 5  # frames in which a joint that two views see must be seen again
_MIN_NOISE = 0.0005  # share of the person's size; exact detections get this noise


@dataclass(frozen=True)
class RobustSettings:
    """Consensus between views, and smoothing.

    Attributes:
        tolerance: largest reprojection error of an inlier, share of the person's size in the image; None = from the
            noise of the detections and at most 0.03 with cutoff "auto", else 0.03.
        min_views: views that must agree on a joint; None = 2 with cutoff "auto", else 3, or 2 with two cameras.
        min_confidence: detections below it are ignored.
        cutoff: "auto" = fit all frames to pixels, limb lengths and smooth motion; a number = frequency that smoothing
            damps by half, cycles per frame; None = no smoothing.
        max_gap: longest gap of a joint that is bridged, frames.
        weigh_confidence: cutoff "auto" gives detections of less than the usual confidence less weight. For confidences
            that follow the accuracy, as peaks of heatmaps do.

    Raises:
        InputError: the tolerance is out of range.
    """

    tolerance: float | None = None
    min_views: int | None = None
    min_confidence: float = 0.1
    cutoff: float | str | None = AUTO
    max_gap: int = 10
    weigh_confidence: bool = False

    def __post_init__(self) -> None:
        if self.tolerance is not None and not 0 < self.tolerance < 1:
            raise InputError(
                f"tolerance: expected a share of the person's size between 0 and 1, received {self.tolerance:g}"
            )

    def describe(self) -> str:
        """Return the settings in words."""
        measured = "measured, at most " if self.tolerance is None and self.cutoff == AUTO else ""
        tolerance = f"{measured}{100 * (self.tolerance or _MAX_TOLERANCE):g}"
        if self.cutoff == AUTO:
            smoothing = "All frames are fitted to pixels, limb lengths and smooth motion"
            smoothing += "; lower peaks have less weight" if self.weigh_confidence else ""
        elif self.cutoff is None:
            smoothing = "Frames are triangulated one by one, not smoothed"
        else:
            smoothing = (
                f"Frames are triangulated one by one, smoothed with a cutoff of {self.cutoff:g} cycles per frame"
            )
        gaps = f"gaps of a joint up to {self.max_gap} frames are bridged"
        return f"Tolerance {tolerance} % of the person's size. {smoothing}; {gaps}."

    def required_views(self, num_views: int) -> int:
        """Return the number of views of `num_views` that must agree on a joint."""
        if self.min_views is not None:
            return self.min_views
        return 2 if self.cutoff == AUTO else min(3, num_views)


@dataclass(frozen=True)
class RobustPoses:
    """Poses of one person in F frames, and the detections they are made from.

    An hour of a recording has 200,000 frames, so everything but the positions is float32 or smaller.

    Attributes:
        pose_world: (F, J, 3) mm; NaN = unknown.
        known: (F, J) bool, enough views agree on the joint.
        points_img: (F, V, J, 2) detections after swaps, px.
        trust: (F, V, J) weights of the detections.
        agrees: (F, V, J) bool, inliers.
        error: (F, V, J) reprojection error of the pose, px; NaN without pose or detection.
        swapped: (F, V, limb pairs) bool, left and right of the detector were swapped.
        limb_pairs: names of the joints that are swapped together, e.g. "hip, kne, ank".
        covariance: (F, J, 3, 3) of the joints, mm^2; NaN = unknown. The fit of cutoff "auto" sets it in smooth_poses().
        source: (F, J) number of the source of a joint in SOURCES.
        noise: noise of the detections per view, and views that are left out.
        settings: settings that the poses were made with.
    """

    pose_world: np.ndarray
    known: np.ndarray
    points_img: np.ndarray
    trust: np.ndarray
    agrees: np.ndarray
    error: np.ndarray
    swapped: np.ndarray
    limb_pairs: tuple[str, ...]
    covariance: np.ndarray
    source: np.ndarray
    noise: ViewNoise
    settings: RobustSettings

    @property
    def sd_mm(self) -> np.ndarray:
        """(F, J) standard deviation per axis, mm; NaN = unknown."""
        return np.sqrt(np.maximum(np.trace(self.covariance, axis1=-2, axis2=-1, dtype=float), 0.0) / 3)

    @property
    def positions(self) -> np.ndarray:
        """(F, 3) mm, root of the person, or the mean of the known joints where the root is unknown.

        Frames without any joint take the position of the nearest frame that has one.
        """
        known = np.isfinite(self.pose_world).all(-1)  # (F, J)
        mean = np.where(known[..., None], self.pose_world, 0.0).sum(1) / known.sum(1).clip(1)[:, None]
        positions = np.where(known[:, :1], self.pose_world[:, 0], mean)
        found = np.flatnonzero(known.any(1))
        frames = np.arange(len(known))
        after = np.searchsorted(found, frames).clip(0, len(found) - 1)
        before = (after - 1).clip(0)
        nearest = np.where(frames - found[before] <= np.abs(found[after] - frames), before, after)
        return positions[found[nearest]]

    @property
    def person_seen(self) -> np.ndarray:
        """(F,) bool, frames in which a view detects a joint."""
        return np.isfinite(self.points_img).all(-1).any((1, 2))

    @property
    def rejected(self) -> np.ndarray:
        """(F, V, J) bool, outliers: detections that do not agree with the pose."""
        return np.isfinite(self.points_img).all(-1) & ~self.agrees

    def with_pose(self, pose_world: np.ndarray, cameras: Cameras) -> RobustPoses:
        """Replace the poses by (F, J, 3) mm of another method; inliers stay, every finite joint counts as known."""
        known = np.isfinite(pose_world).all(-1)
        return replace(
            self,
            pose_world=pose_world,
            known=known,
            error=_errors_px(pose_world, self.points_img, cameras),
            covariance=_unknown_covariance(pose_world.shape[:2]),
            source=_sources(known, self.agrees.sum(1), known),
        )


def person_sizes(points_img: np.ndarray) -> np.ndarray:
    """Return the longer side of the box around joints (..., J, 2), px; NaN if fewer than half of them are seen.

    Joints that are seen nowhere in the array do not count.
    """
    ever = np.isfinite(points_img).all(-1).any(tuple(range(points_img.ndim - 2))).sum()
    sizes = np.empty(points_img.shape[:-2])
    for frames in frame_blocks(len(points_img), 1, _BLOCK):
        seen = np.isfinite(points_img[frames]).all(-1, keepdims=True)
        low = np.where(seen, points_img[frames], np.inf).min(-2)
        high = np.where(seen, points_img[frames], -np.inf).max(-2)
        enough = seen[..., 0].sum(-1) * 2 >= max(ever, 1)
        with np.errstate(invalid="ignore"):
            sizes[frames] = np.where(enough, (high - low).max(-1), np.nan)
    return sizes


def sizes_over_time(points_img: np.ndarray) -> np.ndarray:
    """Return person_sizes() of (F, V, J, 2) px; frames without a size get the median of their view, or of all views.

    Args:
        points_img: detections; NaN = not seen.

    Returns:
        (F, V) px.

    Raises:
        InputError: no view ever shows half of the joints.
    """
    sizes = person_sizes(points_img)
    known = np.isfinite(sizes)
    if not known.any():
        raise InputError("detections: no frame of any view shows half of the person's joints")
    everywhere = np.median(sizes[known])
    medians = [np.median(sizes[seen, view]) if seen.any() else everywhere for view, seen in enumerate(known.T)]
    return np.where(known, sizes, medians)


def robust_poses(
    points: np.ndarray,
    cameras: Cameras,
    body: HumanBody,
    flip_pairs: FlipPairs,
    settings: RobustSettings = RobustSettings(),
) -> RobustPoses:
    """Correct left/right swaps and triangulate each joint of each frame from the views that agree.

    Args:
        points: (F, V, J, 3) x, y in image px and confidence, consecutive frames; NaN = not seen.
        cameras: leading axes (F, V).
        body: skeleton of the J joints.
        flip_pairs: (right, left) joints.
        settings: tolerance, min_views and min_confidence.

    Returns:
        The poses; NaN where too few views agree.

    Raises:
        InputError: shapes disagree, `min_views` is out of range, or no view shows half of the joints.
    """
    sizes = check_shape("points", points.shape, ("F", "V", body.num_joints, 3))
    check_shape("cameras.T", cameras.T.shape, (sizes["F"], sizes["V"], 3))
    min_views = settings.required_views(sizes["V"])
    if not 2 <= min_views <= sizes["V"]:
        raise InputError(f"min_views: expected 2 to {sizes['V']}, received {min_views}")
    points_img, trust = _detections(points, settings)
    size = sizes_over_time(points_img)
    noise = measure_view_noise(points_img, cameras, size)
    noise = replace(noise, px=np.maximum(noise.px, _MIN_NOISE * np.median(size, 0)))
    tolerance_px = _tolerance_px(noise, size, settings)
    noise = noise if settings.cutoff == AUTO else replace(noise, off=())
    share = settings.tolerance or _MAX_TOLERANCE
    groups = limb_pairs(body, flip_pairs)
    shape = points_img.shape[:3]
    points_world = np.empty((shape[0], shape[2], 3))
    swapped = np.empty((*shape[:2], len(groups)), bool)

    def trusted(points: np.ndarray) -> np.ndarray:
        return _without_views(points.astype(float), noise.off)

    def triangulate_again(frames: slice | np.ndarray) -> None:
        peaks = trusted(swap(points_img[frames], swapped[frames], groups))[:, :, :, None]
        weights = np.ones(peaks.shape[:4])
        points_world[frames] = triangulate_robust(peaks, weights, cameras[frames], tolerance_px[frames])

    for frames in frame_blocks(shape[0], 1, _BLOCK):
        peaks = trusted(points_img[frames])[:, :, :, None]
        rays = peak_rays(peaks, np.ones(peaks.shape[:4]), cameras[frames], share * size[frames])
        swapped[frames] = swapped_views(rays, cameras[frames], groups)
        triangulate_again(frames)
    both_sides = swapped_limbs_over_time(points_world, swapped, groups)
    swapped ^= both_sides[:, None]
    both_sides = both_sides.any(1)
    agrees, error = np.empty(shape, bool), np.empty(shape, np.float32)
    covariance = np.full((*points_world.shape, 3), np.nan, np.float32) if settings.cutoff != AUTO else None
    for frames in frame_blocks(shape[0], 1, _BLOCK):
        again = np.flatnonzero(both_sides[frames]) + frames.start
        triangulate_again(again)
        found = swap(points_img[frames], swapped[frames], groups)
        late = _clearly_swapped(points_world[frames], found, cameras[frames], groups, share * size[frames])
        swapped[frames] ^= late
        triangulate_again(np.flatnonzero(late.any((1, 2))) + frames.start)
        points_img[frames] = found = swap(points_img[frames], swapped[frames], groups)
        if settings.weigh_confidence:
            trust[frames] = swap(trust[frames], swapped[frames], groups)
        if settings.cutoff == AUTO:
            distance = _errors_px(points_world[frames], trusted(found), cameras[frames])
            inliers = np.nan_to_num(distance, nan=np.inf) <= tolerance_px[frames, :, None]
        else:
            consistent = consistent_points(found, cameras[frames], size[frames], share, min_views)
            points_world[frames], inliers = consistent.points_world, consistent.agrees
        unknown = inliers.sum(1) < min_views
        points_world[frames][unknown] = np.nan
        agrees[frames] = inliers & ~unknown[:, None]
        error[frames] = _errors_px(points_world[frames], found, cameras[frames])
        if covariance is not None:
            covariance[frames] = _covariance(points_world[frames], found, agrees[frames], cameras[frames], noise.px)
    known = agrees.any(1)
    return RobustPoses(
        pose_world=points_world,
        known=known,
        points_img=points_img,
        trust=trust,
        agrees=agrees,
        error=error,
        swapped=swapped,
        limb_pairs=tuple(", ".join(body.joint_names[right][1:] for right, _ in group) for group in groups),
        covariance=_unknown_covariance(known.shape) if covariance is None else covariance,
        source=_sources(known, agrees.sum(1, dtype=np.uint8), known),
        noise=noise,
        settings=settings,
    )


def _detections(points: np.ndarray, settings: RobustSettings) -> tuple[np.ndarray, np.ndarray]:
    """Return the detections (F, V, J, 2), float32, NaN = not seen or too unsure, and their weights (F, V, J)."""
    points_img = np.full((*points.shape[:3], 2), np.nan, np.float32)
    confidence = np.full(points.shape[:3], np.nan, np.float32) if settings.weigh_confidence else None
    for frames in frame_blocks(len(points), 1, _BLOCK):
        seen = np.isfinite(points[frames]).all(-1) & (points[frames][..., 2] >= settings.min_confidence)
        points_img[frames][seen] = points[frames][seen, :2]
        if confidence is not None:
            confidence[frames][seen] = points[frames][seen, 2]
    one = np.float32(1)
    return points_img, np.broadcast_to(one, points.shape[:3]) if confidence is None else _trust(confidence)


def _unknown_covariance(shape: tuple[int, ...]) -> np.ndarray:
    """Return covariances (*shape, 3, 3) that are unknown and take no memory."""
    return np.broadcast_to(np.float32(np.nan), (*shape, 3, 3))


def smooth_poses(
    poses: RobustPoses, cameras: Cameras, body: HumanBody, settings: RobustSettings = RobustSettings()
) -> RobustPoses:
    """Smooth trajectories and bridge short gaps; detections that no longer agree become outliers.

    Args:
        poses: result of robust_poses().
        cameras: leading axes (F, V).
        body: skeleton of the J joints.
        settings: cutoff, max_gap, min_views and tolerance.

    Raises:
        InputError: the cutoff is out of range.
    """
    size = sizes_over_time(poses.points_img)
    limit_px = (_MAX_TOLERANCE if settings.tolerance is None else settings.tolerance) * size
    if settings.cutoff == AUTO:
        max_noise_px = np.median(limit_px, 0) / _TOLERANCE_STD
        used = ~np.isin(np.arange(size.shape[1]), poses.noise.off)[:, None]
        trust = poses.trust * used if settings.weigh_confidence else np.broadcast_to(used, poses.trust.shape)
        fit = fit_trajectories(
            poses.points_img, cameras, body, poses.pose_world, poses.noise.px, max_noise_px, trust=trust
        )
        pose_world, covariance, agrees = fit.pose_world, fit.covariance, fit.agrees
        poses = replace(poses, noise=replace(poses.noise, px=fit.noise_px))
    else:
        pose_world, agrees = smooth_trajectories(poses.pose_world, settings.cutoff), poses.agrees.copy()
        covariance = poses.covariance * np.float32(1.0 if settings.cutoff is None else noise_gain(settings.cutoff))
    error = np.empty(agrees.shape, np.float32)
    for frames in frame_blocks(len(error), 1, _BLOCK):
        found = _errors_px(pose_world[frames], poses.points_img[frames], cameras[frames])
        agrees[frames] &= np.nan_to_num(found, nan=np.inf) <= limit_px[frames, :, None]
        error[frames] = found
    known = poses.known
    if settings.cutoff == AUTO:
        known = agrees.sum(1, dtype=np.uint8) >= settings.required_views(agrees.shape[1])
        known &= (agrees.sum(1, dtype=np.uint8) >= 3) | ~_alone(known)
        agrees &= known[:, None]
    given = known | _short_gaps(known, settings.max_gap)
    pose_world[~given] = np.nan
    covariance[~given] = np.nan
    error.swapaxes(1, 2)[~given] = np.nan
    return replace(
        poses,
        pose_world=pose_world,
        known=known,
        agrees=agrees,
        error=error,
        covariance=covariance,
        source=_sources(known, agrees.sum(1, dtype=np.uint8), given),
        settings=settings,
    )


def _trust(confidence: np.ndarray) -> np.ndarray:
    """Return weights (F, V, J) of detections by their confidence, NaN = not seen; from the median of a joint on 1."""
    seen = np.isfinite(confidence)
    ever = seen.any((0, 1))
    usual = np.ones(len(ever), np.float32)
    usual[ever] = np.nanmedian(confidence[..., ever], (0, 1))
    return np.where(seen, np.clip(confidence / usual, _MIN_TRUST, 1.0) ** 2, 0.0)


def _without_views(points_img: np.ndarray, views: Sequence[int]) -> np.ndarray:
    """Return points (F, V, J, 2) with NaN in some views."""
    result = points_img.copy()
    result[:, list(views)] = np.nan
    return result


def _tolerance_px(noise: ViewNoise, size: np.ndarray, settings: RobustSettings) -> np.ndarray:
    """Return the largest reprojection error (F, V) of an inlier, px."""
    if settings.tolerance is not None or settings.cutoff != AUTO:
        return (settings.tolerance or _MAX_TOLERANCE) * size
    return np.minimum(_TOLERANCE_STD * noise.px, _MAX_TOLERANCE * size)


def _errors_px(points_world: np.ndarray, points_img: np.ndarray, cameras: Cameras) -> np.ndarray:
    return reprojection_error(points_world, points_img, cameras, np.ones(points_img.shape[:2]))


def _covariance(
    points_world: np.ndarray, points_img: np.ndarray, agrees: np.ndarray, cameras: Cameras, noise_px: np.ndarray
) -> np.ndarray:
    """Return the covariance (F, J, 3, 3), mm^2, of points triangulated in each frame; NaN = unknown."""
    known = np.isfinite(points_world).all(-1, keepdims=True)
    points = np.where(known, points_world, cameras.T.mean(1)[:, None])
    terms = PixelTerms(detection_rays(points_img, cameras), cameras, points.swapaxes(0, 1))
    information, _ = terms.normal_equations(agrees.astype(float), noise_px)
    return np.where(known[..., None], covariance_of(information).swapaxes(0, 1), np.nan)


def _short_gaps(known: np.ndarray, max_gap: int) -> np.ndarray:
    """Return the frames (F, J) of gaps of at most `max_gap` frames between known frames."""
    frame = np.arange(len(known))[:, None]
    before = np.maximum.accumulate(np.where(known, frame, -len(known) - max_gap), 0)
    after = np.minimum.accumulate(np.where(known, frame, 2 * len(known) + max_gap)[::-1], 0)[::-1]
    return ~known & (after - before - 1 <= max_gap)


def _alone(known: np.ndarray) -> np.ndarray:
    """Return the frames (F, J) without another known frame of the joint in reach, in recordings that are longer.

    Two views agree on a wrong point at times, and nothing shows it if no trajectory leads there.
    """
    if len(known) <= _REACH:
        return np.zeros_like(known)
    window = np.ones(2 * _REACH + 1)
    return convolve1d(known.astype(float), window, axis=0, mode="constant") < 1.5


def _sources(known: np.ndarray, num_views: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return the numbers (F, J) in SOURCES of joints on which `num_views` views agree."""
    seen = np.where(num_views >= 3, FROM_VIEWS, FROM_TWO_VIEWS)
    return np.where(known, seen, np.where(given, BRIDGED, NO_SOURCE)).astype(np.uint8)


def _clearly_swapped(
    points_world: np.ndarray,
    points_img: np.ndarray,
    cameras: Cameras,
    groups: Sequence[FlipPairs],
    tolerance_px: np.ndarray,
) -> np.ndarray:
    """Find limb pairs (F, V, groups) that fit the consensus of the other views only if swapped.

    A detector that is about to swap sides is also inaccurate: its rays meet on neither side, so swapped_views() misses
    it.
    """
    everywhere = np.ones((*points_img.shape[:2], len(groups)), bool)
    as_is, swapped = (
        np.nan_to_num(_errors_px(points_world, points, cameras), nan=np.inf, posinf=np.inf)
        for points in (points_img, swap(points_img, everywhere, groups))
    )
    result = np.zeros_like(everywhere)
    for number, group in enumerate(groups):
        joints = [joint for pair in group for joint in pair]
        middle = len(joints) // 2
        before, after = (np.sort(error[..., joints], -1)[..., middle] for error in (as_is, swapped))
        result[..., number] = np.isfinite(before) & (before > tolerance_px) & (after * _CLEAR_SWAP < before)
    return result


def leave_one_out(
    poses: RobustPoses, cameras: Cameras, body: HumanBody, settings: RobustSettings = RobustSettings()
) -> np.ndarray:
    """Predict the detections of each view from the other views.

    Args:
        poses: result of robust_poses(); its swaps are kept.
        cameras: leading axes (F, V).
        body: skeleton of the J joints.
        settings: settings of the poses; min_views None = 3. It is limited to the number of other views.

    Returns:
        (F, V, J) distance of a view's detections from the prediction, px; NaN without a detection or a consensus.

    Raises:
        InputError: fewer than three views.
    """
    num_views = poses.points_img.shape[1]
    if num_views < 3:
        raise InputError(f"leaving one view out needs 3 views, received {num_views}")
    settings = replace(settings, min_views=min(settings.min_views or 3, num_views - 1), min_confidence=0.0)
    errors = np.empty(poses.agrees.shape)
    for view in range(num_views):
        others = np.arange(num_views) != view
        points = np.concatenate([poses.points_img, np.sqrt(poses.trust)[..., None]], -1)[:, others]
        rest = cameras[:, others]
        found = smooth_poses(robust_poses(points, rest, body, (), settings), rest, body, settings)
        one = slice(view, view + 1)
        pose = np.where(found.known[..., None], found.pose_world, np.nan)
        errors[:, view] = _errors_px(pose, poses.points_img[:, one], cameras[:, one])[:, 0]
    return errors
