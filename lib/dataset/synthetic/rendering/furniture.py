"""Furniture that hides people, made of boxes and round cones: chairs, tables, boards, shelves and plants."""

import itertools
import math
from dataclasses import dataclass, field

import cv2
import numpy as np

from lib.dataset.synthetic.motion.locomotion import Seat
from lib.dataset.synthetic.rendering.materials import noise_at
from lib.dataset.synthetic.rendering.raycast import turn
from lib.dataset.synthetic.rendering.solids import Solids, SolidsBuilder
from lib.multiviews.cameras import Cameras, project

_UP = np.array([0.0, 0.0, 1.0])
_WOODS = ((0.20, 0.33, 0.50), (0.30, 0.48, 0.68), (0.12, 0.18, 0.28))
_COLORS = np.array([*_WOODS, (0.75, 0.77, 0.78), (0.35, 0.33, 0.32), (0.5, 0.4, 0.25), (0.3, 0.3, 0.55)])


@dataclass(frozen=True)
class Box:
    """Upright box."""

    center: np.ndarray  # (3,) mm, world
    half: np.ndarray  # (3,) half sizes along the axes of the box, mm
    yaw: float  # heading of its x axis, rad
    color: np.ndarray  # (3,) BGR, 0..1

    @property
    def rotation(self) -> np.ndarray:
        """(3, 3) world -> box."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        return np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1.0]])


@dataclass
class Furniture:
    """Boxes and round cones of a scene, and the places (2,) of the round pieces on the floor, mm."""

    boxes: list[Box] = field(default_factory=list)
    rounds: SolidsBuilder = field(default_factory=SolidsBuilder)
    round_places: list[np.ndarray] = field(default_factory=list)

    def put(self, place: np.ndarray, yaw: float, offset: tuple, half: tuple, color: np.ndarray) -> None:
        """Add a box at an offset (forward, left, up) from a piece at `place` with heading `yaw`."""
        cos, sin = np.cos(yaw), np.sin(yaw)
        center = np.array(
            [place[0] + cos * offset[0] - sin * offset[1], place[1] + sin * offset[0] + cos * offset[1], offset[2]]
        )
        self.boxes.append(Box(center, np.array(half, float), yaw, np.asarray(color)))

    def put_round(self, material: str, start: np.ndarray, end: np.ndarray, radii: tuple[float, float]) -> None:
        """Add a round cone in world coordinates."""
        self.rounds.add(material, start, end, radii, np.array([0.3, 1.0, 0.1]))

    def solids(self) -> Solids | None:
        """Return the round cones, None if there are none."""
        return self.rounds.build() if self.round_places else None


def _color(rng: np.random.Generator) -> np.ndarray:
    return _COLORS[rng.integers(len(_COLORS))] * rng.uniform(0.85, 1.15)


def add_chair(furniture: Furniture, seat: Seat, rng: np.random.Generator) -> None:
    """Put a chair, with or without a back, under a seated person."""
    color = _color(rng)
    place = np.asarray(seat.position) - 20.0 * np.array([np.cos(seat.yaw), np.sin(seat.yaw)])
    furniture.put(place, seat.yaw, (25, 0, seat.height - 22), (215, 215, 20), color)
    for x, y in ((200, 190), (200, -190), (-150, 190), (-150, -190)):
        furniture.put(place, seat.yaw, (x, y, seat.height / 2 - 20), (19, 19, seat.height / 2 - 20), 0.8 * color)
    if rng.random() < 0.7:
        height = rng.uniform(150, 260)
        for y in (190, -190):
            furniture.put(place, seat.yaw, (-205, y, seat.height + height), (15, 19, height), 0.8 * color)
        furniture.put(place, seat.yaw, (-205, 0, seat.height + 1.3 * height), (14, 190, 0.5 * height), color)


def _table(furniture: Furniture, place: np.ndarray, yaw: float, rng: np.random.Generator) -> None:
    color = _color(rng)
    height = rng.uniform(640, 820)
    half = np.array([rng.uniform(220, 330), rng.uniform(320, 560)])
    furniture.put(place, yaw, (0, 0, height - 20), (*half, 20), color)
    up = height / 2 - 20
    for x, y in itertools.product((-1, 1), repeat=2):
        furniture.put(place, yaw, (x * (half[0] - 30), y * (half[1] - 30), up), (22, 22, up), 0.75 * color)
    if rng.random() < 0.5:
        furniture.put(place, yaw, (0, rng.uniform(-150, 150), height + 130), (90, 130, 130), _color(rng))


def _cabinet(furniture: Furniture, place: np.ndarray, yaw: float, rng: np.random.Generator) -> None:
    color = _color(rng)
    height = rng.uniform(700, 1150)
    width = rng.uniform(200, 360)
    furniture.put(place, yaw, (0, 0, height / 2), (190, width, height / 2), color)
    furniture.put(place, yaw, (0, 0, height + 12), (205, width + 15, 12), 0.7 * color)
    for level in (0.3, 0.65):
        furniture.put(place, yaw, (-195, 0, height * level), (8, width * 0.85, height * 0.13), 1.15 * color)


def _board(furniture: Furniture, place: np.ndarray, yaw: float, rng: np.random.Generator) -> None:
    low, high, width = rng.uniform(750, 950), rng.uniform(1250, 1480), rng.uniform(170, 300)
    furniture.put(place, yaw, (0, 0, (low + high) / 2), (14, width, (high - low) / 2), rng.uniform(0.55, 0.95, 3))
    for side in (-1, 1):
        furniture.put(place, yaw, (0, side * width * 0.9, low / 2), (16, 16, low / 2), np.full(3, 0.3))
        furniture.put(place, yaw, (0, side * width * 0.9, 20), (190, 20, 20), np.full(3, 0.25))


def _plant(furniture: Furniture, place: np.ndarray, yaw: float, rng: np.random.Generator) -> None:
    furniture.round_places.append(place)
    base = np.array([*place, 0.0])
    height = rng.uniform(750, 1250)
    furniture.put_round("pot", base + 90 * _UP, base + 260 * _UP, (110, 140))
    furniture.put_round("pole", base + 200 * _UP, base + height * _UP, (18, 12))
    for _ in range(9):
        level = rng.uniform(0.45, 1.0)
        turn = rng.uniform(0, 2 * np.pi)
        out = np.array([np.cos(turn), np.sin(turn), rng.uniform(0.2, 0.9)])
        start = base + height * level * _UP
        furniture.put_round("leaf", start, start + rng.uniform(120, 260) * out, (28, 62))


def _rack(furniture: Furniture, place: np.ndarray, yaw: float, rng: np.random.Generator) -> None:
    color = _color(rng)
    height = rng.uniform(1150, 1450)
    width = rng.uniform(230, 380)
    for level in np.linspace(0.12, 1.0, 4):
        furniture.put(place, yaw, (0, 0, height * level), (150, width, 12), color)
    for side in (-1, 1):
        furniture.put(place, yaw, (0, side * width, height / 2), (150, 14, height / 2), 0.85 * color)
    for level in np.linspace(0.12, 1.0, 4)[:3]:
        if rng.random() < 0.75:
            offset = (0, rng.uniform(-0.4, 0.4) * width, height * level + 95)
            furniture.put(place, yaw, offset, (100, rng.uniform(60, 130), 80), rng.uniform(0.15, 0.85, 3))


_PIECES = (_table, _cabinet, _board, _plant, _rack, _table, _board)


def add_occluders(
    furniture: Furniture, target: np.ndarray, cameras: Cameras, rng: np.random.Generator, number: float, clear_mm: float
) -> None:
    """Put pieces between the person and some cameras; they hide joints mostly from that view alone.

    Args:
        furniture: receives the pieces.
        target: (2,) mean place of the person, mm.
        cameras: cameras with leading axis V.
        rng: random generator.
        number: mean number of pieces per camera.
        clear_mm: smallest distance of a piece's center from the target.
    """
    chances = [number - whole for whole in range(math.ceil(number))]
    for chance, center in itertools.product(chances, cameras.T[:, :2]):
        line = center - target
        distance = np.linalg.norm(line)
        far = clear_mm + rng.uniform(80, 700)
        aside = rng.normal(0, 0.11)
        yaw = float(np.arctan2(line[1], line[0]) + rng.normal(0, 0.35))
        piece = _PIECES[rng.integers(len(_PIECES))]
        skip = rng.random() >= chance
        if skip or far > 0.62 * distance:
            continue
        place = target + line * (far / distance) + aside * far * np.array([-line[1], line[0]]) / distance
        piece(furniture, place, yaw + np.pi, rng)


def draw_box(image: np.ndarray, distance: np.ndarray, box: Box, camera: Cameras, rays: np.ndarray) -> None:
    """Draw the visible part of a box into `image` and its `distance` (H, W) mm, both changed in place."""
    window = _box_window(box, camera, distance.shape)
    if window is None:
        return
    to_box = box.rotation
    shape = distance[window].shape
    ray = turn(to_box @ camera.R.T, rays[(slice(None), *window)].reshape(3, -1))
    origin = (to_box @ (camera.T - box.center)).astype(np.float32)
    half = box.half.astype(np.float32)
    ray = np.where(np.abs(ray) < 1e-6, np.float32(1e-6), ray)
    enter = (-np.sign(ray) * half[:, None] - origin[:, None]) / ray  # (3, N)
    leave = (np.sign(ray) * half[:, None] - origin[:, None]) / ray
    axis = enter.argmax(0)
    near, far = enter.max(0), leave.min(0)
    seen = (near < far) & (near > 0) & (near < distance[window].ravel())
    if not seen.any():
        return
    axis = axis[seen]
    near = near[seen]
    ray = ray[:, seen]
    point = origin[:, None] + near * ray
    facing = np.where(axis == 2, 1.12, np.where(axis == 0, 0.88, 0.74)).astype(np.float32)
    grain = 1 + 0.06 * noise_at((point[0] + point[1]) * 0.05, point[2] * 0.4 + point[1] * 0.02)
    color = box.color.astype(np.float32) * (facing * grain)[:, None] * 255
    mask = seen.reshape(shape)
    image[window][mask] = np.clip(color, 0, 255).astype(np.uint8)
    distance[window][mask] = near


def _box_window(box: Box, camera: Cameras, shape: tuple[int, int]) -> tuple[slice, slice] | None:
    """Return the rows and columns of a box, None if it is out of sight."""
    corners = np.array(list(itertools.product((-1, 1), repeat=3))) * box.half
    world = corners @ box.rotation + box.center
    points, depth = project(world, camera)
    if depth.min() < 150.0:
        return None
    low = np.clip(np.floor(points.min(0)) - 3, 0, shape[::-1]).astype(int)
    high = np.clip(np.ceil(points.max(0)) + 4, 0, shape[::-1]).astype(int)
    if (high <= low).any():
        return None
    return slice(low[1], high[1]), slice(low[0], high[0])


def floor_shade(furniture: Furniture, cell_mm: float, half_mm: float) -> np.ndarray:
    """Return the shading of the floor by furniture, a square map around the origin, 0..1."""
    size = int(2 * half_mm / cell_mm)
    shade = np.zeros((size, size), np.float32)
    for box in furniture.boxes:
        corners = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * box.half[:2]
        corners = corners @ box.rotation[:2, :2] + box.center[:2]
        strength = 0.5 * np.exp(-(box.center[2] - box.half[2]) / 700.0)
        layer = np.zeros_like(shade)
        cv2.fillConvexPoly(layer, ((corners + half_mm) / cell_mm).round().astype(np.int32), float(strength))
        shade = np.maximum(shade, layer)
    for place in furniture.round_places:
        spot = ((place + half_mm) / cell_mm).round().astype(int).tolist()
        cv2.circle(shade, spot, int(190 / cell_mm), 0.45, -1)
    return cv2.GaussianBlur(shade, (0, 0), 2.5)
