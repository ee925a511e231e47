"""Colors of clothes, skin, faces and objects, BGR in 0..1, float32.

A material maps positions on a solid to colors. Front and back of a person differ (face, neckline, shirt front, belt
buckle), left and right do not, as with real clothes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lib.dataset.synthetic.person import Wardrobe


@dataclass(frozen=True)
class Patch:
    """Points on one solid, N each, float32."""

    side: np.ndarray  # position relative to the start of the solid, mm; side is to the left for trunk and head
    along: np.ndarray  # position relative to the start of the solid, mm; side is to the left for trunk and head
    front: np.ndarray  # position relative to the start of the solid, mm; side is to the left for trunk and head
    length: float  # length of the solid's axis, mm

    @property
    def share(self) -> np.ndarray:
        """Position along the axis, 0 at the start and 1 at the end."""
        return self.along / self.length

    @property
    def angle(self) -> np.ndarray:
        """Angle around the axis, rad, 0 at the front."""
        return np.arctan2(self.side, self.front)


Material = Callable[[Patch], np.ndarray]


def _make_noise(size: int = 256) -> np.ndarray:
    """Make a tileable table of soft noise with mean 0 and deviation 1, equal in every process."""
    spectrum = np.fft.rfft2(np.random.default_rng(12345).normal(size=(size, size)))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    table = np.fft.irfft2(spectrum / (0.015 + frequency), (size, size))
    return (table / table.std()).astype(np.float32)


NOISE = _make_noise()


def noise_at(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Look up noise at real coordinates in table cells."""
    return NOISE[u.astype(np.int32) & 255, v.astype(np.int32) & 255]


def _where(condition: np.ndarray, yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    """Choose colors (N, 3) by a condition (N,)."""
    return np.where(condition[:, None], np.asarray(yes, np.float32), no)


def _plain(color: np.ndarray, grain: float = 0.04) -> Material:
    """A color with a little soft noise."""
    color = np.asarray(color, np.float32)

    def paint(patch: Patch) -> np.ndarray:
        noise = noise_at(patch.along * 0.35, (patch.side - patch.front) * 0.35)
        return color * (1 + np.float32(grain) * noise)[:, None]

    return paint


PATTERNS: dict[str, Callable[[Patch], np.ndarray]] = {  # share of the second color, 0..1, at each point
    "plain": lambda patch: np.zeros_like(patch.along),
    "stripes": lambda patch: 0.65 * (np.sin(patch.angle * 14) > 0.55),
    "bands": lambda patch: 0.8 * (np.sin(patch.along * 0.075) > 0.35),
    "checks": lambda patch: 0.35 * (np.sin(patch.along * 0.11) > 0) + 0.35 * (np.sin(patch.angle * 12) > 0),
    "mottled": lambda patch: np.clip(0.4 * noise_at(patch.along * 0.5, patch.angle * 60), 0, 0.7),
}

FRONTS: dict[str, Callable[[Patch], np.ndarray]] = {  # share of the second color on the front of the chest
    "print": lambda patch: (np.abs(patch.side) < 72) & (np.abs(patch.share - 0.62) < 0.42),
    "jacket": lambda patch: np.abs(patch.side) < 52,
    "buttons": lambda patch: np.abs(patch.side) < 17,
    "logo": lambda patch: (patch.side**2 + (patch.along - 0.7 * patch.length) ** 2) < 62**2,
    "vest": lambda patch: np.abs(patch.side) < 105,
}
_OPEN_FRONTS = ("jacket", "buttons", "vest")  # these go down to the hips


def _shirt(wear: Wardrobe, part: str) -> Material:
    """Pattern, front on chest and waist, neckline of skin, yoke across the upper back."""
    base, second = wear.shirt.astype(np.float32), wear.shirt_second.astype(np.float32)
    pattern, front = PATTERNS[wear.shirt_pattern], FRONTS[wear.shirt_front]

    def paint(patch: Patch) -> np.ndarray:
        share = pattern(patch).astype(np.float32)[:, None]
        color = base + (second - base) * share
        ahead = patch.front > 0
        if part == "chest" or (part == "waist" and wear.shirt_front in _OPEN_FRONTS):
            color = _where(ahead & front(patch), second, color)
        if part == "chest":
            neckline = ahead & (np.abs(patch.side) < 0.62 * (patch.along - 0.80 * patch.length))
            color = _where(neckline, wear.skin, color)
            color = _where(~ahead & (patch.share > 0.82), 0.72 * base, color)
        fold = noise_at(patch.along * 0.22 + 90, patch.side * 0.3)
        return color * (1 + 0.06 * fold)[:, None]

    return paint


def _sleeve(wear: Wardrobe, part: str, ends: float, cloth: Material) -> Material:
    """Cloth up to the end of the sleeve or trouser leg, then skin; `ends` counts bones from the trunk."""
    limit = ends - (1.0 if part in ("forearm", "shin", "calf") else 0.0)
    skin = _plain(wear.skin, 0.03)

    def paint(patch: Patch) -> np.ndarray:
        if limit >= 1.0:
            return cloth(patch)
        if limit <= 0.0:
            return skin(patch)
        return _where(patch.share < limit, cloth(patch), skin(patch))

    return paint


def _trousers(wear: Wardrobe, part: str) -> Material:
    """Denim-like cloth; on the pelvis a belt with a buckle in front and pockets behind."""
    cloth = _plain(wear.trousers, 0.07)
    if part != "pelvis":
        return cloth
    belt, buckle = np.array([0.10, 0.13, 0.17], np.float32), np.array([0.75, 0.85, 0.88], np.float32)

    def paint(patch: Patch) -> np.ndarray:
        # The pelvis lies across: its axis is sideways, "side" runs up and down.
        up = -patch.side
        across = patch.along - 0.5 * patch.length
        color = _where(np.abs(up - 62) < 17, belt, cloth(patch))
        color = _where((patch.front > 0) & (np.abs(up - 62) < 20) & (np.abs(across) < 26), buckle, color)
        pocket = (patch.front < 0) & (np.abs(np.abs(across) - 60) < 34) & (np.abs(up + 5) < 32)
        return _where(pocket, 0.78 * wear.trousers, color)

    return paint


def _head(wear: Wardrobe) -> Material:
    """A face in front, hair on top and behind."""
    skin, hair = wear.skin.astype(np.float32), wear.hair.astype(np.float32)
    lips = skin * np.array([0.62, 0.55, 0.80], np.float32)
    dark, white = np.array([0.08, 0.08, 0.10], np.float32), np.array([0.9, 0.9, 0.92], np.float32)

    def paint(patch: Patch) -> np.ndarray:
        side = np.abs(patch.side)  # mm from the middle of the skull
        up = patch.along - 18
        front = patch.front
        color = np.broadcast_to(skin, (len(up), 3))
        color = _where((up > 1) & (up < 16) & (np.abs(side - 31) < 14) & (front > 0), white, color)
        color = _where((np.abs(up - 8) < 8) & (np.abs(side - 31) < 7) & (front > 0), dark, color)
        color = _where((np.abs(up - 27) < 4) & (np.abs(side - 32) < 18) & (front > 0), 0.8 * hair, color)
        color = _where((np.abs(up + 52) < 7) & (side < 26) & (front > 0), lips, color)
        hairy = (front < -12 + 0.75 * (up - 5)) | (up > 62 - 0.004 * side**2)
        strands = 1 + 0.14 * noise_at(patch.angle * 30, patch.along * 0.15)
        return _where(hairy, hair * strands[:, None], color * (1 + 0.02 * strands[:, None]))

    return paint


_THINGS = {
    "cup": _plain([0.25, 0.35, 0.85], 0.02),
    "phone": _plain([0.09, 0.09, 0.10], 0.05),
    "paper": _plain([0.88, 0.90, 0.90], 0.02),
    "bag": _plain([0.30, 0.62, 0.78], 0.08),
    "fur": _plain([0.22, 0.36, 0.55], 0.20),
    "leaf": _plain([0.20, 0.45, 0.22], 0.25),
    "pot": _plain([0.25, 0.38, 0.62], 0.06),
    "pole": _plain([0.30, 0.30, 0.31], 0.04),
}


def body_materials(wear: Wardrobe) -> dict[str, Material]:
    """Return name -> material of all body parts and objects."""
    shirt, trousers = _shirt(wear, "sleeve"), _trousers(wear, "leg")
    materials = {**_THINGS, "pelvis": _trousers(wear, "pelvis"), "head": _head(wear), "hair": _plain(wear.hair, 0.15)}
    materials.update({part: _shirt(wear, part) for part in ("waist", "chest", "yoke")})
    materials.update({part: _plain(wear.skin, 0.03) for part in ("neck", "nose", "ear", "hand")})
    materials.update({part: _sleeve(wear, part, wear.sleeve, shirt) for part in ("upper arm", "forearm")})
    materials.update({part: _sleeve(wear, part, wear.trouser_leg, trousers) for part in ("thigh", "shin", "calf")})
    materials["shoe"] = _plain(wear.shoes, 0.05)
    return materials
