"""Unknowns of a rig: cameras and clocks, their derivatives of pixels, and the similarity that no detection shows.

The vector of a rig holds NUM_COLUMNS numbers per camera: rotation (3, rad, camera frame), center (3, mm), log of the
focal length, sync offset in the middle of the recording (frames), drift (frames over the recording), principal point
(2, px) and k1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras, world_to_camera

ROTATION, CENTER = slice(0, 3), slice(3, 6)
FOCAL, OFFSET, DRIFT = 6, 7, 8
PRINCIPAL, RADIAL = slice(9, 11), 11
NUM_COLUMNS = 12
_SIMILARITY_STEPS = 20
_ROTATION_UNIT, _CENTER_UNIT = np.radians(0.5), 25.0  # one "move" of a camera, rad and mm
_LEAST_MOVE = 0.05  # smaller moves count as equal when the cameras that stayed are sought


@dataclass(frozen=True)
class RigState:
    """V cameras and their clocks, for a recording of F frames.

    What the reference shows in frame t, view v shows in frame t + lag, lag = offset + drift * (t / (F - 1) - 1/2).

    Attributes:
        cameras: leading axis (V,).
        offset: (V,) sync offset in the middle of the recording, frames.
        drift: (V,) growth of the offset over the recording, frames.
    """

    cameras: Cameras
    offset: np.ndarray
    drift: np.ndarray

    @classmethod
    def in_sync(cls, cameras: Cameras) -> RigState:
        """Return the state without sync offsets."""
        return cls(cameras, np.zeros(len(cameras)), np.zeros(len(cameras)))

    def lag(self, time: np.ndarray) -> np.ndarray:
        """Return the lag of each view at the times (N,) of clock(): (N, V) frames."""
        return self.offset + self.drift * time[:, None]

    def moved(self, step: np.ndarray) -> RigState:
        """Add a step (V, NUM_COLUMNS)."""
        cameras = self.cameras
        turn = Rotation.from_rotvec(step[:, ROTATION]).as_matrix()
        radial = cameras.k + step[:, RADIAL, None] * np.array([1.0, 0.0, 0.0])
        moved = replace(
            cameras,
            R=turn @ cameras.R,
            T=cameras.T + step[:, CENTER],
            f=cameras.f * np.exp(step[:, FOCAL, None]),
            c=cameras.c + step[:, PRINCIPAL],
            k=radial,
        )
        return RigState(moved, self.offset + step[:, OFFSET], self.drift + step[:, DRIFT])

    def minus(self, other: RigState) -> np.ndarray:
        """Return the step (V, NUM_COLUMNS) from another state to this one."""
        one, own = other.cameras, self.cameras
        step = np.zeros((len(own), NUM_COLUMNS))
        step[:, ROTATION] = Rotation.from_matrix(own.R @ one.R.swapaxes(-1, -2)).as_rotvec()
        step[:, CENTER] = own.T - one.T
        step[:, FOCAL] = np.log(own.f / one.f).mean(-1)
        step[:, OFFSET], step[:, DRIFT] = self.offset - other.offset, self.drift - other.drift
        step[:, PRINCIPAL], step[:, RADIAL] = own.c - one.c, own.k[:, 0] - one.k[:, 0]
        return step


def clock(frames: np.ndarray, num_frames: int) -> np.ndarray:
    """Return the times of frames in lengths of the recording, from -1/2 to 1/2."""
    return frames / max(num_frames - 1, 1) - 0.5


def pixel_derivatives(
    points: np.ndarray, velocity: np.ndarray, time: np.ndarray, cameras: Cameras
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Project points and return the derivatives of their undistorted pixels.

    Args:
        points: (F, V, J, 3) where each view sees the joints, mm.
        velocity: (F, V, J, 3) mm per frame.
        time: (F,) clock() of the frames.
        cameras: leading axis (V,).

    Returns:
        (F, V, J, 2) pixels from the principal point without distortion; (F, V, J, 2, 3) their derivatives by the points
        and (F, V, J, 2, NUM_COLUMNS) by the rig; (F, V, J) whether the point is in front of the camera.
    """
    points_cam = world_to_camera(points, cameras)
    depth = points_cam[..., 2]
    plane = points_cam[..., :2] / depth.clip(MIN_DEPTH_MM)[..., None]
    x, y = plane[..., 0], plane[..., 1]
    focal = cameras.f[:, None]  # (V, 1, 2)
    R = cameras.R[:, None]  # (V, 1, 3, 3)
    slope = R[..., :2, :] - plane[..., None] * R[..., 2:, :]
    slope = slope * (focal / depth.clip(MIN_DEPTH_MM)[..., None])[..., None]
    by_rig = np.zeros((*plane.shape, NUM_COLUMNS))
    by_rig[..., 0, 0], by_rig[..., 0, 1], by_rig[..., 0, 2] = -x * y, 1 + x * x, -y
    by_rig[..., 1, 0], by_rig[..., 1, 1], by_rig[..., 1, 2] = -1 - y * y, x * y, x
    by_rig[..., FOCAL] = plane
    by_rig[..., RADIAL] = plane * (x * x + y * y)[..., None]
    by_rig *= focal[..., None]
    by_rig[..., CENTER] = -slope
    by_rig[..., OFFSET] = -np.einsum("fvjab,fvjb->fvja", slope, velocity)
    by_rig[..., DRIFT] = by_rig[..., OFFSET] * time[:, None, None, None]
    by_rig[..., PRINCIPAL] = np.eye(2)
    return plane * focal, slope, by_rig, depth > MIN_DEPTH_MM


def similarity_directions(cameras: Cameras) -> np.ndarray:
    """Return the steps (V, NUM_COLUMNS, 7) of a rig that is turned, shifted and scaled as a whole."""
    steps = np.zeros((len(cameras), NUM_COLUMNS, 7))
    centers = cameras.T - cameras.T.mean(0)
    for axis in range(3):
        turn = np.eye(3)[axis]
        steps[:, ROTATION, axis] = -cameras.R @ turn
        steps[:, CENTER, axis] = np.cross(turn, centers)
        steps[:, CENTER.start + axis, 3 + axis] = 1.0
    steps[:, CENTER, 6] = centers
    return steps


def move_sizes(step: np.ndarray) -> np.ndarray:
    """Return how far each camera moves in a step (V, NUM_COLUMNS): 1 is half a degree or 25 mm."""
    turned = (step[:, ROTATION] ** 2).sum(1) / _ROTATION_UNIT**2
    return np.sqrt(turned + (step[:, CENTER] ** 2).sum(1) / _CENTER_UNIT**2)


def aligned(state: RigState, target: RigState, robust: bool = True) -> tuple[RigState, np.ndarray]:
    """Turn, shift and scale a rig so that as many cameras as possible lie where another rig has them.

    Args:
        state: the rig.
        target: the other rig.
        robust: False = so that the squared distances are smallest.

    Returns:
        The rig, and the weights (V,) of its cameras in the alignment; 1 is a camera that stays.
    """
    weight = np.ones(len(state.cameras))
    for _ in range(_SIMILARITY_STEPS):
        step = state.minus(target)
        directions = similarity_directions(state.cameras)
        rows = _scaled(directions, weight)
        solution = np.linalg.lstsq(rows, -_scaled(step[..., None], weight)[:, 0], rcond=None)[0]
        state = _transformed(state, solution)
        if robust:
            weight = 1 / np.maximum(move_sizes(state.minus(target)), _LEAST_MOVE)
            weight /= weight.max()
    return state, weight


def _scaled(steps: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the moves (6 V, N) of steps (V, NUM_COLUMNS, N), in units of move_sizes() and weighted."""
    units = np.concatenate([np.full(3, _ROTATION_UNIT), np.full(3, _CENTER_UNIT)])
    return (steps[:, :6] / units[:, None] * np.sqrt(weight)[:, None, None]).reshape(-1, steps.shape[-1])


def _transformed(state: RigState, solution: np.ndarray) -> RigState:
    """Apply a turn (3, rad), a shift (3, mm) and the log of a scale to a rig, about its middle."""
    cameras = state.cameras
    turn = Rotation.from_rotvec(solution[:3]).as_matrix()
    middle = cameras.T.mean(0)
    centers = (cameras.T - middle) @ turn.T * np.exp(solution[6]) + middle + solution[3:6]
    return replace(state, cameras=replace(cameras, R=cameras.R @ turn.T, T=centers))


def without_similarity(cameras: Cameras, weight: np.ndarray) -> np.ndarray:
    """Return the matrix (V * NUM_COLUMNS squared) that removes the similarity from a small step, as aligned() does.

    Args:
        cameras: leading axis (V,).
        weight: (V,) weights of aligned().
    """
    directions = similarity_directions(cameras)
    units = np.zeros((len(cameras), NUM_COLUMNS))
    units[:, ROTATION], units[:, CENTER] = 1 / _ROTATION_UNIT, 1 / _CENTER_UNIT
    units = (units * np.sqrt(weight)[:, None]).ravel()
    flat = directions.reshape(len(units), -1)
    return np.eye(len(units)) - flat @ np.linalg.pinv(flat * units[:, None]) * units
