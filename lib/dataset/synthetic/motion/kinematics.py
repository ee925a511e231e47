"""Kinematics: joints with constant bone lengths from controls of root, feet and hands.

World frame: z up, floor at z = 0, mm. Part frames: x forward, y left, z up. Sides are (right, left).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.dataset.synthetic.motion.curves import apply, rotation, smoothstep, unit
from lib.dataset.synthetic.person import SIDE_SIGN, BodyShape
from lib.utils.joints import H36M_17

MIRROR = np.array([[1.0, -1.0, 1.0], [1.0, 1.0, 1.0]])  # (right, left): left-side vectors -> own side
MIN_HINGE_DEG = 32.0  # smallest angle between the two bones of a folded knee or elbow
MAX_REACH = 0.998  # of the stretched limb: a little bend keeps the hinge direction defined


@dataclass
class Controls:
    """Controls of a motion over F frames; angles in rad, positions in mm."""

    root: np.ndarray  # (F, 3) pelvis position, world
    yaw: np.ndarray  # (F,) heading of the pelvis; 0 is along world x
    pelvis_tilt: np.ndarray  # (F, 3) roll, pitch (positive is forward) and extra yaw of the pelvis
    spine: np.ndarray  # (F, 3) roll, pitch and yaw of the chest relative to the pelvis
    head: np.ndarray  # (F, 3) roll, pitch and yaw of the head relative to the chest
    ankles: np.ndarray  # (F, 2, 3) world
    foot_yaw: np.ndarray  # (F, 2) world heading of the feet
    foot_pitch: np.ndarray  # (F, 2) positive lifts the heel
    knee_out: np.ndarray  # (F, 2) outward direction of the knees; 0 is straight ahead, 1 about 45 degrees
    wrists: np.ndarray  # (F, 2, 3) wrist targets in the chest frame, from the neck
    elbow_pole: np.ndarray  # (F, 2, 3) direction of the elbows, chest frame
    hand_bend: np.ndarray  # (F, 2, 3) direction of the hand minus that of the forearm, chest frame

    @classmethod
    def zeros(cls, num_frames: int) -> Controls:
        """Make controls of zeros for F frames."""
        triple = (num_frames, 3)
        pair = (num_frames, 2)
        both = (num_frames, 2, 3)
        shapes = (triple, num_frames, triple, triple, triple, both, pair, pair, pair, both, both, both)
        return cls(*(np.zeros(shape) for shape in shapes))


@dataclass(frozen=True)
class Pose:
    """Joints and part frames over F frames; the columns of a part frame are its forward, left and up axes."""

    joints: np.ndarray  # (F, 17, 3) in the order of H36M_17, world, mm
    pelvis: np.ndarray  # (F, 3, 3) part frames
    chest: np.ndarray  # (F, 3, 3) part frames
    head: np.ndarray  # (F, 3, 3) part frames
    feet: np.ndarray  # (F, 2, 3, 3) frames of the feet
    hands: np.ndarray  # (F, 2, 3) unit direction wrist -> finger tips
    thorax: np.ndarray  # (F, 3) joints of MPII alone
    upper_neck: np.ndarray  # (F, 3) joints of MPII alone
    head_top: np.ndarray  # (F, 3) joints of MPII alone

    def joint(self, name: str) -> np.ndarray:
        """Return one joint by its Human3.6M name, (F, 3)."""
        return self.joints[:, H36M_17.index(name)]


def two_bone(
    start: np.ndarray, target: np.ndarray, pole: np.ndarray, first: float, second: float
) -> tuple[np.ndarray, np.ndarray]:
    """Place the middle and end joint of a two-bone limb by inverse kinematics.

    Args:
        start: (..., 3) first joint.
        target: (..., 3) target of the end; moved into reach along the line from `start`.
        pole: (..., 3) direction of the hinge.
        first: length of the first bone, mm.
        second: length of the second bone, mm.

    Returns:
        (..., 3) middle joint and (..., 3) end joint.
    """
    reach = target - start
    folded = np.sqrt(first**2 + second**2 - 2 * first * second * np.cos(np.deg2rad(MIN_HINGE_DEG)))
    distance = _soft_clip(np.linalg.norm(reach, axis=-1, keepdims=True), folded, MAX_REACH * (first + second))
    direction = unit(reach)
    along = (distance**2 + first**2 - second**2) / (2 * distance)
    height = np.sqrt(np.maximum(first**2 - along**2, 0.0))
    hinge = unit(pole - (pole * direction).sum(-1, keepdims=True) * direction)
    return start + along * direction + height * hinge, start + distance * direction


def _soft_clip(value: np.ndarray, low: float, high: float, softness: float = 3.0) -> np.ndarray:
    """Clip smoothly (mm), so that a limb does not jerk at its end."""
    above = value - high
    value = high + 0.5 * (above - np.sqrt(above**2 + softness**2))
    below = value - low
    return low + 0.5 * (below + np.sqrt(below**2 + softness**2))


def _euler(angles: np.ndarray) -> np.ndarray:
    """Return rotations (..., 3, 3) of roll, pitch, yaw (..., 3); yaw is applied last."""
    return rotation("z", angles[..., 2]) @ rotation("y", angles[..., 1]) @ rotation("x", angles[..., 0])


def trunk_frames(controls: Controls) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the frames of pelvis, belly (half the spine's bend), chest and head, (F, 3, 3) each."""
    pelvis = rotation("z", controls.yaw) @ _euler(controls.pelvis_tilt)
    belly = pelvis @ _euler(0.5 * controls.spine)
    chest = pelvis @ _euler(controls.spine)
    return pelvis, belly, chest, chest @ _euler(controls.head)


def solve_legs(controls: Controls, pelvis: np.ndarray, shape: BodyShape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return hips, knees and ankles, (F, 2, 3) each."""
    offset = np.stack([np.zeros(2), SIDE_SIGN * shape.hip_half, np.zeros(2)], -1)  # (2, 3)
    hips = controls.root[:, None] + apply(pelvis[:, None], offset)
    heading = rotation("z", controls.yaw)[:, None]  # (F, 1, 3, 3)
    out = controls.knee_out
    pole = np.stack([np.ones_like(out), SIDE_SIGN * (0.06 + out), np.full_like(out, 0.45)], -1)
    knees, ankles = two_bone(hips, controls.ankles, apply(heading, pole), shape.thigh, shape.shin)
    return hips, knees, ankles


def left_shoulder(wrist: np.ndarray, shape: BodyShape) -> np.ndarray:
    """Return neck -> left shoulder (..., 3) for left wrists (..., 3), chest frame. It rises with the hand."""
    lift = smoothstep((wrist[..., 2] - shape.shoulder[2]) / shape.arm + 0.25)  # 0 hanging .. 1 overhead
    return apply(rotation("x", np.deg2rad(22.0) * lift), shape.shoulder)


def solve_pose(controls: Controls, shape: BodyShape) -> Pose:
    """Return the pose of F frames of controls; limbs stretch toward targets out of reach."""
    pelvis, belly_frame, chest, head = trunk_frames(controls)
    hips, knees, ankles = solve_legs(controls, pelvis, shape)
    belly = controls.root + belly_frame[..., 2] * shape.root_belly
    neck = belly + chest[..., 2] * shape.belly_neck
    offsets = left_shoulder(controls.wrists, shape) * MIRROR
    elbows, wrists = two_bone(offsets, controls.wrists, controls.elbow_pole, shape.upper_arm, shape.forearm)
    hands = unit(unit(wrists - elbows) + controls.hand_bend)
    sides = {"hip": hips, "kne": knees, "ank": ankles}
    for part, local in (("sho", offsets), ("elb", elbows), ("wri", wrists)):
        sides[part] = neck[:, None] + apply(chest[:, None], local)
    joints = np.empty((len(neck), len(H36M_17), 3))
    for part, points in sides.items():
        joints[:, H36M_17.indices([f"r{part}", f"l{part}"])] = points
    middle = (controls.root, belly, neck, neck + apply(head, shape.nose), neck + apply(head, shape.head_top))
    for name, points in zip(("root", "belly", "neck", "nose", "head"), middle, strict=True):
        joints[:, H36M_17.index(name)] = points
    return Pose(
        joints=joints,
        pelvis=pelvis,
        chest=chest,
        head=head,
        hands=apply(chest[:, None], hands),
        feet=rotation("z", controls.foot_yaw) @ rotation("y", controls.foot_pitch),
        thorax=neck - 0.1 * shape.belly_neck * chest[..., 2],
        upper_neck=neck + apply(head, [10.0, 0.0, 0.36 * shape.head_top[2]]),
        head_top=neck + apply(head, np.multiply(shape.head_top, 1.03)),
    )
