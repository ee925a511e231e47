"""Props that people hold, and the dog, as round cones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib.dataset.synthetic.motion.curves import unit
from lib.dataset.synthetic.motion.kinematics import Pose
from lib.dataset.synthetic.rendering.solids import SIDES, Solids, SolidsBuilder

_UP = np.array([0.0, 0.0, 1.0])


def prop_solids(pose: Pose, frame: int, props: Sequence[tuple[str, int]]) -> Solids | None:
    """Return the solids of all props of a frame, None without props.

    Args:
        pose: the motion.
        frame: index of the frame.
        props: (name, side) pairs; side 0 right, 1 left, 2 both hands.
    """
    if not props:
        return None
    builder = SolidsBuilder()
    for name, side in props:
        sides = (0, 1) if side == 2 else (side,)
        hands = [pose.joint(SIDES[one] + "wri")[frame] + 70.0 * pose.hands[frame, one] for one in sides]
        _MAKERS[name](builder, np.mean(hands, 0), pose, frame, min(side, 1))
    return builder.build()


def _cup(builder: SolidsBuilder, hand: np.ndarray, pose: Pose, frame: int, side: int) -> None:
    builder.add("cup", hand - 25 * _UP, hand + 55 * _UP, (30, 36), pose.head[frame][:, 0], cap=0.15)


def _phone(builder: SolidsBuilder, hand: np.ndarray, pose: Pose, frame: int, side: int) -> None:
    along = unit(pose.hands[frame, side] + 0.3 * _UP)
    builder.add("phone", hand - 35 * along, hand + 60 * along, (30, 30), pose.chest[frame][:, 1], depth=0.35, cap=0.5)


def _cigarette(builder: SolidsBuilder, hand: np.ndarray, pose: Pose, frame: int, side: int) -> None:
    along = unit(pose.chest[frame][:, 0] + 0.4 * pose.hands[frame, side])
    builder.add("paper", hand + 10 * along, hand + 85 * along, (6, 6), _UP)


def _camera(builder: SolidsBuilder, hand: np.ndarray, pose: Pose, frame: int, side: int) -> None:
    look, left = pose.head[frame][:, 0], pose.head[frame][:, 1]
    builder.add("phone", hand - 45 * left, hand + 45 * left, (42, 42), look, depth=0.6, cap=0.5)
    builder.add("phone", hand + 10 * look, hand + 75 * look, (34, 30), _UP, cap=0.2)


def _bag(builder: SolidsBuilder, hand: np.ndarray, pose: Pose, frame: int, side: int) -> None:
    bottom = hand - np.array([0, 0, min(360.0, max(hand[2] - 60.0, 150.0))])
    builder.add("paper", hand - 40 * _UP, hand - 130 * _UP, (8, 40), pose.pelvis[frame][:, 1], depth=0.3)
    builder.add("bag", hand - 150 * _UP, bottom, (105, 120), pose.pelvis[frame][:, 1], depth=0.45, cap=0.25)


def _dog(builder: SolidsBuilder, hand: np.ndarray, pose: Pose, frame: int, side: int) -> None:
    ahead = unit(pose.pelvis[frame][:, 0] * [1, 1, 0])
    left = np.array([-ahead[1], ahead[0], 0.0])
    place = pose.joint("root")[frame] * [1, 1, 0] + 820 * ahead + (-260, 260)[side] * left
    back = place - 190 * ahead + 330 * _UP
    chest = place + 150 * ahead + 340 * _UP
    builder.add("fur", back, chest, (85, 105), _UP)
    builder.add("fur", chest + 40 * ahead + 20 * _UP, chest + 200 * ahead + 170 * _UP, (75, 62), _UP)
    builder.add("fur", chest + 210 * ahead + 165 * _UP, chest + 310 * ahead + 140 * _UP, (55, 32), _UP)
    builder.add("fur", back - 40 * ahead, back - 220 * ahead + 120 * _UP, (28, 14), left)
    stride = 0.16 * np.sin(0.012 * (place @ ahead) + np.array([0, 2.6, 3.4, 0.8]))
    for leg, (base, sideways) in enumerate(((back, 1), (back, -1), (chest, 1), (chest, -1))):
        top = base + sideways * 55 * left - 30 * _UP
        builder.add("fur", top, top * [1, 1, 0] + 300 * stride[leg] * ahead + 28 * _UP, (46, 27), ahead)
    builder.add("paper", hand, chest + 90 * _UP, (6, 6), _UP)


_MAKERS = {"cup": _cup, "phone": _phone, "cigarette": _cigarette, "camera": _camera, "bag": _bag, "dog": _dog}
