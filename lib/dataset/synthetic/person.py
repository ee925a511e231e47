"""Synthetic people: bone lengths, build and clothes.

Lengths are in mm. Sides are ordered (right, left); SIDE_SIGN is their sign along the left axis (y).
"""

from dataclasses import dataclass

import numpy as np

SIDE_SIGN = np.array([-1.0, 1.0])
BODY_STREAM = 101  # random stream of the bodies


@dataclass(frozen=True)
class BodyShape:
    """Bone lengths and offsets of one person, mm; part frames have x forward, y left, z up."""

    hip_half: float  # root to each hip, sideways
    thigh: float
    shin: float
    ankle_height: float  # ankle joint above the floor when the foot stands flat
    foot: float  # ankle to toe tip, forward
    root_belly: float
    belly_neck: float
    shoulder: tuple[float, float, float]  # neck to the left shoulder in the chest frame
    upper_arm: float
    forearm: float
    hand: float
    nose: tuple[float, float, float]  # from the neck in the head frame
    head_top: tuple[float, float, float]  # "head" joint, from the neck in the head frame
    girth: float  # factor on all radii: slim below 1, heavy above

    @property
    def leg(self) -> float:
        """Length of the stretched leg, hip to ankle."""
        return self.thigh + self.shin

    @property
    def arm(self) -> float:
        """Length of the stretched arm, shoulder to wrist."""
        return self.upper_arm + self.forearm

    @property
    def skull(self) -> np.ndarray:
        """Center of the skull in the head frame, from the neck, (3,)."""
        return np.array([self.nose[0] - 80.0, 0.0, self.head_top[2] - 99.0])

    @property
    def mouth(self) -> np.ndarray:
        """Mouth in the head frame, from the neck, (3,)."""
        return np.array([self.nose[0], 0.0, self.nose[2] - 45.0])

    @property
    def stand_height(self) -> float:
        """Height of the root above the floor when standing with nearly stretched legs."""
        return self.ankle_height + 0.993 * self.leg


@dataclass(frozen=True)
class Wardrobe:
    """Clothes; colors are BGR in 0..1, pattern names are keys of materials.PATTERNS and materials.FRONTS."""

    skin: np.ndarray
    hair: np.ndarray
    shirt: np.ndarray
    shirt_second: np.ndarray
    shirt_pattern: str
    shirt_front: str
    trousers: np.ndarray
    shoes: np.ndarray
    sleeve: float  # end of the sleeve: 0 shoulder, 1 elbow, 2 wrist
    trouser_leg: float  # end of the trousers: 0 hip, 1 knee, 2 ankle
    long_hair: bool  # hair hangs down to the shoulders


@dataclass(frozen=True)
class SyntheticPerson:
    """Body and clothes."""

    shape: BodyShape
    wardrobe: Wardrobe


# stature / mean stature, legs / stature, girth
_SUBJECT_BUILD = {
    1: (0.95, 0.99, 0.92),
    5: (0.92, 1.00, 0.95),
    6: (1.02, 1.01, 1.14),
    7: (1.04, 0.98, 0.98),
    8: (1.05, 1.02, 1.06),
    9: (1.00, 1.00, 1.08),
    11: (0.98, 1.02, 0.97),
}


def make_shape(rng: np.random.Generator, stature: float, legs: float, girth: float) -> BodyShape:
    """Scale the mean adult's bones by factors on all lengths, the legs and all radii, with random variation."""
    names = ("hip", "thigh", "shin", "belly", "chest", "shoulder", "upper", "fore", "head")
    bone = dict(zip(names, stature * rng.normal(1.0, 0.02, 9).clip(0.96, 1.04), strict=True))
    return BodyShape(
        hip_half=132.0 * bone["hip"] * girth**0.3,
        thigh=442.0 * bone["thigh"] * legs,
        shin=440.0 * bone["shin"] * legs,
        ankle_height=88.0 * stature,
        foot=170.0 * bone["shin"],
        root_belly=232.0 * bone["belly"] / legs,
        belly_neck=256.0 * bone["chest"] / legs,
        shoulder=(-8.0, 158.0 * bone["shoulder"] * girth**0.3, -36.0),
        upper_arm=282.0 * bone["upper"],
        forearm=250.0 * bone["fore"],
        hand=95.0 * bone["fore"],
        nose=(88.0 * bone["head"], 0.0, 118.0 * bone["head"]),
        head_top=(18.0 * bone["head"], 0.0, 226.0 * bone["head"]),
        girth=girth,
    )


def _bgr(hue: float, saturation: float, value: float) -> np.ndarray:
    """Convert a hue in 0..1 with saturation and value to BGR."""
    wheel = np.clip(np.abs((hue * 6 + np.array([2.0, 4.0, 0.0])) % 6 - 3) - 1, 0, 1)  # blue, green, red
    return value * (1 - saturation * (1 - wheel))


_SKINS = np.array([[150, 180, 225], [130, 165, 215], [110, 145, 200], [85, 120, 175], [60, 90, 140]]) / 255.0
_HAIRS = np.array([[25, 28, 32], [30, 45, 70], [45, 80, 120], [95, 150, 195], [120, 120, 122], [30, 50, 110]]) / 255.0
_SHIRT_PATTERNS = ("plain", "plain", "stripes", "checks", "bands", "mottled")
_SHIRT_FRONTS = ("print", "jacket", "buttons", "logo", "vest")


def make_wardrobe(rng: np.random.Generator) -> Wardrobe:
    """Draw clothes. Shirt and trousers differ in brightness, front and back of the shirt in pattern."""
    dark_shirt = rng.random() < 0.5
    shirt_value, trouser_value = (0.42, 0.66) if dark_shirt else (0.85, 0.27)
    hue = rng.random()
    shirt = _bgr(hue, rng.uniform(0.25, 0.85), shirt_value * rng.uniform(0.85, 1.15))
    second = _bgr(hue + rng.uniform(0.3, 0.7), rng.uniform(0.1, 0.5), 0.92 if dark_shirt else 0.28)
    skin = _SKINS[rng.integers(len(_SKINS))] * rng.uniform(0.92, 1.08)
    return Wardrobe(
        skin=skin,
        hair=_HAIRS[rng.integers(len(_HAIRS))] * rng.uniform(0.8, 1.2),
        shirt=shirt,
        shirt_second=second,
        shirt_pattern=str(rng.choice(_SHIRT_PATTERNS)),
        shirt_front=str(rng.choice(_SHIRT_FRONTS)),
        trousers=_bgr(rng.choice([0.6, 0.63, 0.1, rng.random()]), rng.uniform(0.1, 0.55), trouser_value),
        shoes=_bgr(rng.random(), rng.uniform(0, 0.5), rng.choice([0.15, 0.9])),
        sleeve=float(rng.choice([0.6, 0.85, 2.0, 2.0])),
        trouser_leg=float(rng.choice([0.9, 2.0, 2.0, 2.0])),
        long_hair=bool(rng.random() < 0.3),
    )


def make_subject(subject: int, seed: int) -> SyntheticPerson:
    """Make a subject of the multi-view part; equal numbers and seeds give equal people."""
    rng = np.random.default_rng([seed, BODY_STREAM, subject])
    build = _SUBJECT_BUILD.get(subject) or (rng.uniform(0.91, 1.06), rng.uniform(0.97, 1.03), rng.uniform(0.9, 1.15))
    return SyntheticPerson(make_shape(rng, *build), make_wardrobe(rng))


def make_stranger(rng: np.random.Generator) -> SyntheticPerson:
    """Draw a person for a single image."""
    shape = make_shape(rng, rng.uniform(0.90, 1.07), rng.uniform(0.97, 1.03), rng.uniform(0.88, 1.18))
    return SyntheticPerson(shape, make_wardrobe(rng))
