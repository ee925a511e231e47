"""Motion of feet and pelvis: walk along a path, stand with steps, sit.

Each function fills root, yaw, ankles, foot_yaw and foot_pitch of the controls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.dataset.synthetic.motion.curves import Timeline, lerp, rotation, smoothstep, wobble
from lib.dataset.synthetic.motion.kinematics import Controls
from lib.dataset.synthetic.person import SIDE_SIGN, BodyShape

MOTION_LENGTH_S = 200.0  # length of the timelines; any part of them can be rendered
FREE_RADIUS_MM = 1250.0  # largest distance of people from the center of the room
STANCE_SHARE = 0.60  # share of a stride in which a foot is on the floor
FOOT_HALF_GAP_MM = 85.0  # distance of each foot from the path


@dataclass(frozen=True)
class Seat:
    """Chair: position of the pelvis on the floor (2,) mm, heading in rad, height of the seat in mm."""

    position: np.ndarray
    yaw: float
    height: float


@dataclass(frozen=True)
class Walk:
    """Closed path at constant speed."""

    points: np.ndarray  # (K, 2) evenly spaced points of the loop, mm
    speed: float  # mm/s
    stride: float  # length of two steps, mm

    @classmethod
    def random(cls, rng: np.random.Generator, shape: BodyShape, num_points: int = 400) -> Walk:
        """Draw a rounded loop within the free area, in either direction."""
        angle = np.linspace(0, 2 * np.pi, 4 * num_points, endpoint=False)
        radii = FREE_RADIUS_MM * rng.uniform(0.62, 0.82, 2)
        wave = 1 + 0.13 * np.sin(2 * angle + rng.uniform(0, 6.3)) + 0.05 * np.sin(3 * angle + rng.uniform(0, 6.3))
        loop = wave[:, None] * np.stack([radii[0] * np.cos(angle), radii[1] * np.sin(angle)], -1)
        loop = loop @ rotation("z", rng.uniform(0, 6.3))[:2, :2].T + rng.uniform(-150, 150, 2)
        loop = np.roll(loop[:: rng.choice([-1, 1])], rng.integers(len(loop)), 0)
        closed = np.concatenate([loop, loop[:1]])
        arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
        even = np.linspace(0, arc[-1], num_points, endpoint=False)
        points = np.stack([np.interp(even, arc, closed[:, i]) for i in range(2)], -1)
        return cls(points, rng.uniform(900, 1250), 1.45 * shape.leg * rng.uniform(0.92, 1.08))

    @property
    def length(self) -> float:
        """Length of the loop, mm."""
        return float(np.linalg.norm(np.diff(self.points, axis=0, append=self.points[:1]), axis=1).sum())

    def at(self, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return positions (..., 2) and continuous headings (...) after walking `distance` mm."""
        index = np.asarray(distance) / self.length * len(self.points)
        low = np.floor(index).astype(int)
        step = np.diff(self.points, axis=0, append=self.points[:1])
        turns = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
        winding = 2 * np.pi * np.round((turns[-1] - turns[0]) / (2 * np.pi))
        part = (index - low)[..., None]

        def corner(i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return self.points[i % len(self.points)], turns[i % len(turns)] + winding * (i // len(turns))

        (start, start_turn), (end, end_turn) = corner(low), corner(low + 1)
        return lerp(start, end, part), start_turn + (end_turn - start_turn) * part[..., 0]


def walk(controls: Controls, times: np.ndarray, path: Walk, shape: BodyShape) -> np.ndarray:
    """Walk along a path; feet are fixed while on the floor, then swing to the next footprint.

    Returns:
        (F,) phase of the left foot's stride, rad, for the swing of the arms.
    """
    distance = path.speed * times
    position, yaw = path.at(distance)
    for side in range(2):
        _swing_foot(controls, side, distance, path, shape)
    phase = 2 * np.pi * distance / path.stride
    aside = np.stack([-np.sin(yaw), np.cos(yaw)], -1) * (18.0 * np.cos(phase - 1.9))[:, None]
    controls.root[:, :2] = position + aside
    controls.root[:, 2] = shape.stand_height - 12.0 + 14.0 * np.cos(2 * (phase - 1.9))
    controls.yaw[:] = yaw
    controls.pelvis_tilt[:] = np.stack([0.05 * np.sin(phase), np.full_like(yaw, 0.04), -0.10 * np.cos(phase)], -1)
    controls.spine[:, 1] += 0.05
    controls.spine[:, 2] += 0.20 * np.cos(phase)
    return phase


def _swing_foot(controls: Controls, side: int, distance: np.ndarray, path: Walk, shape: BodyShape) -> None:
    """Fill the controls of one foot."""
    offset = (0.5, 0.0)[side]
    strides = distance / path.stride + offset
    step = np.floor(strides)
    part = strides - step
    swing = np.clip((part - STANCE_SHARE) / (1 - STANCE_SHARE), 0, 1)
    move = swing * swing * (3 - 2 * swing)  # slower at its fastest than `smoothstep`
    prints = [path.at((step + extra - offset + STANCE_SHARE / 2) * path.stride) for extra in (0, 1)]
    places = [
        point + SIDE_SIGN[side] * FOOT_HALF_GAP_MM * np.stack([-np.sin(turn), np.cos(turn)], -1)
        for point, turn in prints
    ]
    controls.ankles[:, side, :2] = lerp(places[0], places[1], move)
    controls.foot_yaw[:, side] = lerp(prints[0][1], prints[1][1], move) + SIDE_SIGN[side] * 0.12
    push = smoothstep((part - 0.38) / (STANCE_SHARE - 0.38)) * (1 - smoothstep(swing / 0.7))
    strike = np.sin(np.pi * np.clip((swing - 0.5) / 0.5, 0, 1)) ** 2
    controls.foot_pitch[:, side] = 0.75 * push - 0.25 * strike
    controls.ankles[:, side, 2] = (
        shape.ankle_height + 0.62 * shape.foot * np.sin(0.75 * push) + 70.0 * np.sin(np.pi * swing) ** 2
    )


def stand(
    controls: Controls,
    times: np.ndarray,
    shape: BodyShape,
    rng: np.random.Generator,
    *,
    place: np.ndarray | None = None,
    yaw: float | None = None,
    restless: float = 1.0,
    width: float = 115.0,
) -> Timeline:
    """Stand, shift the weight, and sometimes step to another place and heading.

    Args:
        controls: filled in place.
        times: (F,) s.
        shape: the body.
        rng: random generator.
        place: (2,) first place, mm; random by default.
        yaw: first heading; random by default.
        restless: scale of steps and turns; 0 stays.
        width: half the distance of the feet, mm.

    Returns:
        Timeline of the places; its changes are steps.
    """
    timeline = Timeline.random(rng, MOTION_LENGTH_S, (1.2, 3.2), (0.9, 1.3))
    bases, yaws = _random_stays(rng, timeline.num_states, place, yaw, restless)
    stagger = rng.normal(0, 45, (timeline.num_states, 2)) * min(restless, 1.0)
    spread = width * rng.uniform(0.8, 1.35, timeline.num_states)
    ahead = np.stack([np.cos(yaws), np.sin(yaws)], -1)
    left = np.stack([-ahead[:, 1], ahead[:, 0]], -1)
    for side in range(2):
        first = side == (rng.random() < 0.5)
        steps = Timeline(timeline.starts + (0 if first else 0.45) * timeline.durations, timeline.durations * 0.55)
        prints = bases + ahead * stagger[:, side, None] + left * (SIDE_SIGN[side] * spread)[:, None]
        controls.ankles[:, side, :2] = steps.blend(prints, times)
        phase = steps.phase(times)
        lift = np.sin(np.pi * (phase - np.floor(phase))) ** 2 * (restless > 0)
        controls.ankles[:, side, 2] = shape.ankle_height + 60.0 * lift
        controls.foot_pitch[:, side] = 0.3 * lift
        controls.foot_yaw[:, side] = steps.blend(yaws, times) + SIDE_SIGN[side] * 0.18
    lean = np.stack([wobble(rng, times, 22.0), wobble(rng, times, 40.0)], -1) * min(restless + 0.3, 1.0)
    sway = lean[:, :1] * timeline.blend(ahead, times) + lean[:, 1:] * timeline.blend(left, times)
    controls.root[:, :2] = controls.ankles[:, :, :2].mean(1) - 15.0 * timeline.blend(ahead, times) + sway
    controls.root[:, 2] = shape.stand_height
    controls.yaw[:] = timeline.blend(yaws, times) + wobble(rng, times, 0.10)
    controls.pelvis_tilt[:, 0] = -0.0012 * lean[:, 1]
    return timeline


def _random_stays(
    rng: np.random.Generator, count: int, place: np.ndarray | None, yaw: float | None, restless: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return a random walk of places (K, 2) within the free area, and of headings (K,)."""
    yaws = (rng.uniform(0, 2 * np.pi) if yaw is None else yaw) + np.cumsum(
        np.concatenate([[0.0], rng.normal(0, 0.7, count - 1)]) * restless
    )
    angle = rng.uniform(0, 2 * np.pi)
    radius = 0.8 * FREE_RADIUS_MM * np.sqrt(rng.random())
    bases = [np.array([np.cos(angle), np.sin(angle)]) * radius if place is None else np.asarray(place, float)]
    for _ in range(count - 1):
        step = rng.normal(0, 230, 2).clip(-420, 420) * restless
        target = bases[-1] + step
        outside = np.linalg.norm(target) > 0.85 * FREE_RADIUS_MM
        bases.append(bases[-1] - 0.6 * np.linalg.norm(step) * bases[-1] / FREE_RADIUS_MM if outside else target)
    return np.array(bases), yaws


def seated_feet(
    times: np.ndarray, shape: BodyShape, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Move the feet of a seated person: flat, stretched out, tucked under, apart, ankles crossed.

    Returns:
        (F, 2, 3) ankles relative to the floor below the pelvis, in its heading; (F, 2) pitch; (F, 2) knees out.
    """
    timeline = Timeline.random(rng, MOTION_LENGTH_S, (1.5, 4.0), (0.7, 1.2))
    thigh, gap, flat = shape.thigh, shape.hip_half, shape.ankle_height
    styles = np.array(
        [  # per style and side: forward, sideways (left of a left foot positive), up, pitch, knee out
            [[thigh + 10, gap, flat, 0, 0]] * 2,
            [[thigh + 250, gap * 0.8, flat + 15, -0.35, 0]] * 2,
            [[thigh - 130, gap, flat + 75, 0.6, 0.05]] * 2,
            [[thigh - 10, gap * 1.9, flat, 0, 0.5]] * 2,
            [[thigh + 200, -45, flat + 15, -0.3, 0.3], [thigh + 60, -45, flat + 10, -0.1, 0.3]],
            [[thigh + 230, gap, flat + 15, -0.3, 0], [thigh - 60, gap, flat + 30, 0.3, 0]],
        ]
    )
    chosen = styles[rng.integers(len(styles), size=timeline.num_states)]  # (K, 2, 5)
    mirrored = rng.random(timeline.num_states) < 0.5
    chosen[mirrored] = chosen[mirrored][:, ::-1]
    chosen[..., :2] += rng.normal(0, 18, (timeline.num_states, 2, 2))
    values = timeline.blend(chosen, times)  # (F, 2, 5)
    phase = timeline.phase(times)
    values[..., 2] += 50.0 * np.sin(np.pi * (phase - np.floor(phase)))[:, None] ** 2
    ankles = values[..., :3] * np.stack([np.ones(2), SIDE_SIGN, np.ones(2)], -1)
    return ankles, values[..., 3], values[..., 4]


def sit(controls: Controls, times: np.ndarray, shape: BodyShape, rng: np.random.Generator, seat: Seat) -> None:
    """Sit on a chair with small shifts."""
    local, pitch, knee_out = seated_feet(times, shape, rng)
    turn = rotation("z", seat.yaw)
    controls.root[:, :2] = seat.position + (turn[:2, :2] @ np.stack([wobble(rng, times, 15.0, 5.0)] * 2)).T * 0.5
    controls.root[:, 2] = seat.height + 98.0 * shape.girth
    controls.yaw[:] = seat.yaw + wobble(rng, times, 0.08, 5.0)
    controls.ankles[:] = local @ turn.T + np.append(seat.position, 0.0)
    controls.foot_yaw[:] = seat.yaw + SIDE_SIGN * 0.15
    controls.foot_pitch[:] = pitch
    controls.knee_out[:] = knee_out
    controls.pelvis_tilt[:, 1] = -0.18


def settle_root(controls: Controls, shape: BodyShape) -> None:
    """Lower the root so that both legs reach their ankles without moving the feet."""
    hips = (
        controls.root[:, None, :2]
        + np.stack([-np.sin(controls.yaw), np.cos(controls.yaw)], -1)[:, None] * (SIDE_SIGN * shape.hip_half)[:, None]
    )
    apart = np.linalg.norm(hips - controls.ankles[..., :2], axis=-1)  # (F, 2)
    reach = 0.993 * shape.leg
    highest = controls.ankles[..., 2] + np.sqrt(np.maximum(reach**2 - apart**2, 100.0**2))
    sharp = 1 / 12.0  # soft minimum over both legs and the wanted height, mm
    options = np.concatenate([highest, controls.root[:, 2:]], 1)
    least = options.min(1, keepdims=True)
    controls.root[:, 2] = least[:, 0] - np.log(np.exp(-(options - least) * sharp).sum(1)) / sharp
