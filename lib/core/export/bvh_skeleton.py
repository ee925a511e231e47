"""Joint rotations of a skeleton with constant limb lengths, fitted to 3D poses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from lib.core.export.pose_sequence import interpolated
from lib.multiviews.body import HumanBody, body_of
from lib.utils.errors import InputError
from lib.utils.joints import JointSet


@dataclass(frozen=True)
class SkeletonSettings:
    """Fit of the rotations."""

    shape_steps: int = 20  # alternations between rotations and mean shape of a joint with several children
    twist_return_deg_per_s: float = 180.0  # speed at which a limb loses the twist of a passage behind its parent
    keep: float = 1e-6  # weight of the previous rotation, where the children leave the rotation open


_SETTINGS = SkeletonSettings()

# Rest pose: arms to the sides. Left, up, forward.
_LEFT, _RIGHT, _UP, _DOWN = (1.0, 0, 0), (-1.0, 0, 0), (0, 1.0, 0), (0, -1.0, 0)
_REST = {
    **dict.fromkeys(("lhip", "lsho", "lelb", "lwri"), _LEFT),
    **dict.fromkeys(("rhip", "rsho", "relb", "rwri"), _RIGHT),
    **dict.fromkeys(("belly", "neck", "nose", "head"), _UP),
    **dict.fromkeys(("rkne", "rank", "lkne", "lank"), _DOWN),
}


@dataclass(frozen=True)
class FittedSkeleton:
    """A skeleton that moves. All arrays are in the axes left, up, forward.

    Attributes:
        body: tree of the J' joints that are ever known.
        offsets: (J', 3) rest position of each joint, relative to its parent; 0 for the root.
        root: (F, 3) positions of the root joint.
        rotations: (F, J', 3, 3) local rotations; identity for joints without children.
        positions: (F, J', 3) positions of all joints of this skeleton.
    """

    body: HumanBody
    offsets: np.ndarray
    root: np.ndarray
    rotations: np.ndarray
    positions: np.ndarray


def fit_skeleton(positions: np.ndarray, joint_names: Sequence[str], rate: float) -> FittedSkeleton:
    """Fit a skeleton with constant limb lengths.

    Limb lengths are medians over the frames. A joint with one child has the smallest rotation that points to the
    child, so a limb has no twist of its own. A joint with several children, i.e. pelvis and neck, has the
    least-squares rotation to all of them. Positions are matched from the root to the leaves: a limb points from the
    fitted position of its parent to the given position of its child, so errors do not add up. Unknown limbs are
    interpolated over time. Joints that are never known are left out; their children are attached to the next joint
    towards the root.

    Args:
        positions: (F, J, 3) in the axes left, up, forward; NaN = unknown.
        joint_names: the J joints.
        rate: frames per second.

    Raises:
        InputError: the root joint, or a limb, is never known.
    """
    body, positions = _known_body(positions, joint_names)
    limbs, lengths = _limb_vectors(positions, body)
    offsets = _rest_offsets(limbs, lengths, body)
    root = interpolated(positions[:, body.root])
    turned = np.empty((len(positions), body.num_joints, 3, 3))  # rest frame -> world
    turned[:] = np.eye(3)
    fitted = np.empty_like(positions)
    fitted[:, body.root] = root
    for joint in [joint for level in body.levels for joint in level]:
        children = list(body.children[joint])
        parent = body.parents[joint]
        base = np.broadcast_to(np.eye(3), turned[:, joint].shape) if parent < 0 else turned[:, parent]
        if not children:
            turned[:, joint] = base
            continue
        wanted = positions[:, children] - fitted[:, [joint]]
        wanted = np.where(np.isfinite(wanted), wanted, limbs[:, children])
        if len(children) == 1:
            local = np.einsum("fji,fj->fi", base, wanted[:, 0])
            turned[:, joint] = base @ _without_twist(offsets[children[0]], local, rate)
        else:
            turned[:, joint] = _aligned(offsets[children], wanted, _SETTINGS.keep)
        fitted[:, children] = fitted[:, [joint]] + np.einsum("fij,cj->fci", turned[:, joint], offsets[children])
    rotations = turned.copy()
    for parent, joint in body.edges:
        rotations[:, joint] = turned[:, parent].swapaxes(-1, -2) @ turned[:, joint]
    return FittedSkeleton(body, offsets, root, rotations, fitted)


def _known_body(positions: np.ndarray, joint_names: Sequence[str]) -> tuple[HumanBody, np.ndarray]:
    """Return the tree of the joints that are ever known, and their positions (F, J', 3)."""
    whole = body_of(JointSet("exported", tuple(joint_names)))
    known = np.isfinite(positions).all(-1).any(0)
    if not known[whole.root]:
        raise InputError(
            f"{joint_names[whole.root]}: expected a known position in some frame, found none; BVH needs it"
        )
    parent_of = {}
    for joint in np.flatnonzero(known).tolist():
        parent = whole.parents[joint]
        while parent >= 0 and not known[parent]:
            parent = whole.parents[parent]
        if parent >= 0:
            parent_of[joint_names[joint]] = joint_names[parent]
    names = [name for name, is_known in zip(joint_names, known, strict=True) if is_known]
    return HumanBody.from_names(names, parent_of), positions[:, known]


def _limb_vectors(positions: np.ndarray, body: HumanBody) -> tuple[np.ndarray, np.ndarray]:
    """Return the limbs (F, J', 3) from the parent to each joint, interpolated where unknown, and median lengths (J',).

    Both are 0 for the root.
    """
    limbs = np.zeros_like(positions)
    lengths = np.zeros(body.num_joints)
    for parent, joint in body.edges:
        vectors = positions[:, joint] - positions[:, parent]
        if not np.isfinite(vectors).any():
            raise InputError(
                f"{body.joint_names[parent]}-{body.joint_names[joint]}: expected a frame in which both ends are known, "
                "found none; BVH needs the length"
            )
        limbs[:, joint] = interpolated(vectors)
        lengths[joint] = np.nanmedian(np.linalg.norm(vectors, axis=1))
    return limbs, lengths


def _rest_offsets(limbs: np.ndarray, lengths: np.ndarray, body: HumanBody) -> np.ndarray:
    """Return the rest offsets (J', 3) of given lengths (J',); children of one joint in their mean arrangement."""
    rest = np.array([_REST.get(name, (0.0, 0, 0)) for name in body.joint_names])
    offsets = rest * lengths[:, None]
    for children in body.children:
        if len(children) < 2:
            continue
        chosen = list(children)
        shape = offsets[chosen]
        for _ in range(_SETTINGS.shape_steps):
            shape = np.einsum("fji,fcj->ci", _aligned(shape, limbs[:, chosen]), limbs[:, chosen])
            shape *= (lengths[chosen] / np.maximum(np.linalg.norm(shape, axis=1), 1e-12))[:, None]
        offsets[chosen] = shape @ _aligned(shape, offsets[None, chosen])[0].T
    return offsets


def _aligned(shape: np.ndarray, vectors: np.ndarray, keep: float = 0.0) -> np.ndarray:
    """Return the rotations (F, 3, 3) from vectors (C, 3) to vectors (F, C, 3), least squares.

    Args:
        shape: vectors before the rotation.
        vectors: vectors after it.
        keep: weight of the previous rotation, relative to the vectors.
    """
    products = np.einsum("fci,cj->fij", vectors, shape)
    if not keep:
        return _nearest_rotation(products)
    weight = keep * float((shape**2).sum())
    rotations = []
    previous = np.eye(3)
    for product in products:
        previous = _nearest_rotation(product + weight * previous)
        rotations.append(previous)
    return np.stack(rotations)


def _nearest_rotation(matrices: np.ndarray) -> np.ndarray:
    """Return the rotations (..., 3, 3) that are nearest to matrices."""
    left, _, right = np.linalg.svd(matrices)
    left[..., -1] *= np.sign(np.linalg.det(left @ right))[..., None]
    return left @ right


def _without_twist(rest: np.ndarray, vectors: np.ndarray, rate: float) -> np.ndarray:
    """Return rotations (F, 3, 3) from `rest` (3,) to the directions of vectors (F, 3), without twist where possible.

    The smallest rotation flips when a limb passes the direction opposite to `rest`. There the rotation follows the limb
    without twist from frame to frame instead, and the twist that is left over goes back to 0 at a limited speed.
    """
    rest = rest / np.linalg.norm(rest)
    directions = vectors / np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)[:, None]
    smallest = _smallest_rotations(np.broadcast_to(rest, directions.shape), directions)
    moves = _smallest_rotations(directions[:-1], directions[1:])
    # The twist about `rest` by which the smallest rotation lags behind the limb's movement, per step.
    quaternions = Rotation.from_matrix(smallest[1:].swapaxes(-1, -2) @ moves @ smallest[:-1]).as_quat()
    steps = 2 * np.arctan2(quaternions[:, :3] @ rest, quaternions[:, 3])
    limit = math.radians(_SETTINGS.twist_return_deg_per_s) / rate
    twist = [0.0]
    for step in steps.tolist():
        left = math.remainder(twist[-1] + step, 2 * math.pi)
        twist.append(math.copysign(max(abs(left) - limit, 0.0), left))
    return smallest @ Rotation.from_rotvec(np.array(twist)[:, None] * rest).as_matrix()


def _smallest_rotations(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the smallest rotations (F, 3, 3) from unit vectors (F, 3) to unit vectors (F, 3)."""
    axes = np.cross(start, end)
    real = 1 + (start * end).sum(1)
    # Opposite vectors: any perpendicular axis.
    across = np.cross(start, np.eye(3)[np.abs(start).argmin(1)])
    axes, real = np.where((real < 1e-12)[:, None], across, axes), np.where(real < 1e-12, 0.0, real)
    return Rotation.from_quat(np.concatenate([axes, real[:, None]], 1)).as_matrix()


def continuous_angles(rotations: np.ndarray, order: str) -> np.ndarray:
    """Return Euler angles (F, 3), degrees, of rotations (F, 3, 3), without jumps by 180 or 360 degrees.

    Args:
        rotations: applied in the order of the axes, each in the frame turned by the earlier ones.
        order: three different axes, e.g. "ZXY".
    """
    angles = Rotation.from_matrix(rotations).as_euler(order, degrees=True)
    others = angles * [1, -1, 1] + 180  # the same rotations
    result = []
    previous = np.zeros(3)
    for pair in np.stack([angles, others], 1):
        near = pair + 360 * np.round((previous - pair) / 360)
        previous = near[np.abs(near - previous).sum(1).argmin()]
        result.append(previous)
    return np.array(result)
