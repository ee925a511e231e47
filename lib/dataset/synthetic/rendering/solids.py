"""Bodies and props as round cones, the hulls of two balls each.

`depth` scales a round cone along its front axis, `cap` along its main axis, so limbs, trunk, skull and shoes have the
same primitive. All positions are in the world frame, mm.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.dataset.synthetic.motion.curves import apply, unit
from lib.dataset.synthetic.motion.kinematics import Pose
from lib.dataset.synthetic.person import SyntheticPerson

SIDES = ("r", "l")
_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Solids:
    """P round cones."""

    start: np.ndarray  # (P, 3) centers of the two balls
    end: np.ndarray  # (P, 3) centers of the two balls
    front: np.ndarray  # (P, 3) front direction, not necessarily perpendicular to the axis
    radii: np.ndarray  # (P, 2) sideways radius at start and end, mm
    depth: np.ndarray  # (P,) front radius / sideways radius
    cap: np.ndarray  # (P,) height of the caps / sideways radius
    material: tuple[str, ...]  # P names of materials

    def __len__(self) -> int:
        return len(self.material)

    def axes(self) -> np.ndarray:
        """Return unit rows (side, axis, front) of every part, (P, 3, 3)."""
        along = unit(self.end - self.start)
        front = unit(self.front - (self.front * along).sum(-1, keepdims=True) * along)
        return np.stack([np.cross(along, front), along, front], 1)


def join(first: Solids, second: Solids | None) -> Solids:
    """Concatenate two sets of solids."""
    if second is None:
        return first
    arrays = (
        np.concatenate([getattr(first, name), getattr(second, name)])
        for name in ("start", "end", "front", "radii", "depth", "cap")
    )
    return Solids(*arrays, material=first.material + second.material)


class SolidsBuilder:
    """Collects round cones one by one."""

    def __init__(self) -> None:
        self._rows: list[tuple] = []

    def add(
        self,
        material: str,
        start: np.ndarray,
        end: np.ndarray,
        radii: tuple[float, float],
        front: np.ndarray,
        depth: float = 1.0,
        cap: float = 1.0,
    ) -> None:
        """Add a round cone; see Solids."""
        self._rows.append((start, end, front, radii, depth, cap, material))

    def build(self) -> Solids:
        """Return all round cones."""
        columns = list(zip(*self._rows, strict=True))
        return Solids(*(np.asarray(column, float) for column in columns[:-1]), material=columns[-1])


def body_solids(pose: Pose, frame: int, person: SyntheticPerson) -> Solids:
    """Return about 30 solids of one frame of a pose; every joint lies inside the solids of its limbs."""
    builder = SolidsBuilder()
    _add_trunk(builder, pose, frame, person)
    _add_head(builder, pose, frame, person)
    for side in range(2):
        _add_leg(builder, pose, frame, side, person)
        _add_arm(builder, pose, frame, side, person)
    return builder.build()


def _add_trunk(builder: SolidsBuilder, pose: Pose, frame: int, person: SyntheticPerson) -> None:
    girth = person.shape.girth
    joint = {name: pose.joint(name)[frame] for name in ("root", "belly", "neck", "rhip", "lhip", "rsho", "lsho")}
    pelvis, chest = pose.pelvis[frame], pose.chest[frame]
    front, up = pelvis[:, 0], pelvis[:, 2]
    half = 0.5 * (joint["lhip"] - joint["rhip"])
    pelvis_radii = (110 * girth,) * 2
    builder.add("pelvis", joint["root"] - 0.6 * half, joint["root"] + 0.6 * half, pelvis_radii, front, 0.98, 0.85)
    waist_radii = (157 * girth, 138 * girth)
    builder.add("waist", joint["root"] + 62 * up, joint["belly"] + 20 * up, waist_radii, front, 0.74, 0.4)
    bottom = joint["belly"] + 5 * chest[:, 2]
    top = joint["neck"] - 105 * chest[:, 2] - 12 * chest[:, 0]
    builder.add("chest", bottom, top, (138 * girth, 156 * girth**0.5), chest[:, 0], 0.70 * girth**0.3, 0.55)
    inward = 0.12 * (joint["lsho"] - joint["rsho"])
    builder.add("yoke", joint["rsho"] + inward, joint["lsho"] - inward, (58 * girth,) * 2, chest[:, 0], depth=1.05)


def _add_head(builder: SolidsBuilder, pose: Pose, frame: int, person: SyntheticPerson) -> None:
    shape = person.shape
    head = pose.head[frame]
    neck = pose.joint("neck")[frame]
    front = head[:, 0]
    up = head[:, 2]
    skull = neck + apply(head, shape.skull)
    builder.add("neck", neck - 10 * pose.chest[frame][:, 2], skull - 60 * up, (62, 55), front)
    builder.add("head", skull - 18 * up, skull + 28 * up, (70, 79), front, depth=1.17, cap=1.06)
    builder.add("nose", skull + 88 * front - 8 * up, skull + 91 * front - 22 * up, (9, 13), front)
    for sign in (-1.0, 1.0):
        ear = skull - 8 * front - 12 * up + sign * 76 * head[:, 1]
        builder.add("ear", ear - 14 * up, ear + 14 * up, (11, 15), front)
    if person.wardrobe.long_hair:
        builder.add("hair", skull - 40 * front + 20 * up, skull - 72 * front - 130 * up, (74, 62), front, depth=0.6)


def _add_leg(builder: SolidsBuilder, pose: Pose, frame: int, side: int, person: SyntheticPerson) -> None:
    girth = person.shape.girth
    shape = person.shape
    hip, knee, ankle = (pose.joint(SIDES[side] + part)[frame] for part in ("hip", "kne", "ank"))
    foot = pose.feet[frame, side]
    ahead = unit(knee - 0.5 * (hip + ankle)) + 0.25 * pose.pelvis[frame][:, 0]
    inward = 0.16 * (pose.joint("root")[frame] - hip)
    builder.add("thigh", hip + inward + 10 * unit(knee - hip), knee, (79 * girth, 57 * girth**0.7), ahead)
    calf = knee + 0.28 * (ankle - knee)
    builder.add("shin", knee, ankle, (53 * girth**0.7, 38), ahead)
    builder.add("calf", calf - 12 * ahead, calf + 0.3 * (ankle - knee) - 6 * ahead, (50 * girth**0.7, 41), ahead)
    front, up = foot[:, 0], foot[:, 2]
    sole = ankle - (shape.ankle_height - 36) * up
    builder.add("shoe", sole - 42 * front, sole + (shape.foot - 38) * front - 6 * up, (41, 38), up, depth=0.85)
    builder.add("shoe", sole - 25 * front + 10 * up, ankle + 8 * up, (41, 40), front)


def _add_arm(builder: SolidsBuilder, pose: Pose, frame: int, side: int, person: SyntheticPerson) -> None:
    girth = person.shape.girth
    shoulder, elbow, wrist = (pose.joint(SIDES[side] + part)[frame] for part in ("sho", "elb", "wri"))
    back = elbow - 0.5 * (shoulder + wrist) + 0.05 * (shoulder - pose.joint("neck")[frame])
    finger = pose.hands[frame, side]
    builder.add("upper arm", shoulder, elbow, (56 * girth, 42 * girth**0.6), -back)
    builder.add("forearm", elbow, wrist, (43 * girth**0.6, 29), -back)
    palm = np.cross(finger, pose.chest[frame][:, 2]) + 0.3 * pose.chest[frame][:, 1]
    builder.add("hand", wrist + 8 * finger, wrist + 0.62 * person.shape.hand * finger, (31, 36), palm, depth=0.6)
    thumb = unit(pose.chest[frame][:, 2] + 0.6 * pose.chest[frame][:, 0])
    builder.add("hand", wrist + 18 * finger, wrist + 45 * finger + 40 * thumb, (15, 12), palm)


def prop_solids(pose: Pose, frame: int, props: Sequence[tuple[str, int]]) -> Solids | None:
    """Return the solids of (name, side) props in one frame of a pose, None without props."""
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
