"""The 15 actions of Human3.6M as procedural motion; the same seed gives the same motion at any frame rate."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lib.dataset.synthetic.motion.curves import lerp, smoothstep, wobble
from lib.dataset.synthetic.motion.gestures import perform
from lib.dataset.synthetic.motion.kinematics import Controls
from lib.dataset.synthetic.motion.locomotion import Walk, settle_root, stand, walk
from lib.dataset.synthetic.motion.posture import Act, Stage
from lib.dataset.synthetic.person import SIDE_SIGN, BodyShape


def _directions(stage: Stage) -> None:
    stage.stand()
    targets = ["point ahead", "point side", "point across", "point up", "point down"]
    stage.arms(stage.pairs(targets, ["hang", "on hip", "hang"]) + [("point side", "point ahead")], mirror=0.35)
    stage.controls.head[:, 2] += 0.25 * wobble(stage.rng, stage.times, 2.0, 4.0)


def _discussion(stage: Stage) -> None:
    stage.stand(restless=1.1)
    hands = ["explain", "explain wide", "explain high", "explain"]
    stage.arms([(a, b) for a in hands for b in (*hands, "hang", "on hip")] + [("fold high", "fold low")], mirror=0.5)


def _eating(stage: Stage) -> None:
    if stage.subaction == 1:
        stage.stand(restless=0.7)
    else:
        stage.sit()
    idle = ["before mouth", "explain"] if stage.subaction == 1 else ["on thigh", "on table", "before mouth"]
    stage.controls.spine[:, 1] += 0.08
    stage.props = (("cup", stage.hand),)
    stage.arms(stage.pairs(["to mouth", "before mouth", "to mouth", "on table"], idle))


def _greeting(stage: Stage) -> None:
    stage.stand(restless=1.1)
    bow, _ = stage.beats((1.5, 3.5), (0.7, 1.0))
    bow *= stage.subaction == 2
    stage.controls.spine[:, 1] += 0.65 * bow
    stage.controls.pelvis_tilt[:, 1] += 0.5 * bow
    stage.controls.root[:, :2] -= 90.0 * bow[:, None] * stage.ahead()
    stage.arms(stage.pairs(["wave", "wave", "shake", "salute"], ["hang", "hang", "behind"]) + [("wave", "wave")])
    swing = np.sin(2 * np.pi * 1.7 * stage.times)
    high = np.clip(stage.controls.wrists[..., 2] / 200.0 + 0.6, 0, 1)
    stage.controls.wrists[..., 1] += 70.0 * high * swing[:, None]


def _phoning(stage: Stage) -> None:
    if stage.subaction == 1:
        stage.stand(restless=1.4)
        idle = ["hang", "on hip", "explain", "fold low"]
    else:
        stage.sit()
        idle = ["on thigh", "explain", "on thigh", "on table"]
    stage.props = (("phone", stage.hand),)
    stage.controls.head[:, 0] += (0.16, -0.16)[stage.hand]
    stage.arms(stage.pairs(["to ear"], idle))


def _posing(stage: Stage) -> None:
    stage.stand(restless=0.9, width=190.0)
    pairs = [
        ("on hip", "on hip"),
        ("level", "level"),
        ("overhead", "overhead"),
        ("nape", "nape"),
        ("fold high", "fold low"),
        ("on hip", "nape"),
        ("overhead", "on hip"),
        ("level", "overhead"),
        ("behind", "behind"),
        ("point up", "on hip"),
        ("salute", "hang"),
    ]
    for column, size in enumerate((0.18, 0.12, 0.4)):
        stage.controls.spine[:, column] += wobble(stage.rng, stage.times, size, 4.0)
    stage.arms(pairs, hold=(1.2, 2.6), mirror=0.5)


def _purchases(stage: Stage) -> None:
    stage.stand(restless=1.2)
    low, timeline = stage.beats((0.8, 2.2), (0.8, 1.2))
    deep = timeline.blend(stage.rng.uniform(0.4, 1.0, timeline.num_states), stage.times)
    stage.crouch(low * deep, 330.0, 0.75)
    busy = ["shelf", "pick", "explain", "pick"]
    stage.props = (("bag", 1 - stage.hand),)
    stage.arms(stage.pairs(busy, ["carry"]))


def _sitting(stage: Stage) -> None:
    stage.sit()
    lean, timeline = stage.beats((1.5, 3.5), (0.8, 1.2))
    amount = timeline.blend(stage.rng.uniform(-0.10, 0.45, timeline.num_states), stage.times)
    stage.controls.spine[:, 1] += amount
    stage.controls.head[:, 1] -= 0.4 * amount + 0.05 * lean
    stage.arms(
        [
            ("on thigh", "on thigh"),
            ("on thigh", "explain"),
            ("fold low", "fold high"),
            ("on table", "on thigh"),
            ("together", "together"),
            ("nape", "on thigh"),
            ("on thigh", "to mouth"),
        ],
        mirror=0.5,
    )


def _sitting_down(stage: Stage) -> None:
    stage.controls.head[:, 1] += 0.08
    if stage.subaction == 1:
        _chair_up_and_down(stage)
    else:
        _floor_up_and_down(stage)


def _chair_up_and_down(stage: Stage) -> None:
    """Stand in front of a chair, sit down, stand up, with the feet planted."""
    seat = stage.take_seat()
    c = stage.controls
    ahead = np.array([np.cos(seat.yaw), np.sin(seat.yaw)])
    feet = seat.position + (stage.shape.thigh - 25.0) * ahead
    stand(c, stage.times, stage.shape, stage.rng, place=feet, yaw=seat.yaw, restless=0.0, width=145.0)
    down, timeline = stage.beats((0.7, 1.6), (1.2, 1.7))
    lean = 4.0 * down * (1 - down)
    low = np.append(seat.position, seat.height + 98.0 * stage.shape.girth)
    c.root[:, :2] = lerp(c.root[:, :2], low[:2], smoothstep(down * 1.15))
    c.root[:, 2] = lerp(c.root[:, 2], low[2], down)
    c.pelvis_tilt[:, 1] += 0.45 * lean - 0.15 * down
    c.spine[:, 1] += 0.55 * lean + 0.1 * down
    c.head[:, 1] -= 0.4 * lean
    settle_root(c, stage.shape)
    states = [(("on thigh", "on thigh"), ("hang", "hang"))[(k + 1) % 2] for k in range(timeline.num_states)]
    perform(c, stage.times, stage.shape, stage.rng, states, timeline)


def _floor_up_and_down(stage: Stage) -> None:
    """Sit down on the floor behind the feet and get up again."""
    c, shape = stage.controls, stage.shape
    stand(c, stage.times, shape, stage.rng, restless=0.0, width=150.0)
    down, timeline = stage.beats((1.0, 2.2), (1.9, 2.5))
    ahead = stage.ahead()
    lean = 4.0 * down * (1 - down)
    c.root[:, :2] -= ((0.85 * shape.thigh) * smoothstep(down * 1.1) + 60.0 * lean)[:, None] * ahead
    c.root[:, 2] = lerp(c.root[:, 2], 118.0 * shape.girth, down)
    stretch = timeline.blend(
        stage.rng.uniform(0, 1, timeline.num_states) * (np.arange(timeline.num_states) % 2), stage.times
    )
    for side in range(2):
        out = 300.0 * stretch * (1.0, 0.6)[side]
        c.ankles[:, side, :2] += out[:, None] * ahead
    c.pelvis_tilt[:, 1] += 0.55 * lean - 0.22 * down
    c.spine[:, 1] += 0.5 * lean + 0.25 * down
    c.knee_out[:] += 0.35 * smoothstep(down * 2)[:, None]
    settle_root(c, shape)
    seated = [("support", "support"), ("on thigh", "on thigh"), ("support", "on thigh"), ("on thigh", "explain")]
    choice = stage.rng.integers(len(seated), size=timeline.num_states)
    states = [seated[choice[k]] if k % 2 else ("hang", "hang") for k in range(timeline.num_states)]
    perform(c, stage.times, shape, stage.rng, states, timeline)


def _smoking(stage: Stage) -> None:
    if stage.subaction == 1:
        stage.stand(restless=0.8)
        idle = ["fold low", "hang", "on hip"]
    else:
        stage.sit()
        idle = ["on thigh", "on thigh", "fold low"]
    stage.props = (("cigarette", stage.hand),)
    stage.arms(stage.pairs(["to mouth", "before mouth", "explain wide", "to mouth"], idle), hold=(1.2, 2.8))


def _taking_photo(stage: Stage) -> None:
    stage.stand(restless=1.2, width=140.0)
    low, timeline = stage.beats((1.0, 2.6), (0.8, 1.3))
    depth = timeline.blend(stage.rng.uniform(0.3, 1.0, timeline.num_states), stage.times)
    stage.crouch(low * depth, 300.0 * (stage.subaction == 2), 0.5)
    stage.props = (("camera", 2),)
    stage.arms(
        [("camera", "camera"), ("camera high", "camera high"), ("camera", "camera"), ("together", "together")],
        hold=(1.5, 3.0),
    )


def _waiting(stage: Stage) -> None:
    if stage.subaction == 1:
        stage.stand(restless=1.2)
        pairs = [
            ("fold high", "fold low"),
            ("behind", "behind"),
            ("hang", "hang"),
            ("on hip", "hang"),
            ("watch", "hang"),
            ("on hip", "on hip"),
        ]
    else:
        stage.sit()
        pairs = [("on thigh", "on thigh"), ("watch", "on thigh"), ("fold high", "fold low"), ("together", "together")]
    stage.look_around(0.5)
    stage.arms(pairs, mirror=0.5)


def _walk_with(stage: Stage, pairs: list[tuple[str, str]], lively: float = 1.0) -> None:
    """Walk about; arms whose gesture is `swing` swing."""
    path = Walk.random(stage.rng, stage.shape)
    phase = walk(stage.controls, stage.times, path, stage.shape)
    stage.arms(pairs, hold=(2.5, 5.0))
    size = 0.30 * lively * stage.shape.arm * stage.rng.uniform(0.7, 1.2)
    free = np.array([all(pair[side] == "swing" for pair in pairs) for side in range(2)])
    swing = size * np.cos(phase)[:, None] * -SIDE_SIGN * np.where(free, 1.0, 0.15)
    stage.controls.wrists[..., 0] += swing
    stage.controls.wrists[..., 2] += 0.35 * np.maximum(swing, 0.0) ** 2 / stage.shape.arm * 2


def _walking(stage: Stage) -> None:
    _walk_with(stage, [("swing", "swing")], 1.0 if stage.subaction == 1 else 1.25)


def _walking_dog(stage: Stage) -> None:
    stage.props = (("dog", stage.hand),)
    stage.controls.spine[:, 1] += 0.08
    _walk_with(stage, stage.pairs(["leash", "leash", "point down"], ["swing"]))


def _walking_together(stage: Stage) -> None:
    stage.controls.head[:, 2] += (-0.45, 0.45)[stage.hand] + wobble(stage.rng, stage.times, 0.4, 3.0)
    _walk_with(stage, stage.pairs(["partner", "partner", "explain"], ["swing"]))


ACTIONS: dict[int, tuple[str, Callable[[Stage], None]]] = {
    2: ("Directions", _directions),
    3: ("Discussion", _discussion),
    4: ("Eating", _eating),
    5: ("Greeting", _greeting),
    6: ("Phoning", _phoning),
    7: ("Posing", _posing),
    8: ("Purchases", _purchases),
    9: ("Sitting", _sitting),
    10: ("SittingDown", _sitting_down),
    11: ("Smoking", _smoking),
    12: ("TakingPhoto", _taking_photo),
    13: ("Waiting", _waiting),
    14: ("Walking", _walking),
    15: ("WalkingDog", _walking_dog),
    16: ("WalkingTogether", _walking_together),
}


def perform_action(action: int, subaction: int, shape: BodyShape, rng: np.random.Generator, times: np.ndarray) -> Act:
    """Perform an action.

    Args:
        action: id of Human3.6M, 2..16.
        subaction: 1 or 2, two variants.
        shape: the body.
        rng: source of everything random; a fresh generator of the same seed gives the same motion.
        times: (F) s.

    Returns:
        The act; its frames depend on `times` only through the motion, so any frame rate shows the same motion.
    """
    stage = Stage(np.asarray(times, float), shape, rng, subaction, Controls.zeros(len(times)))
    ACTIONS[action][1](stage)
    return stage.finish()
