"""Building blocks of all actions: stand, sit, crouch, look around, move the arms."""

from dataclasses import dataclass, field

import numpy as np

from lib.dataset.synthetic.motion.curves import Timeline, wobble
from lib.dataset.synthetic.motion.gestures import perform, random_states
from lib.dataset.synthetic.motion.kinematics import Controls, Pose, solve_pose
from lib.dataset.synthetic.motion.locomotion import FREE_RADIUS_MM, MOTION_LENGTH_S, Seat, settle_root, sit, stand
from lib.dataset.synthetic.person import BodyShape


@dataclass(frozen=True)
class Act:
    """Motion with its chair and props."""

    pose: Pose  # poses of F frames
    seat: Seat | None = None  # the chair, if any
    props: tuple[tuple[str, int], ...] = ()  # (name, side) of objects held; side 0 right, 1 left, 2 both


@dataclass
class MotionBuilder:
    """Controls that an action fills in, with the moves that actions share."""

    times: np.ndarray  # (F,) s
    shape: BodyShape  # the body
    rng: np.random.Generator  # random generator of the whole motion
    subaction: int  # 1 or 2
    controls: Controls  # controls to fill in
    seat: Seat | None = None  # the chair, set by take_seat()
    props: tuple[tuple[str, int], ...] = ()  # (name, side) of objects held; side 0 right, 1 left, 2 both
    hand: int = field(init=False)  # the busy hand, 0 right or 1 left

    def __post_init__(self) -> None:
        self.hand = int(self.rng.integers(2))
        self.look_around()

    def look_around(self, amount: float = 0.35) -> None:
        """Add small motion of head and spine."""
        for column, size in enumerate((0.25, 0.35, 1.0)):
            self.controls.head[:, column] += wobble(self.rng, self.times, amount * size, 4.0)
            self.controls.spine[:, column] += wobble(self.rng, self.times, 0.08, 5.0)
        self.controls.head[:, 1] += 0.08

    def stand(self, **options: float) -> Timeline:
        """Stand at a random place."""
        return stand(self.controls, self.times, self.shape, self.rng, **options)

    def take_seat(self) -> Seat:
        """Put a chair at a random place."""
        angle = self.rng.uniform(0, 2 * np.pi)
        radius = 0.5 * FREE_RADIUS_MM * self.rng.random()
        place = radius * np.array([np.cos(angle), np.sin(angle)])
        height = self.shape.shin + self.shape.ankle_height - 85.0 * self.shape.girth + self.rng.uniform(-25, 15)
        self.seat = Seat(place, self.rng.uniform(0, 2 * np.pi), height)
        return self.seat

    def sit(self) -> None:
        """Sit on a chair."""
        sit(self.controls, self.times, self.shape, self.rng, self.take_seat())

    def pairs(self, busy: list[str], idle: list[str]) -> list[tuple[str, str]]:
        """Combine gestures of the busy and the idle hand as (right, left) pairs."""
        combined = [(b, i) for b in busy for i in idle]
        return combined if self.hand == 0 else [(i, b) for b, i in combined]

    def arms(
        self,
        pairs: list[tuple[str, str]],
        hold: tuple[float, float] = (0.9, 2.4),
        mirror: float = 0.0,
        change: tuple[float, float] = (0.5, 0.8),
    ) -> None:
        """Settle the legs, then move the arms through random pairs of gestures."""
        settle_root(self.controls, self.shape)
        states, timeline = random_states(self.rng, pairs, hold, change, mirror)
        perform(self.controls, self.times, self.shape, self.rng, states, timeline)

    def finish(self) -> Act:
        """Solve the pose."""
        return Act(solve_pose(self.controls, self.shape), self.seat, self.props)

    def beats(self, hold: tuple[float, float], change: tuple[float, float]) -> tuple[np.ndarray, Timeline]:
        """Return an on/off state (F,) in 0..1 that changes at random times, first off, and its timeline."""
        timeline = Timeline.random(self.rng, MOTION_LENGTH_S, hold, change)
        return timeline.blend(np.arange(timeline.num_states) % 2, self.times), timeline

    def crouch(self, amount: np.ndarray, depth_mm: float, lean: float) -> None:
        """Bend knees and hips by an amount (F,) in 0..1; the root moves back to keep the weight over the feet."""
        ahead = self.ahead()
        self.controls.root[:, 2] -= depth_mm * amount
        self.controls.root[:, :2] -= (0.36 * depth_mm * amount)[:, None] * ahead
        self.controls.pelvis_tilt[:, 1] += 0.6 * lean * amount
        self.controls.spine[:, 1] += 0.5 * lean * amount
        self.controls.head[:, 1] -= 0.5 * lean * amount
        self.controls.knee_out[:] += 0.25 * amount[:, None]

    def ahead(self) -> np.ndarray:
        """Return the heading as a direction on the floor, (F, 2)."""
        return np.stack([np.cos(self.controls.yaw), np.sin(self.controls.yaw)], -1)
