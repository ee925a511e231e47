"""Vertical axis of a world frame, from a person in it."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from lib.utils.joints import H36M_17

_NEAR_AXIS = 0.8  # cosine


def upright(pose_world: np.ndarray, joint_names: Sequence[str] = H36M_17.names) -> np.ndarray:
    """Return the rotation (3, 3) that turns the world so that z is up.

    The vertical axis of a calibration is arbitrary, so it is taken from the person: the world axis nearest to the
    mean direction from the ankles to the neck or, if none is near, that direction. Without known joints z is kept.

    Args:
        pose_world: (F, J, 3) mm.
        joint_names: the J joints.
    """
    names = list(joint_names)
    feet = pose_world[:, [names.index(name) for name in ("rank", "lank")]].mean(1)
    standing = pose_world[:, names.index("neck")] - feet
    standing = standing[np.isfinite(standing).all(1)]
    if not len(standing):
        return np.eye(3)
    up = standing.mean(0)
    up = up / max(float(np.linalg.norm(up)), 1e-9)
    axis = int(np.abs(up).argmax())
    if abs(up[axis]) > _NEAR_AXIS:
        up = np.eye(3)[axis] * np.sign(up[axis])
    return turn_up(up)


def turn_up(axis: np.ndarray) -> np.ndarray:
    """Return the rotation (3, 3) that turns an axis (3,) of length 1 to z."""
    return Rotation.align_vectors([[0.0, 0.0, 1.0]], [axis])[0].as_matrix()
