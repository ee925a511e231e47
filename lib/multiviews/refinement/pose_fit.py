"""Robust least-squares fit of a pose to peaks in all views and to joint distances, on any backend.

The residuals, in standard deviations, are the distance of each projected joint from the best of its peaks, per view,
and the deviation of each limb length or other expected distance. The cost of a residual r is r^2 / (1 + (r / c)^2) with
c = FitSettings.reach (Geman and McClure), so outliers have a bounded effect. Levenberg-Marquardt steps move all joints
of a frame together, for all frames at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras
from lib.multiviews.keypoints.peak_rays import PeakRays, plane_slopes, project_to_planes, squared_distances
from lib.multiviews.pictorial.backend_numpy import Array, Backend
from lib.multiviews.refinement.limb_lengths import Distances

CHI2_MEDIAN = 1.386  # median of chi-squared with two degrees of freedom


@dataclass(frozen=True)
class FitSettings:
    """Robustness and steps of the fit."""

    reach: float = 5.0  # standard deviations; a smaller value discards noisy but correct peaks
    noise_range: tuple[float, float] = (0.02, 0.8)  # limits of the measured noise, tolerances
    noise_distance: float = 1.6  # tolerances; peaks farther from the projection are not used to measure the noise
    first_damping: float = 1e-4  # relative to the mean diagonal of the normal matrix
    damping_range: tuple[float, float] = (1e-8, 1e4)
    anchor: float = 1e-9  # 1 / mm^2; fixes directions that nothing constrains
    min_length_mm: float = 1.0  # lower limit of distances


SETTINGS = FitSettings()


@dataclass(frozen=True)
class Terms:
    """Cost of poses and its derivatives.

    Attributes:
        cost: (F,).
        normal: (F, J, 3, 3) half the Gauss-Newton Hessian of the cost of the peaks, 1 / mm^2.
        pull: (F, J, 3) minus half the gradient of the cost of the peaks, 1 / mm.
        pair_rows: (F, L, 3J) derivatives of the weighted residuals of the joint pairs, 1 / mm.
        pair_residuals: (F, L) weighted residuals of the joint pairs.
        distance2: (F, V, J) squared distance from the best peak, tolerances.
        score: (F, V, J) weight of the best peak times the trust in it, 0 to 1; 0 = no peak.
    """

    cost: Array
    normal: Array
    pull: Array
    pair_rows: Array
    pair_residuals: Array
    distance2: Array
    score: Array


@dataclass(frozen=True)
class PoseFit:
    """Measurements that poses of F frames are fitted to, as arrays of the backend.

    Attributes:
        rays: (F, V, J, K) peaks with weights up to 1.
        cameras: leading axes (F, V).
        pairs: L pairs of joints with an expected distance, limbs first.
        lengths: (F, L) expected distances, mm.
        length_std: (F, L) standard deviations of the distances, mm.
        noise: (F,) standard deviation of a peak of weight 1, per axis, tolerances.
        tolerance_mm: (F,) length of the tolerance at the person, mm.
        backend: array operations.
    """

    rays: PeakRays
    cameras: Cameras
    pairs: tuple[tuple[int, int], ...]
    lengths: Array
    length_std: Array
    noise: Array
    tolerance_mm: Array
    backend: Backend

    @cached_property
    def _incidence(self) -> Array:
        """(L, J) matrix: -1 at the first joint of a pair, 1 at the second."""
        matrix = np.zeros((len(self.pairs), self.rays.weight.shape[2]))
        for pair, (one, other) in enumerate(self.pairs):
            matrix[pair, one], matrix[pair, other] = -1, 1
        return self.backend.floats(matrix)

    def terms(self, points: Array) -> Terms:
        """Evaluate the cost of poses (F, J, 3), mm."""
        take, xp = self.backend.take_along, self.backend.xp
        place, depth = project_to_planes(points, self.rays.zoom, self.cameras)  # (F, V, J, 2), (F, V, J)
        distance2 = squared_distances(place[:, :, :, None], self.rays)[:, :, :, 0]  # (F, V, J, K)
        reach2 = (SETTINGS.reach * self.noise)[:, None, None, None] ** 2
        trust = reach2 / (reach2 + distance2)
        score = self.rays.weight * trust * (depth >= MIN_DEPTH_MM)[..., None]
        best = xp.argmax(score, -1)[..., None]  # (F, V, J, 1)
        distance2, score = take(distance2, best, -1)[..., 0], take(score, best, -1)[..., 0]
        weight = (score * take(trust, best, -1)[..., 0]) / self.noise[:, None, None] ** 2
        residual = take(self.rays.place, best[..., None], 3)[:, :, :, 0] - place  # (F, V, J, 2)
        slope = plane_slopes(place, depth, self.rays.zoom, self.cameras)  # (F, V, J, 2, 3)
        weighted = slope * weight[..., None, None]
        normal = (weighted[..., :, None] * slope[..., None, :]).sum(3).sum(1)  # (F, J, 3, 3)
        pull = (weighted * residual[..., None]).sum(3).sum(1)  # (F, J, 3)
        pair_cost, pair_rows, pair_residuals = self._pair_terms(points)
        cost = pair_cost - SETTINGS.reach**2 * score.sum((1, 2))
        return Terms(cost, normal, pull, pair_rows, pair_residuals, distance2, score)

    def _pair_terms(self, points: Array) -> tuple[Array, Array, Array]:
        pair = self._incidence @ points  # (F, L, 3)
        length = ((pair * pair).sum(-1) ** 0.5).clip(SETTINGS.min_length_mm)
        residual = (length - self.lengths) / self.length_std  # (F, L)
        # The noise of the joints is added: before the fit, even correct joints deviate from the length by it.
        noise2 = (self.noise * self.tolerance_mm)[:, None] ** 2
        reach2 = SETTINGS.reach**2 * (1 + 2 * noise2 / self.length_std**2)
        trust = reach2 / (reach2 + residual**2)
        slope = pair * (trust / length / self.length_std)[..., None]
        rows = (self._incidence[:, :, None] * slope[:, :, None]).reshape(*residual.shape, -1)  # (F, L, 3J)
        return (residual**2 * trust).sum(1), rows, residual * trust

    def optimize(self, points: Array, num_steps: int) -> Array:
        """Take Levenberg-Marquardt steps from poses (F, J, 3), mm. The cost of a frame never increases."""
        if self.backend.optimize_pose is not None:
            return self.backend.optimize_pose(self, points, num_steps)
        xp = self.backend.xp
        terms = self.terms(points)
        damping = xp.full_like(self.noise, SETTINGS.first_damping)
        for _ in range(num_steps):
            trial = points + self._step(terms, damping)
            trial_terms = self.terms(trial)
            better = trial_terms.cost <= terms.cost  # (F,)
            points = xp.where(better[:, None, None], trial, points)
            damping = xp.where(better, damping / 10, damping * 10).clip(*SETTINGS.damping_range)
            terms = self._merged(better, trial_terms, terms)
        return points

    def _merged(self, choice: Array, yes: Terms, no: Terms) -> Terms:
        def pick(name: str) -> Array:
            one, other = getattr(yes, name), getattr(no, name)
            return self.backend.xp.where(choice.reshape(-1, *[1] * (len(one.shape) - 1)), one, other)

        return Terms(*(pick(name) for name in Terms.__dataclass_fields__))

    def _step(self, terms: Terms, damping: Array) -> Array:
        """Solve the damped normal equations: (F, J, 3) mm."""
        num_frames, num_joints = terms.pull.shape[:2]
        size = 3 * num_joints
        floats = self.backend.floats
        matrix = self._normal_matrix(terms)
        columns = terms.pair_rows.swapaxes(1, 2)  # (F, 3J, L)
        right = terms.pull.reshape(num_frames, size, 1) - columns @ terms.pair_residuals[..., None]
        diagonal = (matrix * floats(np.eye(size))).sum((1, 2)) / size  # (F,)
        added = (damping * diagonal + SETTINGS.anchor)[:, None, None] * floats(np.eye(size))
        return self.backend.xp.linalg.solve(matrix + added, right).reshape(num_frames, num_joints, 3)

    def _normal_matrix(self, terms: Terms) -> Array:
        """Return half the Gauss-Newton Hessian of the cost: (F, 3J, 3J), 1 / mm^2."""
        num_frames, num_joints = terms.pull.shape[:2]
        size = 3 * num_joints
        same_joint = self.backend.floats(np.eye(num_joints))[:, None, :, None]
        matrix = (terms.normal[:, :, :, None] * same_joint).reshape(num_frames, size, size)
        return matrix + terms.pair_rows.swapaxes(1, 2) @ terms.pair_rows

    def covariance_and_support(self, points: Array) -> tuple[np.ndarray, np.ndarray]:
        """Return the covariance from the normal equations, and how much the views support the joints.

        Args:
            points: (F, J, 3) fitted joints, mm.

        Returns:
            (F, J, 3, 3) mm^2, and (F, J), the mean of Terms.score over the views, 0 to 1.
        """
        num_frames, num_joints = points.shape[:2]
        terms = self.terms(points)
        matrix = self.backend.numpy(self._normal_matrix(terms))
        inverse = np.linalg.inv(matrix + SETTINGS.anchor * np.eye(3 * num_joints))
        blocks = inverse.reshape(num_frames, num_joints, 3, num_joints, 3)
        return np.einsum("fjajb->fjab", blocks), self.backend.numpy(terms.score).mean(1)

    def with_measured_noise(self, points: Array) -> PoseFit:
        """Measure the noise of each frame from the residuals of poses (F, J, 3), if the frame has enough peaks."""
        if self.backend.measured_noise is not None:
            return replace(self, noise=self.backend.measured_noise(self, points))
        terms = self.terms(points)
        near = self.backend.numpy((terms.score > 0) & (terms.distance2 < SETTINGS.noise_distance**2))  # (F, V, J)
        num_views = near.sum(1, keepdims=True)
        near = near & (num_views >= 2)
        spare = 2 * num_views / np.maximum(2 * num_views - 3, 1)  # the fit has 3 degrees of freedom per joint
        square = np.where(near, self.backend.numpy(terms.distance2) * spare, np.inf).reshape(len(near), -1)
        count = near.sum((1, 2))
        median = np.take_along_axis(np.sort(square, -1), np.maximum(count - 1, 0)[:, None] // 2, -1)[:, 0]
        enough = count >= near.shape[2]
        noise = np.sqrt(np.where(enough, median, 0.0) / CHI2_MEDIAN).clip(*SETTINGS.noise_range)
        return replace(
            self, noise=self.backend.xp.where(self.backend.integers(enough) > 0, self.backend.floats(noise), self.noise)
        )

    def with_distances(self, expected: Distances) -> PoseFit:
        """Replace the expected distances."""
        mean, std = self.backend.floats(expected.mean), self.backend.floats(expected.std)
        return replace(self, pairs=expected.pairs, lengths=mean, length_std=std)

    def without_distances(self, points: Array) -> tuple[np.ndarray, np.ndarray]:
        """Fit joints to the peaks only, by one step from poses (F, J, 3): (F, J, 3) mm, covariance (F, J, 3, 3)."""
        if self.backend.fit_joints is not None:
            return self.backend.fit_joints(self, points)
        terms = self.terms(points)
        xp = self.backend.xp
        normal = terms.normal + self.backend.floats(np.eye(3) * SETTINGS.anchor)
        step = xp.linalg.solve(normal, terms.pull[..., None])[..., 0]
        return self.backend.numpy(points + step), np.linalg.inv(self.backend.numpy(normal))
