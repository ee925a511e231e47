"""BVH files of animation programs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib.core.export.bvh_skeleton import FittedSkeleton, continuous_angles, fit_skeleton
from lib.core.export.marker_names import marker_names
from lib.core.export.pose_sequence import PoseSequence
from lib.dataset.conventions import MM_PER_UNIT
from lib.utils.files.atomic import write_bytes

# Axes to the left, up and forward, for y up and z up.
_AXES = {"y": "XYZ", "z": "YZX"}
_TIP = 0.2  # length of an End Site, share of its limb
# Order of the rotations, as positions in _AXES. The middle axis is the one about which a limb turns least: only there,
# at 90 degrees, angles are ambiguous.
_ROOT_ORDER, _LIMB_ORDER, _ARM_ORDER = (1, 2, 0), (0, 1, 2), (2, 0, 1)
_ARMS = ("lsho", "lelb", "rsho", "relb")


def write_bvh(path: Path, sequence: PoseSequence, marker_set: str, up: str) -> dict[str, float]:
    """Write a BVH file: a skeleton with constant limb lengths, and one rotation per joint and frame.

    In rest pose the arms point to the sides, the legs down. BVH has no unknown joints: gaps are interpolated, and
    joints that are never known are left out.

    Args:
        path: the file.
        sequence: evenly spaced poses.
        marker_set: name in MARKER_SETS.
        up: vertical axis, "y" (x left, z forward) or "z" (y left, x forward).

    Returns:
        median_mm and max_mm: distance of the skeleton's joints from the given positions, which do not have constant
        limb lengths.

    Raises:
        InputError: as fit_skeleton().

    Source: "Biovision BVH", University of Wisconsin, Graphics group.
    """
    order = ["XYZ".index(axis) for axis in _AXES[up]]
    skeleton = fit_skeleton(sequence.positions[..., order], sequence.joint_names, sequence.rate)
    names = marker_names(skeleton.body.joint_names, marker_set)
    back = np.argsort(order)
    joints = _depth_first(skeleton, skeleton.body.root)
    lines = ["HIERARCHY", *_hierarchy(skeleton, skeleton.body.root, names, back, _AXES[up])]
    columns = [skeleton.root[:, back]]
    for joint in joints:
        rotations = skeleton.rotations[:, joint][:, back][..., back]
        columns.append(continuous_angles(rotations, _order_of(skeleton.body.joint_names[joint], _AXES[up])))
    lines += ["MOTION", f"Frames: {len(sequence)}", f"Frame Time: {1 / sequence.rate:.9f}"]
    lines += [" ".join(f"{value:.6f}" for value in row) for row in np.concatenate(columns, 1)]
    write_bytes(path, ("\n".join(lines) + "\n").encode())
    return _differences(skeleton, sequence, order)


def _depth_first(skeleton: FittedSkeleton, joint: int) -> list[int]:
    """Return a joint and its descendants in the order of the file."""
    return [joint, *(one for child in skeleton.body.children[joint] for one in _depth_first(skeleton, child))]


def _hierarchy(
    skeleton: FittedSkeleton, joint: int, names: Sequence[str], back: np.ndarray, axes: str, depth: int = 0
) -> list[str]:
    """Return the lines of a joint and its descendants."""
    body, offset = skeleton.body, skeleton.offsets[joint]
    is_root = joint == body.root
    rotations = [f"{axis}rotation" for axis in _order_of(body.joint_names[joint], axes)]
    channels = [*("Xposition", "Yposition", "Zposition"), *rotations] if is_root else rotations
    content = [f"OFFSET {_numbers(offset[back])}", f"CHANNELS {len(channels)} {' '.join(channels)}"]
    for child in body.children[joint]:
        content += _hierarchy(skeleton, child, names, back, axes, depth + 1)
    if not body.children[joint]:
        content += ["End Site", "{", f"\tOFFSET {_numbers(_TIP * offset[back])}", "}"]
    kind = "ROOT" if is_root else "JOINT"
    return [f"{kind} {names[joint]}", "{", *(f"\t{line}" for line in content), "}"]


def _order_of(joint: str, axes: str) -> str:
    order = _ROOT_ORDER if joint == "root" else _ARM_ORDER if joint in _ARMS else _LIMB_ORDER
    return "".join(axes[position] for position in order)


def _numbers(vector: np.ndarray) -> str:
    return " ".join(f"{value:.6f}" for value in vector)


def _differences(skeleton: FittedSkeleton, sequence: PoseSequence, order: Sequence[int]) -> dict[str, float]:
    chosen = [sequence.joint_names.index(name) for name in skeleton.body.joint_names]
    given = sequence.positions[:, chosen][..., order]
    distance_mm = np.linalg.norm(skeleton.positions - given, axis=-1) * MM_PER_UNIT[sequence.unit]
    return {"median_mm": float(np.nanmedian(distance_mm)), "max_mm": float(np.nanmax(distance_mm))}
