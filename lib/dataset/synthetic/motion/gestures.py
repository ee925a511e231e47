"""Gestures of the arms: named wrist targets and their change over time.

Targets are in the chest frame, mm from the neck, for the left hand (positive y is outward); the right hand mirrors
them. Landmarks such as the mouth move with the head.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lib.dataset.synthetic.motion.curves import Timeline, apply, unit, wobble
from lib.dataset.synthetic.motion.kinematics import MIRROR, Controls, left_shoulder, solve_legs, trunk_frames
from lib.dataset.synthetic.motion.locomotion import MOTION_LENGTH_S
from lib.dataset.synthetic.person import BodyShape

# Elbow directions are angles around the line shoulder -> wrist, relative to _ELBOW_REST carried along by the smallest
# rotation of the arm from _ARM_REST. This is smooth except opposite to _ARM_REST, behind the other shoulder.
_ARM_REST = unit(np.array([0.55, 0.6, -0.55]))
_ELBOW_REST = unit(np.cross(_ARM_REST, np.cross([-0.5, 0.3, -0.8], _ARM_REST)))
_ELBOW_SIDE = np.cross(_ARM_REST, _ELBOW_REST)


@dataclass(frozen=True)
class Landmarks:
    """Targets of hands in the chest frame of the left side (mirrored for the right), (F, 3) each."""

    mouth: np.ndarray
    ear: np.ndarray
    eyes: np.ndarray
    hip: np.ndarray
    thigh: np.ndarray
    floor_behind: np.ndarray


@dataclass(frozen=True)
class Gesture:
    """Wrist target, elbow direction and bend of the hand."""

    target: Callable[[BodyShape, Landmarks], np.ndarray]  # -> (3,) or (F, 3), chest frame of a left arm, mm
    pole: tuple[float, float, float]  # direction of the elbow
    bend: tuple[float, float, float] = (0.0, 0.0, 0.0)  # added to the forearm's direction for the hand
    liveliness: float = 12.0  # amplitude of small motion, mm
    detour: float = 0.0  # outward swing on the way from or to the target, arm lengths


def _reach(forward: float, out: float, up: float) -> Callable[[BodyShape, Landmarks], np.ndarray]:
    """Target relative to the shoulder, in arm lengths."""
    return lambda shape, marks: np.asarray(shape.shoulder) + shape.arm * np.array([forward, out, up])


def _near(mark: str, forward: float, out: float, up: float) -> Callable[[BodyShape, Landmarks], np.ndarray]:
    """Target relative to a landmark, mm."""
    return lambda shape, marks: getattr(marks, mark) + np.array([forward, out, up])


def _at(forward: float, out: float, up: float) -> Callable[[BodyShape, Landmarks], np.ndarray]:
    """Target relative to the neck: forward and out in mm of a mean body, up in trunk lengths."""
    return lambda shape, marks: np.array(
        [forward * shape.girth, out * shape.girth, up * (shape.belly_neck + shape.root_belly)]
    )


GESTURES: dict[str, Gesture] = {
    "hang": Gesture(_reach(0.08, 0.14, -0.95), (-1.0, 0.7, 0.0)),
    "swing": Gesture(_reach(0.10, 0.12, -0.94), (-1.0, 0.5, 0.0), liveliness=4.0),
    "on hip": Gesture(_near("hip", 20, 60, 75), (-0.6, 1.0, 0.1), (0.6, -0.6, -0.6), 5.0),
    "explain": Gesture(_reach(0.52, 0.08, -0.38), (-0.2, 0.6, -0.9), (0, 0, 0.3), 70.0),
    "explain wide": Gesture(_reach(0.45, 0.50, -0.22), (-0.3, 0.4, -0.9), (0, 0, 0.3), 60.0),
    "explain high": Gesture(_reach(0.50, 0.20, 0.02), (-0.1, 0.7, -0.8), (0, 0, 0.5), 60.0),
    "fold high": Gesture(_at(205, -75, -0.40), (0.1, 1.0, -0.45), (0, -0.4, 0.1), 4.0),
    "fold low": Gesture(_at(180, -55, -0.53), (0.1, 1.0, -0.45), (0, -0.4, 0.1), 4.0),
    "together": Gesture(_at(190, 45, -0.78), (-0.4, 1.0, -0.4), (0.2, -0.5, -0.2), 6.0),
    "behind": Gesture(_at(-175, 55, -0.80), (-0.3, 1.0, 0.2), (0, -0.7, -0.2), 4.0, detour=0.4),
    "to mouth": Gesture(_near("mouth", 85, 45, -65), (0.25, 0.75, -1.0), (-0.6, -0.4, 0.5), 8.0),
    "before mouth": Gesture(_near("mouth", 220, 60, -190), (0.1, 0.7, -1.0), (0, -0.2, 0.4), 25.0),
    "to ear": Gesture(_near("ear", 45, 45, -75), (0.25, 0.9, -1.0), (-0.3, -0.1, 0.8), 6.0),
    "camera": Gesture(_near("eyes", 130, 75, -60), (0.1, 0.9, -0.9), (0.1, -0.4, 0.7), 8.0),
    "camera high": Gesture(_near("eyes", 210, 75, 60), (0.1, 0.9, -0.7), (0.1, -0.4, 0.7), 8.0),
    "point ahead": Gesture(_reach(0.93, 0.05, 0.05), (-0.2, 0.7, -0.7), liveliness=30.0),
    "point side": Gesture(_reach(0.25, 0.90, 0.02), (-0.8, 0.0, -0.6), liveliness=30.0),
    "point across": Gesture(_reach(0.70, -0.45, 0.0), (0.2, 0.8, -0.8), liveliness=25.0),
    "point up": Gesture(_reach(0.45, 0.30, 0.76), (-0.3, 0.8, -0.3), liveliness=30.0),
    "point down": Gesture(_reach(0.62, 0.18, -0.66), (-0.7, 0.7, 0.0), liveliness=25.0),
    "overhead": Gesture(_reach(0.10, 0.18, 0.93), (-0.2, 1.0, 0.0), liveliness=20.0),
    "wave": Gesture(_reach(0.22, 0.42, 0.48), (-0.2, 0.8, -0.7), (0, 0, 0.6), 20.0),
    "shake": Gesture(_reach(0.72, -0.12, -0.40), (-0.4, 0.5, -0.8), liveliness=8.0),
    "salute": Gesture(_near("eyes", 25, 95, 15), (0.0, 1.0, -0.25), (-0.2, -0.9, 0.3), 4.0),
    "nape": Gesture(_near("ear", -75, 45, 25), (0.1, 1.0, 0.35), (-0.2, -0.9, 0.0), 5.0, detour=0.25),
    "level": Gesture(_reach(0.05, 0.97, 0.0), (-0.9, 0.0, -0.4), liveliness=15.0),
    "on thigh": Gesture(_near("thigh", -30, 20, 105), (-0.5, 0.9, -0.1), (0.4, 0, -0.5), 5.0),
    "on table": Gesture(_reach(0.60, -0.05, -0.52), (-0.4, 0.9, -0.5), (0, -0.3, 0.1), 25.0),
    "support": Gesture(_near("floor_behind", 0, 0, 0), (-1.0, 0.4, 0.0), (-0.5, 0.2, 0.0), 2.0, detour=0.3),
    "leash": Gesture(_reach(0.62, 0.12, -0.62), (-0.6, 0.6, -0.5), liveliness=40.0),
    "carry": Gesture(_reach(0.02, 0.20, -0.93), (-1.0, 0.6, 0.0), liveliness=6.0),
    "partner": Gesture(_reach(0.22, 0.45, -0.70), (-0.9, 0.4, -0.2), liveliness=18.0),
    "shelf": Gesture(_reach(0.82, 0.12, 0.18), (-0.1, 0.7, -0.8), liveliness=40.0),
    "pick": Gesture(_reach(0.66, 0.02, -0.70), (-0.5, 0.9, 0.0), liveliness=35.0),
    "watch": Gesture(_at(255, -10, -0.28), (0.0, 1.0, -0.4), (0, -0.6, 0.1), 6.0),
}


def gesture_pairs(text: str) -> list[tuple[str, str]]:
    """Parse (right, left) gestures from "right/left, right/left, ..."."""
    return [tuple(pair.split("/")) for pair in text.split(", ")]


def landmarks(controls: Controls, shape: BodyShape) -> list[Landmarks]:
    """Return the landmarks of the right and the left hand."""
    pelvis, belly_frame, chest, head = trunk_frames(controls)
    hips, knees, _ = solve_legs(controls, pelvis, shape)
    neck = controls.root + belly_frame[..., 2] * shape.root_belly + chest[..., 2] * shape.belly_neck
    floor = controls.root + apply(pelvis, [-330.0, 0.0, 0.0])
    floor[:, 2] = 75.0

    def to_chest(points: np.ndarray, mirror: np.ndarray) -> np.ndarray:
        return apply(chest.swapaxes(-1, -2), points - neck) * mirror

    def on_head(offset: Sequence[float], mirror: np.ndarray) -> np.ndarray:
        return to_chest(neck + apply(head, np.asarray(offset) * mirror), mirror)

    ear = shape.skull + np.array([-5.0, 78.0, -20.0])
    result = []
    for side, mirror in enumerate(MIRROR):
        aside = apply(pelvis, np.array([0.0, 300.0, 0.0]) * mirror)
        result.append(
            Landmarks(
                mouth=on_head(shape.mouth, mirror),
                ear=on_head(ear, mirror),
                eyes=on_head(np.array(shape.nose) + [0, 0, 20], mirror),
                hip=to_chest(hips[:, side], mirror),
                thigh=to_chest(0.4 * hips[:, side] + 0.6 * knees[:, side], mirror),
                floor_behind=to_chest(floor + aside, mirror),
            )
        )
    return result


def perform(
    controls: Controls,
    times: np.ndarray,
    shape: BodyShape,
    rng: np.random.Generator,
    states: Sequence[tuple[str, str]],
    timeline: Timeline,
) -> None:
    """Fill the arms with (right, left) gestures per state of a timeline, after legs, spine and head."""
    marks = landmarks(controls, shape)
    for side, mirror in enumerate(MIRROR):
        lag = Timeline(timeline.starts + 0.12 * side * timeline.durations, timeline.durations * 0.88)
        weights = lag.weights(times)  # (F, K)
        target, mix = _mix_gestures([pair[side] for pair in states], weights, shape, marks[side])
        motion = np.stack([wobble(rng, times, 1.0, 1.6) for _ in range(3)], -1)
        target = _clear_of_trunk(target + mix[:, 4:] * motion, shape)
        controls.wrists[:, side] = target * mirror
        controls.elbow_pole[:, side] = _elbow_direction(target, mix[:, 0], shape) * mirror
        controls.hand_bend[:, side] = mix[:, 1:4] * mirror


def _mix_gestures(
    names: Sequence[str], weights: np.ndarray, shape: BodyShape, marks: Landmarks
) -> tuple[np.ndarray, np.ndarray]:
    """Blend gestures by the weights (F, K) of the states.

    Long moves swing forward and outward; a straight line would pass through shoulder or trunk.

    Returns:
        (F, 3) wrist targets, and (F, 5) blended turn of the elbow, bend and liveliness.
    """
    target, mix = np.zeros((len(weights), 3)), np.zeros((len(weights), 5))
    square, detour = np.zeros(len(weights)), np.zeros(len(weights))
    for name in dict.fromkeys(names):
        gesture = GESTURES[name]
        share = weights[:, [n == name for n in names]].sum(1)
        place = np.broadcast_to(gesture.target(shape, marks), target.shape)
        target += share[:, None] * place
        square += share * (place**2).sum(1)
        detour += 4 * share * (1 - share) * gesture.detour * shape.arm
        mix[:, 0] += share * _elbow_turn(place, np.array(gesture.pole), shape)
        mix[:, 1:] += share[:, None] * np.array([*gesture.bend, gesture.liveliness])
    variance = np.maximum(square - (target**2).sum(1), 0.0)  # w (1-w) times the squared length of the move
    swing = variance[:, None] / shape.arm * np.array([0.5, 0.45, 0.0])
    swing[:, 1] += detour
    return target + swing, mix


def _elbow_axes(wrist: np.ndarray, shape: BodyShape) -> tuple[np.ndarray, np.ndarray]:
    """Return two directions (F, 3) perpendicular to the line shoulder -> wrist, carried along from the arm at rest."""
    arm = unit(wrist - left_shoulder(wrist, shape))
    middle = (_ARM_REST + arm) / np.maximum(1 + arm @ _ARM_REST, 1e-3)[:, None]
    first, second = (axis - (arm @ axis)[:, None] * middle for axis in (_ELBOW_REST, _ELBOW_SIDE))
    return first, second


def _elbow_turn(wrist: np.ndarray, pole: np.ndarray, shape: BodyShape) -> np.ndarray:
    """Return the elbow angle (F,) that points to `pole` when the wrist is at (F, 3)."""
    first, second = _elbow_axes(wrist, shape)
    return np.arctan2(second @ pole, first @ pole)


def _elbow_direction(wrist: np.ndarray, turn: np.ndarray, shape: BodyShape) -> np.ndarray:
    """Return the elbow direction (F, 3) of an angle (F,)."""
    first, second = _elbow_axes(wrist, shape)
    return np.cos(turn)[:, None] * first + np.sin(turn)[:, None] * second


def _clear_of_trunk(target: np.ndarray, shape: BodyShape) -> np.ndarray:
    """Push wrists (F, 3) out of an upright elliptic cylinder around the trunk."""
    half = np.array([145.0, 195.0]) * shape.girth
    ratio = np.linalg.norm(target[:, :2] / half, axis=-1)
    pushed = 0.5 * (ratio + 1 + np.sqrt((ratio - 1) ** 2 + 0.03))
    below = np.clip(-(target[:, 2] + 20.0) / 80.0, 0.0, 1.0)  # nothing to avoid above the shoulders
    factor = 1 + below * (pushed / np.maximum(ratio, 0.05) - 1)
    return np.concatenate([target[:, :2] * factor[:, None], target[:, 2:]], 1)


def random_states(
    rng: np.random.Generator,
    pairs: Sequence[tuple[str, str]],
    hold_s: tuple[float, float] = (0.9, 2.4),
    change_s: tuple[float, float] = (0.5, 0.8),
    mirror: float = 0.5,
) -> tuple[list[tuple[str, str]], Timeline]:
    """Draw a sequence of gesture pairs, each mirrored with probability `mirror`, and its timeline."""
    timeline = Timeline.random(rng, MOTION_LENGTH_S, hold_s, change_s)
    chosen = [pairs[i] for i in rng.integers(len(pairs), size=timeline.num_states)]
    swapped = rng.random(timeline.num_states) < mirror
    return [(b, a) if swap else (a, b) for (a, b), swap in zip(chosen, swapped, strict=True)], timeline
