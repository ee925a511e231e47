"""One robust least-squares fit of all frames of a recording: pixels, rigid pairs of joints, and smooth motion.

The noise of each is measured on the data: pixel noise per view, jerk per joint and frame, variation per rigid pair.
Detections far from the trajectories lose their weight (iteratively reweighted least squares). Blocks of frames with
overlap bound the memory; what is measured is measured on all frames, so the result does not depend on the blocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter1d

from lib.multiviews.body import HumanBody
from lib.multiviews.cameras import Cameras
from lib.multiviews.recording.jerk_smoother import (
    MIN_FRAMES,
    ORDER,
    JerkSmoother,
    jerk_variance_of_cutoff,
    measure_jerk_variance,
    noise_share,
)
from lib.multiviews.recording.pixel_terms import PixelTerms, covariance_of, detection_rays, robust_weight
from lib.multiviews.recording.pose_smoother import PoseSmoother
from lib.multiviews.recording.rigid_pairs import RigidPairs, measure_rigid_pairs

_MAX_CORRELATION = 0.99
_MIN_FREEDOM = 0.02  # of a point's residual
_NEAR = 12  # frames from a measurement within which the covariance is computed
_UNKNOWN_MM = 1e4  # standard deviation of positions farther away


@dataclass(frozen=True)
class TrajectorySettings:
    """Settings of the fit.

    Attributes:
        outlier_std: residual at which a detection has half its weight, standard deviations of the view's noise.
        start_cutoff: first guess of the frequency that smoothing damps by half, cycles per frame.
        start_scales: factors of the noise in the passes over triangulated points; large ones keep all points.
        scales: the same for the passes over the detections.
        rigid_passes: passes with rigid pairs.
        block: frames that are solved at once.
        overlap: further frames on either side; smoothing reaches less far.
    """

    outlier_std: float = 4.0
    start_cutoff: float = 0.12
    start_scales: tuple[float, ...] = (3.0, 3.0, 1.5, 1.5, 1.0, 1.0)
    scales: tuple[float, ...] = (3.0, 1.5, 1.0)
    rigid_passes: int = 2
    block: int = 600
    overlap: int = 80


@dataclass(frozen=True)
class TrajectoryFit:
    """Fitted trajectories of J joints in F frames and V views.

    Attributes:
        pose_world: (F, J, 3) mm; all finite, also far from any detection.
        covariance: (F, J, 3, 3) of the joints, mm^2, float32.
        agrees: (F, V, J) bool, detections with more than half their weight.
        noise_px: (V,) standard deviation of the detections per axis.
    """

    pose_world: np.ndarray
    covariance: np.ndarray
    agrees: np.ndarray
    noise_px: np.ndarray


def fit_trajectories(
    points_img: np.ndarray,
    cameras: Cameras,
    body: HumanBody,
    start: np.ndarray,
    noise_px: np.ndarray,
    max_noise_px: np.ndarray,
    settings: TrajectorySettings = TrajectorySettings(),
    trust: np.ndarray | float = 1.0,
) -> TrajectoryFit:
    """Fit trajectories to detections.

    Args:
        points_img: (F, V, J, 2) image px, left/right swaps corrected; NaN = not seen, or not to be used.
        cameras: leading axes (F, V).
        body: skeleton of the J joints.
        start: (F, J, 3) triangulated joints, mm; NaN = unknown. A joint that is NaN in all frames stays at the mean.
        noise_px: (V,) first estimate of the noise.
        max_noise_px: (V,) limit of the noise.
        settings: see TrajectorySettings.
        trust: (F, V, J) weights of the detections: the noise of one with weight 1 is `noise_px`.

    Source: Karashchuk et al., Anipose, 2021, for the terms; the noise is measured here.
    """
    fit = _Fit(points_img, trust, cameras, start, noise_px, max_noise_px, settings)
    fit.smooth_points(start)
    covariance = np.empty((*start.shape, 3), np.float32)
    by_joint = covariance.swapaxes(0, 1)
    for scale in settings.scales:
        fit.update(scale, by_joint if scale == settings.scales[-1] else None)
    if fit.num_frames >= MIN_FRAMES:
        seen = fit.agrees.sum(1, dtype=np.uint8).T >= 2
        pairs = measure_rigid_pairs(fit.points, by_joint, seen, body, 1 / fit.share)
        if len(pairs.one):
            fit.rigid = pairs
            for number in range(settings.rigid_passes):
                fit.update(1.0, by_joint if number == settings.rigid_passes - 1 else None)
    return TrajectoryFit(fit.points.swapaxes(0, 1).copy(), covariance, fit.agrees, fit.noise_px)


class _Fit:
    """State of the fit.

    Attributes:
        points: (J, F, 3) trajectories, mm.
        noise_px: (V,).
        jerk_variance: (J, F - 3) mm^2.
        point_variance: (J,) variance of a frame's measurement of a joint per axis, mm^2.
        agrees: (F, V, J) bool.
        correlation: of the residuals of two consecutive frames; errors of detectors may last for many frames.
        rigid: pairs of joints, or None in the first passes.
    """

    def __init__(
        self,
        points_img: np.ndarray,
        trust: np.ndarray | float,
        cameras: Cameras,
        start: np.ndarray,
        noise_px: np.ndarray,
        max_noise_px: np.ndarray,
        settings: TrajectorySettings,
    ) -> None:
        self._points_img = points_img
        self._trust = np.broadcast_to(trust, points_img.shape[:3])
        self._cameras = cameras
        self._settings = settings
        self._max_noise_px = max_noise_px
        self.noise_px = np.minimum(noise_px, max_noise_px)
        self.num_frames, num_joints = start.shape[:2]
        self.points = _interpolated(start.swapaxes(0, 1))
        self.agrees = np.zeros(points_img.shape[:3], bool)
        self.rigid: RigidPairs | None = None
        self.correlation = 0.0
        self.point_variance = np.ones(num_joints)
        self.jerk_variance = np.full((num_joints, max(self.num_frames - ORDER, 0)), np.inf)

    @property
    def share(self) -> np.ndarray:
        """(J,) share of the noise that smoothing keeps."""
        if self.num_frames < MIN_FRAMES:
            return np.ones(len(self.points))
        pairs = zip(self.jerk_variance, self.point_variance, strict=True)
        return np.array([noise_share(jerk_variance, noise).mean() for jerk_variance, noise in pairs])

    def _blocks(self) -> Iterator[tuple[slice, slice, slice]]:
        """Yield frames of a block, frames with overlap, and the former as a part of the latter."""
        block, overlap = self._settings.block, self._settings.overlap
        for first in range(0, self.num_frames, block):
            last = min(first + block, self.num_frames)
            begin, end = max(first - overlap, 0), min(last + overlap, self.num_frames)
            yield slice(first, last), slice(begin, end), slice(first - begin, last - begin)

    def _terms(self, frames: slice, points: np.ndarray) -> PixelTerms:
        """Undistort and linearize the detections; kept for all frames, they would be most of the memory."""
        cameras = self._cameras[frames]
        rays = detection_rays(self._points_img[frames].astype(float), cameras, self._trust[frames])
        return PixelTerms(rays, cameras, points)

    def _jerk_of(self, frames: slice) -> np.ndarray:
        return self.jerk_variance[:, frames.start : max(frames.stop - ORDER, frames.start)]

    def smooth_points(self, start: np.ndarray) -> None:
        """Smooth the triangulated points, joint by joint, with weights against outliers."""
        known = np.isfinite(start).all(-1)
        information = np.zeros(self.points.shape[:2])
        for inner, _, _ in self._blocks():
            terms = self._terms(inner, self.points[:, inner])
            weight = terms.weights(self.noise_px, self._settings.outlier_std) * known[inner, None]
            information[:, inner] = _mean_information(terms.normal_equations(weight, self.noise_px)[0])
        self._measure(information)
        self.jerk_variance[:] = jerk_variance_of_cutoff(self._settings.start_cutoff, self.point_variance)[:, None]
        if self.num_frames < MIN_FRAMES:
            return
        measured, weight = self.points, information.copy()
        for scale in self._settings.start_scales:
            smooth = np.empty_like(measured)
            following = np.empty_like(weight)
            for inner, outer, part in self._blocks():
                smoother = JerkSmoother(weight[:, outer, None, None], self._jerk_of(outer))
                right = (weight[:, outer] + smoother.ridge)[..., None] * measured[:, outer]
                found = smooth[:, inner] = smoother.solve(right[:, :, None])[:, part, 0]
                leverage = (weight[:, outer] * smoother.covariance()[..., 0, 0])[:, part]
                # Points at an end or in a gap draw the trajectory to themselves, so their residuals are small.
                freedom = np.maximum(1 - leverage, _MIN_FREEDOM)
                squared = ((measured[:, inner] - found) ** 2).sum(-1) * information[:, inner] / freedom / scale**2
                robust = robust_weight(squared, self._settings.outlier_std, 3)
                following[:, inner] = information[:, inner] * robust
            weight = following
            self.jerk_variance = measure_jerk_variance(smooth, weight, self.point_variance, self.jerk_variance)
        self.points = smooth

    def _measure(self, information: np.ndarray) -> None:
        """Set the variance of a frame's measurement from the mean information (J, F), 1/mm^2."""
        mean = information.mean(1)
        typical = np.median(mean[mean > 0]) if (mean > 0).any() else 1.0
        self.point_variance = 1 / np.maximum(mean, 1e-3 * typical)

    def update(self, scale: float, covariance: np.ndarray | None = None) -> None:
        """Run a Gauss-Newton step over all frames, and measure noise and jerk again.

        Args:
            scale: factor of the noise in the weights against outliers.
            covariance: (J, F, 3, 3), set to the covariance of the trajectories, mm^2; None = not wanted.
        """
        num_views = len(self.noise_px)
        information = np.empty(self.points.shape[:2])
        overlap = self.points[:, :0]  # the positions before this step of the frames before a block
        squared, freedom, following = np.zeros(num_views), np.zeros(num_views), 0.0
        share = self.share
        for inner, outer, part in self._blocks():
            points = np.concatenate([overlap, self.points[:, inner.start : outer.stop]], 1)
            overlap = points[:, max(part.stop - self._settings.overlap, 0) : part.stop]
            terms = self._terms(outer, points)
            weight = terms.weights(scale * self.noise_px, self._settings.outlier_std)
            normal, right = terms.normal_equations(weight, self.noise_px)
            solved, uncertain = self._solve(normal, right, outer, points, covariance is not None)
            self.points[:, inner] = solved[:, part]
            if covariance is not None:
                near = maximum_filter1d(weight.sum(1).T > 1.5, 2 * _NEAR + 1, axis=1)[:, part]  # of two views
                covariance[:, inner] = np.where(near[..., None, None], uncertain[:, part], _UNKNOWN_MM**2 * np.eye(3))
            information[:, inner] = _mean_information(normal[:, part])
            weight = weight[part]
            self.agrees[inner] = weight > 0.5
            residual = np.sqrt(weight)[..., None] * terms.residual[part]
            squared += (residual**2).sum((0, 2, 3))
            following += (residual[1:] * residual[:-1] / self.noise_px[:, None, None] ** 2).sum()
            count = np.maximum(weight.sum(1, keepdims=True), 1.0)
            freedom += (weight * np.maximum(2 - 3 * share / count, 0.2)).sum((0, 2))
        correlation = following / max((squared / self.noise_px**2).sum(), np.finfo(float).tiny)
        self.correlation = float(np.clip(correlation, 0.0, _MAX_CORRELATION))
        measured = np.sqrt(squared / np.maximum(freedom, 1.0))
        self.noise_px = np.where(freedom > 20, np.minimum(measured, self._max_noise_px), self.noise_px)
        self._measure(information)
        self.jerk_variance = measure_jerk_variance(self.points, information, self.point_variance, self.jerk_variance)
        if covariance is not None:
            # Smoothing reduces errors that last for many frames less than white noise.
            independent = (1 - self.correlation) / (1 + self.correlation)  # measurements per frame
            share = self.share
            covariance /= (share + (1 - share) * independent)[:, None, None, None]

    def _solve(
        self, normal: np.ndarray, right: np.ndarray, frames: slice, points: np.ndarray, with_covariance: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Solve the normal equations at `points` (J, f, 3): positions, mm, and, if wanted, covariance (J, f, 3, 3)."""
        if self.rigid is None:
            smoother = JerkSmoother(normal, self._jerk_of(frames))
            solved = smoother.solve(right + smoother.ridge * points)
            return solved, smoother.covariance() if with_covariance else None
        coupled, from_pairs = self._coupled(normal, frames, points)
        right = (right + from_pairs + coupled.ridge * points).transpose(1, 0, 2)  # (f, J, 3)
        solved = coupled.solve(right.reshape(len(right), -1)).reshape(right.shape).swapaxes(0, 1)
        return solved, coupled.covariance(3).swapaxes(0, 1) if with_covariance else None

    def _coupled(self, normal: np.ndarray, frames: slice, points: np.ndarray) -> tuple[PoseSmoother, np.ndarray]:
        """Return the normal equations with rigid pairs, and what the pairs add to the right sides (J, f, 3)."""
        pairs = self.rigid
        num_joints, num_frames, _ = points.shape
        difference = pairs.difference(points)  # (E, f, 3)
        distance = np.maximum(np.linalg.norm(difference, axis=-1), 1.0)
        std = pairs.std[:, frames]
        slope = difference / distance[..., None] / std[..., None]  # (E, f, 3)
        change = slope * (slope * difference).sum(-1, keepdims=True)
        change += slope * ((pairs.length[:, None] - distance) / std)[..., None]
        weights = np.zeros((num_frames, num_joints, 3, num_joints, 3))
        right = np.zeros_like(points)
        joints = np.arange(num_joints)
        weights[:, joints, :, joints] = normal
        for pair, (one, other) in enumerate(zip(pairs.one, pairs.other, strict=True)):
            information = slope[pair, :, :, None] * slope[pair, :, None, :]
            weights[:, one, :, one] += information
            weights[:, other, :, other] += information
            weights[:, one, :, other] -= information
            weights[:, other, :, one] -= information
            right[one] -= change[pair]
            right[other] += change[pair]
        weights = weights.reshape(num_frames, 3 * num_joints, 3 * num_joints)
        return PoseSmoother(weights, np.repeat(self._jerk_of(frames), 3, 0)), right


def _mean_information(information: np.ndarray) -> np.ndarray:
    """Return the inverse of the mean variance per axis (...) of joints with information matrices (..., 3, 3)."""
    return 3 / np.trace(covariance_of(information), axis1=-2, axis2=-1)


def _interpolated(trajectories: np.ndarray) -> np.ndarray:
    """Fill gaps of trajectories (J, F, 3) by straight lines; unknown joints get the mean position."""
    result = trajectories.copy()
    frames = np.arange(result.shape[1])
    known = np.isfinite(result).all(-1)
    middle = result[known].mean(0) if known.any() else np.zeros(3)
    for joint in range(len(result)):
        where = np.flatnonzero(known[joint])
        if not len(where):
            result[joint] = middle
        elif len(where) < len(frames):
            for axis in range(3):
                result[joint, :, axis] = np.interp(frames, where, result[joint, where, axis])
    return result
