"""Robust fit of poses compiled by numba, frame by frame. pose_fit.py describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lib.multiviews.cameras import MIN_DEPTH_MM
from lib.multiviews.compiled import compiled, inner
from lib.multiviews.keypoints.rays_numba import project_to_plane, ray_arrays, solve_symmetric_3
from lib.multiviews.refinement.pose_fit import CHI2_MEDIAN, SETTINGS, PoseFit

if TYPE_CHECKING:
    from lib.multiviews.pictorial.backend_numba import NumbaBackend

_REACH = SETTINGS.reach
_LOW_NOISE, _HIGH_NOISE = SETTINGS.noise_range
_NOISE_DISTANCE = SETTINGS.noise_distance
_FIRST_DAMPING = SETTINGS.first_damping
_LOW_DAMPING, _HIGH_DAMPING = SETTINGS.damping_range
_ANCHOR = SETTINGS.anchor
_MIN_LENGTH_MM = SETTINGS.min_length_mm


class Data(NamedTuple):
    """Measurements of a PoseFit as arrays.

    Attributes:
        place, weight, zoom: PeakRays.
        R, T: of the cameras.
        pairs: (L, 2).
        lengths, std: (F, L) mm.
        noise, tolerance_mm: (F,).
    """

    place: np.ndarray
    weight: np.ndarray
    zoom: np.ndarray
    R: np.ndarray
    T: np.ndarray
    pairs: np.ndarray
    lengths: np.ndarray
    std: np.ndarray
    noise: np.ndarray
    tolerance_mm: np.ndarray

    @classmethod
    def of(cls, fit: PoseFit) -> Data:
        """Collect the arrays."""
        per_frame = (np.require(array, np.float64, "CW") for array in (fit.lengths, fit.length_std, fit.noise))
        pairs = np.array(fit.pairs, np.int64).reshape(-1, 2)
        tolerance = np.require(fit.tolerance_mm, np.float64, "CW")
        return cls(*ray_arrays(fit.rays, fit.cameras), pairs, *per_frame, tolerance)


class PoseTerms(NamedTuple):
    """Derivatives of a frame's cost; see pose_fit.Terms.

    Attributes:
        normal: (J, 6) xx, xy, xz, yy, yz, zz.
        pull: (J, 3).
        slope: (L, 3) derivative of the weighted residual of a pair by its second joint; minus that by its first.
        residual: (L,) weighted residuals of the pairs.
        distance2: (V, J) squared distance from the best peak; -1 without a peak.
    """

    normal: np.ndarray
    pull: np.ndarray
    slope: np.ndarray
    residual: np.ndarray
    distance2: np.ndarray


def optimize_compiled(fit: PoseFit, points: np.ndarray, num_steps: int, backend: NumbaBackend) -> np.ndarray:
    """Do as PoseFit.optimize()."""
    data = Data.of(fit)
    result = np.array(points, np.float64)

    def optimize(frames: slice) -> None:
        _optimize_frames(data, frames.start, frames.stop, num_steps, result)

    backend.for_each(optimize, backend.shares(len(result)))
    return result


def measured_noise_compiled(fit: PoseFit, points: np.ndarray, backend: NumbaBackend) -> np.ndarray:
    """Return the noise (F,) of PoseFit.with_measured_noise()."""
    data, points = Data.of(fit), np.require(points, np.float64, "CW")
    noise = np.empty(len(points))

    def measure(frames: slice) -> None:
        _measure_noise(data, frames.start, frames.stop, points, noise)

    backend.for_each(measure, backend.shares(len(points)))
    return noise


def without_distances_compiled(
    fit: PoseFit, points: np.ndarray, backend: NumbaBackend
) -> tuple[np.ndarray, np.ndarray]:
    """Do as PoseFit.without_distances()."""
    data, points = Data.of(fit), np.require(points, np.float64, "CW")
    result, covariance = np.empty(points.shape), np.empty((*points.shape, 3))

    def solve(frames: slice) -> None:
        _fit_joints(data, frames.start, frames.stop, points, result, covariance)

    backend.for_each(solve, backend.shares(len(points)))
    return result, covariance


@inner()
def _new_terms(data):
    num_views, num_joints = data.weight.shape[1:3]
    num_pairs = len(data.pairs)
    return PoseTerms(
        np.empty((num_joints, 6)),
        np.empty((num_joints, 3)),
        np.empty((num_pairs, 3)),
        np.empty(num_pairs),
        np.empty((num_views, num_joints)),
    )


@compiled()
def _optimize_frames(data, start, stop, num_steps, points):
    """Take Levenberg-Marquardt steps from the poses (F, J, 3) of frames [start, stop), in place."""
    num_joints = points.shape[1]
    trial = np.empty((num_joints, 3))
    matrix, right = np.empty((3 * num_joints, 3 * num_joints)), np.empty(3 * num_joints)
    terms, other = _new_terms(data), _new_terms(data)
    for f in range(start, stop):
        pose = points[f]
        cost = _evaluate(data, f, pose, terms)
        damping = _FIRST_DAMPING
        for _ in range(num_steps):
            _solve_step(data.pairs, terms, damping, matrix, right)
            for j in range(num_joints):
                for axis in range(3):
                    trial[j, axis] = pose[j, axis] + right[3 * j + axis]
            trial_cost = _evaluate(data, f, trial, other)
            if trial_cost <= cost:
                cost = trial_cost
                terms, other = other, terms
                for j in range(num_joints):
                    for axis in range(3):
                        pose[j, axis] = trial[j, axis]
                damping = max(damping / 10, _LOW_DAMPING)
            else:
                damping = min(damping * 10, _HIGH_DAMPING)


@compiled()
def _measure_noise(data, start, stop, points, noise):
    """Write the noise (F,) of frames [start, stop)."""
    num_views, num_joints = data.weight.shape[1:3]
    terms = _new_terms(data)
    squares = np.empty(num_views * num_joints)
    for f in range(start, stop):
        _evaluate(data, f, points[f], terms)
        count = 0
        for j in range(num_joints):
            near = 0
            for v in range(num_views):
                near += 0 <= terms.distance2[v, j] < _NOISE_DISTANCE**2
            if near < 2:
                continue
            spare = 2 * near / (2 * near - 3)  # the fit has 3 degrees of freedom per joint
            for v in range(num_views):
                if 0 <= terms.distance2[v, j] < _NOISE_DISTANCE**2:
                    square = terms.distance2[v, j] * spare
                    at = count
                    while at > 0 and squares[at - 1] > square:
                        squares[at] = squares[at - 1]
                        at -= 1
                    squares[at] = square
                    count += 1
        noise[f] = data.noise[f]
        if count >= num_joints:
            median = squares[(count - 1) // 2]
            noise[f] = min(max(np.sqrt(median / CHI2_MEDIAN), _LOW_NOISE), _HIGH_NOISE)


@compiled()
def _fit_joints(data, start, stop, points, result, covariance):
    """Write the joints (F, J, 3) fitted to the peaks alone, and their covariance (F, J, 3, 3)."""
    terms = _new_terms(data)
    for f in range(start, stop):
        _evaluate(data, f, points[f], terms)
        for j in range(points.shape[1]):
            xx, xy, xz = terms.normal[j, 0] + _ANCHOR, terms.normal[j, 1], terms.normal[j, 2]
            yy, yz, zz = terms.normal[j, 3] + _ANCHOR, terms.normal[j, 4], terms.normal[j, 5] + _ANCHOR
            pull = terms.pull[j]
            step = solve_symmetric_3(xx, xy, xz, yy, yz, zz, pull[0], pull[1], pull[2])
            for axis in range(3):
                result[f, j, axis] = points[f, j, axis] + step[axis]
                a, b, c = 1.0 if axis == 0 else 0.0, 1.0 if axis == 1 else 0.0, 1.0 if axis == 2 else 0.0
                column = solve_symmetric_3(xx, xy, xz, yy, yz, zz, a, b, c)
                for row in range(3):
                    covariance[f, j, row, axis] = column[row]


@inner()
def _evaluate(data, f, pose, terms):
    """Write the terms of a pose (J, 3) of frame f and return its cost; see PoseFit.terms()."""
    num_views, num_joints, num_peaks = data.weight.shape[1:]
    noise2 = data.noise[f] ** 2
    reach2 = _REACH**2 * noise2
    for j in range(num_joints):
        for i in range(6):
            terms.normal[j, i] = 0.0
        for i in range(3):
            terms.pull[j, i] = 0.0
    total_score = 0.0
    for v in range(num_views):
        R, T, zoom = data.R[f, v], data.T[f, v], data.zoom[f, v]
        for j in range(num_joints):
            px, py, depth = project_to_plane(pose[j], R, T, zoom)
            terms.distance2[v, j] = -1.0
            if not depth >= MIN_DEPTH_MM:
                continue
            score, trust, best = 0.0, 0.0, 0
            for k in range(num_peaks):
                dx, dy = px - data.place[f, v, j, k, 0], py - data.place[f, v, j, k, 1]
                distance2 = dx * dx + dy * dy
                trust_k = reach2 / (reach2 + distance2)
                score_k = data.weight[f, v, j, k] * trust_k
                if score_k > score:
                    score, trust, best = score_k, trust_k, k
                    terms.distance2[v, j] = distance2
            if score == 0:
                continue
            total_score += score
            weight = score * trust / noise2
            # Slopes of the two coordinates, see plane_slopes().
            x_scale, y_scale = zoom[0] / depth, zoom[1] / depth
            x_plane, y_plane = px / zoom[0], py / zoom[1]
            ax, ay = (R[0, 0] - x_plane * R[2, 0]) * x_scale, (R[0, 1] - x_plane * R[2, 1]) * x_scale
            az = (R[0, 2] - x_plane * R[2, 2]) * x_scale
            bx, by = (R[1, 0] - y_plane * R[2, 0]) * y_scale, (R[1, 1] - y_plane * R[2, 1]) * y_scale
            bz = (R[1, 2] - y_plane * R[2, 2]) * y_scale
            normal, pull = terms.normal[j], terms.pull[j]
            normal[0] += weight * (ax * ax + bx * bx)
            normal[1] += weight * (ax * ay + bx * by)
            normal[2] += weight * (ax * az + bx * bz)
            normal[3] += weight * (ay * ay + by * by)
            normal[4] += weight * (ay * az + by * bz)
            normal[5] += weight * (az * az + bz * bz)
            a = weight * (data.place[f, v, j, best, 0] - px)
            b = weight * (data.place[f, v, j, best, 1] - py)
            pull[0] += ax * a + bx * b
            pull[1] += ay * a + by * b
            pull[2] += az * a + bz * b
    return _evaluate_pairs(data, f, pose, terms) - _REACH**2 * total_score


@inner()
def _evaluate_pairs(data, f, pose, terms):
    """Write the terms of the joint pairs and return their cost; see PoseFit._pair_terms()."""
    cost = 0.0
    noise2 = (data.noise[f] * data.tolerance_mm[f]) ** 2
    for pair in range(len(data.pairs)):
        one, other = data.pairs[pair]
        x, y, z = pose[other, 0] - pose[one, 0], pose[other, 1] - pose[one, 1], pose[other, 2] - pose[one, 2]
        length = max(np.sqrt(x * x + y * y + z * z), _MIN_LENGTH_MM)
        std = data.std[f, pair]
        residual = (length - data.lengths[f, pair]) / std
        reach2 = _REACH**2 * (1 + 2 * noise2 / std**2)
        trust = reach2 / (reach2 + residual**2)
        scale = trust / length / std
        terms.slope[pair, 0], terms.slope[pair, 1], terms.slope[pair, 2] = x * scale, y * scale, z * scale
        terms.residual[pair] = residual * trust
        cost += residual**2 * trust
    return cost


@inner({"contract"})
def _solve_step(pairs, terms, damping, matrix, right):
    """Solve the damped normal equations; the step is written to right (3J,), matrix (3J, 3J) is overwritten.

    Only the lower triangle is used. Joints are eliminated from the last to the first, so from the leaves of the
    skeleton: then most factors are 0 if only limbs connect the joints.
    """
    size = len(right)
    for row in range(size):
        for column in range(row + 1):
            matrix[row, column] = 0.0
    for j in range(len(terms.normal)):
        at = 3 * j
        normal = terms.normal[j]
        matrix[at, at], matrix[at + 1, at], matrix[at + 1, at + 1] = normal[0], normal[1], normal[3]
        matrix[at + 2, at], matrix[at + 2, at + 1], matrix[at + 2, at + 2] = normal[2], normal[4], normal[5]
        for axis in range(3):
            right[at + axis] = terms.pull[j, axis]
    for pair in range(len(pairs)):
        low, high = 3 * min(pairs[pair, 0], pairs[pair, 1]), 3 * max(pairs[pair, 0], pairs[pair, 1])
        slope, residual = terms.slope[pair], terms.residual[pair]
        one, other = 3 * pairs[pair, 0], 3 * pairs[pair, 1]
        for i in range(3):
            right[one + i] += slope[i] * residual
            right[other + i] -= slope[i] * residual
            for k in range(3):
                product = slope[i] * slope[k]
                matrix[high + i, low + k] -= product
                if k <= i:
                    matrix[low + i, low + k] += product
                    matrix[high + i, high + k] += product
    trace = 0.0
    for i in range(size):
        trace += matrix[i, i]
    added = damping * (trace / size) + _ANCHOR
    for i in range(size):
        matrix[i, i] += added
    for k in range(size - 1, -1, -1):
        inverse = 1 / matrix[k, k]
        row = matrix[k]
        for i in range(k):
            factor = row[i] * inverse
            if factor != 0:
                target = matrix[i]
                for j in range(i + 1):
                    target[j] -= factor * row[j]
                right[i] -= factor * right[k]
    for i in range(size):
        total = right[i]
        for j in range(i):
            total -= matrix[i, j] * right[j]
        right[i] = total / matrix[i, i]
