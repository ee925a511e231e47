"""The 15 actions of Human3.6M as procedural motion. Equal seeds give equal motion at any frame rate."""

from collections.abc import Callable

import numpy as np

from lib.dataset.synthetic.motion.curves import lerp, smoothstep, wobble
from lib.dataset.synthetic.motion.gestures import gesture_pairs, perform
from lib.dataset.synthetic.motion.kinematics import Controls
from lib.dataset.synthetic.motion.locomotion import Walk, settle_root, stand, walk
from lib.dataset.synthetic.motion.motion_builder import Act, MotionBuilder
from lib.dataset.synthetic.person import SIDE_SIGN, BodyShape


def _directions(motion: MotionBuilder) -> None:
    motion.stand()
    targets = ["point ahead", "point side", "point across", "point up", "point down"]
    motion.arms(motion.pairs(targets, ["hang", "on hip", "hang"]) + [("point side", "point ahead")], mirror=0.35)
    motion.controls.head[:, 2] += 0.25 * wobble(motion.rng, motion.times, 2.0, 4.0)


def _discussion(motion: MotionBuilder) -> None:
    motion.stand(restless=1.1)
    hands = ["explain", "explain wide", "explain high", "explain"]
    motion.arms([(a, b) for a in hands for b in (*hands, "hang", "on hip")] + [("fold high", "fold low")], mirror=0.5)


def _eating(motion: MotionBuilder) -> None:
    if motion.subaction == 1:
        motion.stand(restless=0.7)
    else:
        motion.sit()
    idle = ["before mouth", "explain"] if motion.subaction == 1 else ["on thigh", "on table", "before mouth"]
    motion.controls.spine[:, 1] += 0.08
    motion.props = (("cup", motion.hand),)
    motion.arms(motion.pairs(["to mouth", "before mouth", "to mouth", "on table"], idle))


def _greeting(motion: MotionBuilder) -> None:
    motion.stand(restless=1.1)
    bow, _ = motion.beats((1.5, 3.5), (0.7, 1.0))
    bow *= motion.subaction == 2
    motion.controls.spine[:, 1] += 0.65 * bow
    motion.controls.pelvis_tilt[:, 1] += 0.5 * bow
    motion.controls.root[:, :2] -= 90.0 * bow[:, None] * motion.ahead()
    motion.arms(motion.pairs(["wave", "wave", "shake", "salute"], ["hang", "hang", "behind"]) + [("wave", "wave")])
    swing = np.sin(2 * np.pi * 1.7 * motion.times)
    high = np.clip(motion.controls.wrists[..., 2] / 200.0 + 0.6, 0, 1)
    motion.controls.wrists[..., 1] += 70.0 * high * swing[:, None]


def _phoning(motion: MotionBuilder) -> None:
    if motion.subaction == 1:
        motion.stand(restless=1.4)
        idle = ["hang", "on hip", "explain", "fold low"]
    else:
        motion.sit()
        idle = ["on thigh", "explain", "on thigh", "on table"]
    motion.props = (("phone", motion.hand),)
    motion.controls.head[:, 0] += (0.16, -0.16)[motion.hand]
    motion.arms(motion.pairs(["to ear"], idle))


def _posing(motion: MotionBuilder) -> None:
    motion.stand(restless=0.9, width=190.0)
    pairs = gesture_pairs(
        "on hip/on hip, level/level, overhead/overhead, nape/nape, fold high/fold low, on hip/nape, overhead/on hip, "
        "level/overhead, behind/behind, point up/on hip, salute/hang"
    )
    for column, size in enumerate((0.18, 0.12, 0.4)):
        motion.controls.spine[:, column] += wobble(motion.rng, motion.times, size, 4.0)
    motion.arms(pairs, hold=(1.2, 2.6), mirror=0.5)


def _purchases(motion: MotionBuilder) -> None:
    motion.stand(restless=1.2)
    low, timeline = motion.beats((0.8, 2.2), (0.8, 1.2))
    deep = timeline.blend(motion.rng.uniform(0.4, 1.0, timeline.num_states), motion.times)
    motion.crouch(low * deep, 330.0, 0.75)
    busy = ["shelf", "pick", "explain", "pick"]
    motion.props = (("bag", 1 - motion.hand),)
    motion.arms(motion.pairs(busy, ["carry"]))


def _sitting(motion: MotionBuilder) -> None:
    motion.sit()
    lean, timeline = motion.beats((1.5, 3.5), (0.8, 1.2))
    amount = timeline.blend(motion.rng.uniform(-0.10, 0.45, timeline.num_states), motion.times)
    motion.controls.spine[:, 1] += amount
    motion.controls.head[:, 1] -= 0.4 * amount + 0.05 * lean
    pairs = gesture_pairs(
        "on thigh/on thigh, on thigh/explain, fold low/fold high, on table/on thigh, together/together, nape/on thigh, "
        "on thigh/to mouth"
    )
    motion.arms(pairs, mirror=0.5)


def _sitting_down(motion: MotionBuilder) -> None:
    motion.controls.head[:, 1] += 0.08
    if motion.subaction == 1:
        _chair_up_and_down(motion)
    else:
        _floor_up_and_down(motion)


def _chair_up_and_down(motion: MotionBuilder) -> None:
    """Stand in front of a chair, sit down, stand up, with the feet planted."""
    seat = motion.take_seat()
    c = motion.controls
    ahead = np.array([np.cos(seat.yaw), np.sin(seat.yaw)])
    feet = seat.position + (motion.shape.thigh - 25.0) * ahead
    stand(c, motion.times, motion.shape, motion.rng, place=feet, yaw=seat.yaw, restless=0.0, width=145.0)
    down, timeline = motion.beats((0.7, 1.6), (1.2, 1.7))
    lean = 4.0 * down * (1 - down)
    low = np.append(seat.position, seat.height + 98.0 * motion.shape.girth)
    c.root[:, :2] = lerp(c.root[:, :2], low[:2], smoothstep(down * 1.15))
    c.root[:, 2] = lerp(c.root[:, 2], low[2], down)
    c.pelvis_tilt[:, 1] += 0.45 * lean - 0.15 * down
    c.spine[:, 1] += 0.55 * lean + 0.1 * down
    c.head[:, 1] -= 0.4 * lean
    settle_root(c, motion.shape)
    states = [(("on thigh", "on thigh"), ("hang", "hang"))[(k + 1) % 2] for k in range(timeline.num_states)]
    perform(c, motion.times, motion.shape, motion.rng, states, timeline)


def _floor_up_and_down(motion: MotionBuilder) -> None:
    """Sit down on the floor behind the feet and get up again."""
    c, shape = motion.controls, motion.shape
    stand(c, motion.times, shape, motion.rng, restless=0.0, width=150.0)
    down, timeline = motion.beats((1.0, 2.2), (1.9, 2.5))
    ahead = motion.ahead()
    lean = 4.0 * down * (1 - down)
    c.root[:, :2] -= ((0.85 * shape.thigh) * smoothstep(down * 1.1) + 60.0 * lean)[:, None] * ahead
    c.root[:, 2] = lerp(c.root[:, 2], 118.0 * shape.girth, down)
    stretch = timeline.blend(
        motion.rng.uniform(0, 1, timeline.num_states) * (np.arange(timeline.num_states) % 2), motion.times
    )
    for side in range(2):
        out = 300.0 * stretch * (1.0, 0.6)[side]
        c.ankles[:, side, :2] += out[:, None] * ahead
    c.pelvis_tilt[:, 1] += 0.55 * lean - 0.22 * down
    c.spine[:, 1] += 0.5 * lean + 0.25 * down
    c.knee_out[:] += 0.35 * smoothstep(down * 2)[:, None]
    settle_root(c, shape)
    seated = gesture_pairs("support/support, on thigh/on thigh, support/on thigh, on thigh/explain")
    choice = motion.rng.integers(len(seated), size=timeline.num_states)
    states = [seated[choice[k]] if k % 2 else ("hang", "hang") for k in range(timeline.num_states)]
    perform(c, motion.times, shape, motion.rng, states, timeline)


def _smoking(motion: MotionBuilder) -> None:
    if motion.subaction == 1:
        motion.stand(restless=0.8)
        idle = ["fold low", "hang", "on hip"]
    else:
        motion.sit()
        idle = ["on thigh", "on thigh", "fold low"]
    motion.props = (("cigarette", motion.hand),)
    motion.arms(motion.pairs(["to mouth", "before mouth", "explain wide", "to mouth"], idle), hold=(1.2, 2.8))


def _taking_photo(motion: MotionBuilder) -> None:
    motion.stand(restless=1.2, width=140.0)
    low, timeline = motion.beats((1.0, 2.6), (0.8, 1.3))
    depth = timeline.blend(motion.rng.uniform(0.3, 1.0, timeline.num_states), motion.times)
    motion.crouch(low * depth, 300.0 * (motion.subaction == 2), 0.5)
    motion.props = (("camera", 2),)
    pairs = gesture_pairs("camera/camera, camera high/camera high, camera/camera, together/together")
    motion.arms(pairs, hold=(1.5, 3.0))


def _waiting(motion: MotionBuilder) -> None:
    if motion.subaction == 1:
        motion.stand(restless=1.2)
        pairs = "fold high/fold low, behind/behind, hang/hang, on hip/hang, watch/hang, on hip/on hip"
    else:
        motion.sit()
        pairs = "on thigh/on thigh, watch/on thigh, fold high/fold low, together/together"
    motion.look_around(0.5)
    motion.arms(gesture_pairs(pairs), mirror=0.5)


def _walk_with(motion: MotionBuilder, pairs: list[tuple[str, str]], lively: float = 1.0) -> None:
    """Walk around; arms with the gesture `swing` swing."""
    path = Walk.random(motion.rng, motion.shape)
    phase = walk(motion.controls, motion.times, path, motion.shape)
    motion.arms(pairs, hold=(2.5, 5.0))
    size = 0.30 * lively * motion.shape.arm * motion.rng.uniform(0.7, 1.2)
    free = np.array([all(pair[side] == "swing" for pair in pairs) for side in range(2)])
    swing = size * np.cos(phase)[:, None] * -SIDE_SIGN * np.where(free, 1.0, 0.15)
    motion.controls.wrists[..., 0] += swing
    motion.controls.wrists[..., 2] += 0.35 * np.maximum(swing, 0.0) ** 2 / motion.shape.arm * 2


def _walking(motion: MotionBuilder) -> None:
    _walk_with(motion, [("swing", "swing")], 1.0 if motion.subaction == 1 else 1.25)


def _walking_dog(motion: MotionBuilder) -> None:
    motion.props = (("dog", motion.hand),)
    motion.controls.spine[:, 1] += 0.08
    _walk_with(motion, motion.pairs(["leash", "leash", "point down"], ["swing"]))


def _walking_together(motion: MotionBuilder) -> None:
    motion.controls.head[:, 2] += (-0.45, 0.45)[motion.hand] + wobble(motion.rng, motion.times, 0.4, 3.0)
    _walk_with(motion, motion.pairs(["partner", "partner", "explain"], ["swing"]))


# id of Human3.6M -> function that fills the controls
ACTIONS: dict[int, Callable[[MotionBuilder], None]] = {
    2: _directions,
    3: _discussion,
    4: _eating,
    5: _greeting,
    6: _phoning,
    7: _posing,
    8: _purchases,
    9: _sitting,
    10: _sitting_down,
    11: _smoking,
    12: _taking_photo,
    13: _waiting,
    14: _walking,
    15: _walking_dog,
    16: _walking_together,
}


def perform_action(action: int, subaction: int, shape: BodyShape, rng: np.random.Generator, times: np.ndarray) -> Act:
    """Perform variant 1 or 2 of an action at (F,) times in s; the motion depends on the seed of `rng` alone."""
    motion = MotionBuilder(np.asarray(times, float), shape, rng, subaction, Controls.zeros(len(times)))
    ACTIONS[action](motion)
    return motion.finish()
