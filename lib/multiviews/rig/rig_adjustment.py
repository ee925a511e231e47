"""Bundle adjustment of a rig and of a person's joints, by Gauss-Newton with robust weights.

The joints of a frame are eliminated (Schur complement), so the equations that remain have a few unknowns per camera.
A view whose clock is late sees the joints where they are at another time: the motion between both times is that of the
smoothed trajectories.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.multiviews.cameras import Cameras, undistort
from lib.multiviews.recording.jerk_smoother import (
    MIN_FRAMES,
    ORDER,
    JerkSmoother,
    jerk_variance_of_cutoff,
    measure_jerk_variance,
)
from lib.multiviews.recording.pixel_terms import robust_weight
from lib.multiviews.rig.rig_parameters import (
    CENTER,
    DRIFT,
    FOCAL,
    NUM_COLUMNS,
    OFFSET,
    PRINCIPAL,
    RADIAL,
    ROTATION,
    RigState,
    clock,
    pixel_derivatives,
    similarity_directions,
)

_RIDGE = 1e-7  # relative to the largest weight of a joint; keeps joints without detections where they are
_COARSE_RIDGE = 1e-3
_COARSE_DAMPING = 0.01  # of the unknowns of the rig, relative to their information
_MAX_STEP = 0.3  # largest step, standard deviations of the given rig
_START_CUTOFF = 0.12  # first guess of the frequency that smoothing damps by half, cycles per frame
_SMOOTHING_SCALES = (3.0, 3.0, 1.5, 1.5, 1.0, 1.0)  # factors of the noise in the robust weights of the passes
_OUTLIER_STD = 4.0
_MIN_NOISE_PX = 0.05
_NOISE_RATIO = 3.0  # largest ratio of the noise of a view and of all views
_FEW = 20.0  # a view with less free residuals gets the noise of all
_BLOCK = 400  # frames; limits memory


@dataclass(frozen=True)
class AdjustmentSettings:
    """Settings of the adjustment.

    Attributes:
        outlier_std: residual at which a detection has half its weight, standard deviations of the view's noise.
        rotation_sd_deg, center_sd, focal_sd, offset_sd, drift_sd, principal_sd_px, radial_sd: standard deviations of
            the given rig: degrees, share of the mean distance between the cameras, share, frames, frames over the
            recording, px, coefficient. They are wide; what the detections do not show stays as given.
    """

    outlier_std: float = 4.0
    rotation_sd_deg: float = 10.0
    center_sd: float = 0.2
    focal_sd: float = 0.2
    offset_sd: float = 15.0
    drift_sd: float = 10.0
    principal_sd_px: float = 200.0
    radial_sd: float = 0.5

    def prior_sd(self, cameras: Cameras) -> np.ndarray:
        """Return the standard deviations (NUM_COLUMNS,) of a camera of the given rig."""
        centers = cameras.T
        distance = np.linalg.norm(centers[:, None] - centers, axis=-1).sum() / max(len(centers) * (len(centers) - 1), 1)
        result = np.empty(NUM_COLUMNS)
        result[ROTATION] = np.radians(self.rotation_sd_deg)
        result[CENTER] = self.center_sd * max(distance, 1.0)
        result[[FOCAL, OFFSET, DRIFT]] = self.focal_sd, self.offset_sd, self.drift_sd
        result[PRINCIPAL], result[RADIAL] = self.principal_sd_px, self.radial_sd
        return result


@dataclass(frozen=True)
class Frames:
    """The detections that are used, in N frames of a recording of F frames.

    Attributes:
        numbers: (N,) frames, ascending, in runs of consecutive ones.
        points_img: (N, V, J, 2) image px; NaN = not seen.
        shift: (N, V) whole frames by which the detections of a view are moved to be in step.
        num_frames: F.
    """

    numbers: np.ndarray
    points_img: np.ndarray
    shift: np.ndarray
    num_frames: int

    @property
    def time(self) -> np.ndarray:
        """(N,) times of the frames, see clock()."""
        return clock(self.numbers, self.num_frames)

    def runs(self) -> list[slice]:
        """Return the runs of consecutive frames."""
        breaks = [0, *(np.flatnonzero(np.diff(self.numbers) != 1) + 1).tolist(), len(self.numbers)]
        return [slice(*ends) for ends in itertools.pairwise(breaks)]


@dataclass(frozen=True)
class ReducedEquations:
    """Normal equations of the M unknowns after the joints are eliminated, without the prior.

    Attributes:
        matrix: (M, M) information.
        right: (M,).
        frame_scores: (N, M) parts of `right` from each frame.
        joint_scores: (J, M) parts of `right` from the detections of each joint.
    """

    matrix: np.ndarray
    right: np.ndarray
    frame_scores: np.ndarray
    joint_scores: np.ndarray


class RigAdjustment:
    """State of the adjustment of N frames, V views and J joints.

    Attributes:
        state: cameras and clocks.
        points: (N, J, 3) joints at the times of the reference, mm.
        noise_px: (V,) standard deviation of the detections per axis.
        seen: (N, V, J) bool, detections.
        weight: (N, V, J) robust weights of the detections.
        residual: (N, V, J, 2) detection - projection, px without distortion.
        free: (V, NUM_COLUMNS) bool, unknowns of the rig that are estimated.
    """

    def __init__(
        self,
        frames: Frames,
        given: RigState,
        state: RigState,
        free: np.ndarray,
        start: np.ndarray,
        settings: AdjustmentSettings = AdjustmentSettings(),
    ) -> None:
        """Begin at a state.

        Args:
            frames: the detections.
            given: state of the given rig, for the prior.
            state: first state.
            free: (V, NUM_COLUMNS) bool.
            start: (N, J, 3) joints, mm; NaN = unknown.
            settings: see AdjustmentSettings.
        """
        self._frames, self._given, self._settings = frames, given, settings
        self.seen = np.isfinite(frames.points_img).all(-1)
        self.state = state
        self.set_free(free)
        self.points = np.concatenate([_filled(start[run]) for run in frames.runs()])
        self._motion = np.zeros((*start.shape, 2))
        self._undistort()
        self._linearize()
        self.noise_px = np.full(len(free), self.median_noise())
        self.reweight()

    def with_state(self, state: RigState) -> RigAdjustment:
        """Return an adjustment of the same detections that begins at the same joints and another rig."""
        other = RigAdjustment(self._frames, self._given, state, self.free, self.points, self._settings)
        other._motion = self._motion
        other._linearize()
        return other

    def set_free(self, free: np.ndarray) -> None:
        """Set which unknowns (V, NUM_COLUMNS) are estimated."""
        self.free = free
        self._prior = np.broadcast_to(self._settings.prior_sd(self._given.cameras) ** -2.0, free.shape)[free]

    def _over_frames(self, cameras: Cameras) -> Cameras:
        shape = self.seen.shape[:2]
        return cameras.map(lambda array: np.broadcast_to(array, (*shape, *array.shape[1:])))

    def _undistort(self) -> None:
        """Set the detections without distortion, px from the principal point."""
        cameras = self._over_frames(self.state.cameras)
        points = np.where(self.seen[..., None], self._frames.points_img, cameras.c[:, :, None])
        plane = undistort(points, cameras)
        self._exists = self.seen & np.isfinite(plane).all(-1)
        self._observed = np.where(self._exists[..., None], plane, 0.0) * cameras.f[:, :, None]

    def measure_motion(self) -> None:
        """Set velocity and acceleration of the joints from smoothed trajectories, whose jerk is measured.

        Positions that are smoothed too little have random velocities, which pull sync offsets toward whole frames.
        """
        covariance = self._eliminate()[3]
        known = self.weight.sum(1) > 1.5
        information = np.where(known, 3 / np.trace(covariance, axis1=-2, axis2=-1), 0.0)
        self._motion = np.zeros((*self.points.shape, 2))
        runs = sorted(self._frames.runs(), key=_length)
        for length, equal in itertools.groupby(runs, _length):
            if length >= MIN_FRAMES:
                frames = np.array([np.arange(run.start, run.stop) for run in equal])  # (R, n), smoothed at once
                points = self.points[frames].swapaxes(1, 2).reshape(-1, length, 3)  # (R J, n, 3)
                smooth = _smoothed(points, information[frames].swapaxes(1, 2).reshape(-1, length))
                velocity = np.gradient(smooth, axis=1)
                motion = np.stack([velocity, np.gradient(velocity, axis=1)], -1)
                self._motion[frames] = motion.reshape(len(frames), -1, length, 3, 2).swapaxes(1, 2)
        self._linearize()

    def _linearize(self) -> None:
        """Project the joints and set residuals and derivatives."""
        time = self._frames.time
        ahead = (self._frames.shift - self.state.lag(time))[:, :, None, None]  # frames after the reference
        velocity, acceleration = self._motion[:, None, ..., 0], self._motion[:, None, ..., 1]
        points = self.points[:, None] + (velocity + acceleration * ahead / 2) * ahead
        plane, self._slope, self._by_rig, in_front = pixel_derivatives(
            points, velocity + acceleration * ahead, time, self.state.cameras
        )
        self.residual = self._observed - plane
        self._usable = self._exists & in_front

    def median_noise(self) -> float:
        """Return the noise of all views from the median distance of all detections, px per axis."""
        distance = np.linalg.norm(self.residual[self._usable], axis=-1)
        freedom = 1 - 3 / max(2 * self._usable.sum(1).mean(), 4.0)  # the joints take a part of the noise
        return max(float(np.median(distance)) / 1.1774 / freedom**0.5, _MIN_NOISE_PX) if distance.size else 1.0

    def reweight(self) -> None:
        """Set the robust weights."""
        squared = (self.residual**2).sum(-1) / self.noise_px[:, None] ** 2
        self.weight = self._usable * robust_weight(squared, self._settings.outlier_std, 2)

    def measure_noise(self) -> None:
        """Measure the noise of each view from the weighted residuals, less what each joint takes of its detections."""
        covariance = self._eliminate()[3]
        slope = self._slope * (np.sqrt(self.weight) / self.noise_px[:, None])[..., None, None]
        taken = ((slope @ covariance[:, None]) * slope).sum((-1, -2))  # of 2 axes
        freedom = (2 * self.weight - taken).sum((0, 2))
        squared = (self.weight * (self.residual**2).sum(-1)).sum((0, 2))
        common = np.sqrt(squared.sum() / max(freedom.sum(), 1.0))
        measured = np.sqrt(squared / np.maximum(freedom, 1.0)).clip(common / _NOISE_RATIO, common * _NOISE_RATIO)
        self.noise_px = np.maximum(np.where(freedom > _FEW, measured, common), _MIN_NOISE_PX)

    def _eliminate(self, damping: float = _RIDGE) -> tuple[ReducedEquations, np.ndarray, np.ndarray, np.ndarray]:
        """Eliminate the joints.

        Returns:
            The reduced equations; (N, 3 J, M) and (N, 3 J) steps of the joints by the unknowns and without them;
            (N, J, 3, 3) covariances of the joints for a known rig, mm^2.
        """
        num_frames, num_views, num_joints = self.seen.shape
        columns = np.flatnonzero(self.free.any(0))
        free = self.free[:, columns].ravel()
        size = int(free.sum())
        matrix, scores = np.zeros((size, size)), np.zeros((num_frames, size))
        joint_scores = np.zeros((num_joints, size))
        by_unknowns = np.empty((num_frames, 3 * num_joints, size))
        step = np.empty((num_frames, 3 * num_joints))
        covariance = np.empty((num_frames, num_joints, 3, 3))
        views = np.arange(num_views)
        for begin in range(0, num_frames, _BLOCK):
            frames = slice(begin, begin + _BLOCK)
            root = np.sqrt(self.weight[frames]) / self.noise_px[:, None]
            length = len(root)
            slope = self._slope[frames] * root[..., None, None]  # (n, V, J, 2, 3)
            by_rig = self._by_rig[frames][..., columns] * root[..., None, None]  # (n, V, J, 2, C)
            residual = self.residual[frames] * root[..., None]
            turned = slope.swapaxes(-1, -2)
            own = (turned @ slope).sum(1)  # (n, J, 3, 3)
            right = (turned @ residual[..., None])[..., 0].sum(1)  # (n, J, 3)
            own += damping * np.einsum("fjaa->fj", own).max(initial=1e-12) * np.eye(3)
            full = (turned @ by_rig).transpose(0, 2, 3, 1, 4).reshape(length, num_joints, 3, free.size)
            cross = full[..., free]
            flat = by_rig.swapaxes(0, 1).reshape(num_views, 2 * length * num_joints, len(columns))
            whole = np.zeros((num_views, len(columns), num_views, len(columns)))
            whole[views, :, views] = flat.swapaxes(-1, -2) @ flat
            matrix += whole.reshape(free.size, free.size)[np.ix_(free, free)]
            pull = (by_rig.swapaxes(-1, -2) @ residual[..., None])[..., 0]  # (n, V, J, C)
            scores[frames] = pull.sum(2).reshape(length, free.size)[:, free]
            joint_scores += pull.sum(0).swapaxes(0, 1).reshape(num_joints, free.size)[:, free]
            inverse = np.linalg.inv(own)
            solved = inverse @ np.concatenate([cross, right[..., None]], -1)
            covariance[frames] = inverse
            by_unknowns[frames] = solved[..., :-1].reshape(length, 3 * num_joints, size)
            step[frames] = solved[..., -1].reshape(length, 3 * num_joints)
            flat = cross.reshape(length, 3 * num_joints, size)
            matrix -= flat.reshape(-1, size).T @ by_unknowns[frames].reshape(-1, size) if size else 0.0
            scores[frames] -= (step[frames, None] @ flat)[:, 0]
        return ReducedEquations(matrix, scores.sum(0), scores, joint_scores), by_unknowns, step, covariance

    def _constrained(self, equations: ReducedEquations) -> tuple[np.ndarray, np.ndarray]:
        """Return matrix and right side with the prior of the given rig, and without steps that are a similarity."""
        matrix, right = equations.matrix.copy(), equations.right.copy()
        matrix[np.diag_indices_from(matrix)] += self._prior
        right -= self._prior * self.state.minus(self._given)[self.free]
        directions = similarity_directions(self.state.cameras)[self.free]
        root = np.sqrt(np.diagonal(matrix))
        basis = np.linalg.qr(directions * root[:, None])[0] * root[:, None]
        return matrix + basis @ basis.T, right - basis @ (basis / root[:, None] ** 2).T @ right

    def solve_joints(self, steps: int = 3) -> None:
        """Fit the joints to the detections with the rig as it is."""
        free, self.free = self.free, np.zeros_like(self.free)
        for _ in range(steps):
            self.reweight()
            step = self._eliminate()[2]
            self.points = self.points + step.reshape(self.points.shape)
            self._linearize()
        self.free = free
        self.reweight()

    def step(self, coarse: bool = False) -> float:
        """Run a Gauss-Newton step; return its largest change in standard deviations of the given rig.

        Args:
            coarse: the rig is wrong by more than the noise: damp the step, and keep the noise.
        """
        equations, by_unknowns, points, _ = self._eliminate(_COARSE_RIDGE if coarse else _RIDGE)
        matrix, right = self._constrained(equations)
        if coarse:
            matrix[np.diag_indices_from(matrix)] *= 1 + _COARSE_DAMPING
        solution = _solve(matrix, right)
        largest = float(np.abs(solution * np.sqrt(self._prior)).max(initial=0.0))
        solution *= min(1.0, _MAX_STEP / max(largest, 1e-9))
        step = np.zeros(self.free.shape)
        step[self.free] = solution
        self.state = self.state.moved(step)
        self.points = self.points + (points - by_unknowns @ solution).reshape(self.points.shape)
        if self.free[:, [FOCAL, PRINCIPAL.start, RADIAL]].any():
            self._undistort()
        self._linearize()
        self.reweight()
        if not coarse:
            self.measure_noise()
        return largest

    def equations(self) -> tuple[np.ndarray, ReducedEquations]:
        """Return the information matrix (M, M), with prior and without similarity, and the equations."""
        equations = self._eliminate()[0]
        matrix, _ = self._constrained(equations)
        return matrix, equations


def _length(run: slice) -> int:
    return run.stop - run.start


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve symmetric equations of unknowns with very different units."""
    unit = 1 / np.sqrt(np.maximum(np.diagonal(matrix), np.finfo(float).tiny))
    return unit * np.linalg.solve(matrix * unit * unit[:, None], right * unit)


def _smoothed(points: np.ndarray, information: np.ndarray) -> np.ndarray:
    """Smooth trajectories (J, n, 3), mm, with information (J, n), 1/mm^2, by the jerk that is measured on them.

    Positions that deviate from the trajectory lose their weight.
    """
    mean = information.mean(1)
    noise = 1 / np.maximum(mean, 1e-3 * np.median(mean) + np.finfo(float).tiny)
    jerk_variance = np.repeat(jerk_variance_of_cutoff(_START_CUTOFF, noise)[:, None], points.shape[1] - ORDER, 1)
    weight = information
    for scale in _SMOOTHING_SCALES:
        smoother = JerkSmoother(weight[..., None, None], jerk_variance)
        smooth = smoother.solve(((weight + smoother.ridge)[..., None] * points)[:, :, None])[:, :, 0]
        squared = ((points - smooth) ** 2).sum(-1) * information / scale**2
        weight = information * robust_weight(squared, _OUTLIER_STD, 3)
        jerk_variance = measure_jerk_variance(smooth, weight, noise, jerk_variance)
    return smooth


def _filled(points: np.ndarray) -> np.ndarray:
    """Fill the gaps of points (n, J, 3) linearly; a joint without any position gets the mean of all."""
    known = np.isfinite(points).all(-1)
    middle = points[known].mean(0) if known.any() else np.zeros(3)
    result = np.where(known.any(0)[None, :, None], points, middle)
    frames = np.arange(len(points))
    for joint in np.flatnonzero(known.any(0) & ~known.all(0)):
        where = np.flatnonzero(known[:, joint])
        for axis in range(3):
            result[:, joint, axis] = np.interp(frames, where, points[where, joint, axis])
    return result


def free_columns(num_views: int, columns: Sequence[int | slice], reference: int = 0) -> np.ndarray:
    """Return which unknowns (V, NUM_COLUMNS) are estimated; the clock of the reference view is given."""
    free = np.zeros((num_views, NUM_COLUMNS), bool)
    for column in columns:
        free[:, column] = True
    free[reference, [OFFSET, DRIFT]] = False
    return free
