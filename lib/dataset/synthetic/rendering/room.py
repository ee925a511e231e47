"""Rooms and open ground: textured planes, rendered with correct perspective."""

from dataclasses import dataclass

import cv2
import numpy as np

from lib.dataset.synthetic.rendering.materials import NOISE
from lib.dataset.synthetic.rendering.raycast import turn
from lib.multiviews.cameras import Cameras

_PIXELS_PER_M = 110
_CEILING_MM = 3100.0


@dataclass(frozen=True)
class Room:
    """Box with its floor at z = 0 in the world."""

    low: np.ndarray  # (3,) opposite corners, mm
    high: np.ndarray  # (3,) opposite corners, mm
    textures: tuple[np.ndarray, ...]  # six uint8 BGR images of the planes x low, x high, y low, y high, floor, ceiling


def _noise_sheet(rng: np.random.Generator, shape: tuple[int, int], zoom: float) -> np.ndarray:
    """Return soft noise of deviation 1 with `zoom` pixels per table cell."""
    offset = rng.integers(0, 256, 2)
    rows = (np.arange(shape[0]) / zoom + offset[0]).astype(np.float32)
    columns = (np.arange(shape[1]) / zoom + offset[1]).astype(np.float32)
    return cv2.remap(
        NOISE, np.tile(columns % 255, (shape[0], 1)), np.tile((rows % 255)[:, None], (1, shape[1])), cv2.INTER_LINEAR
    )


def _soft_color(rng: np.random.Generator, low: float, high: float, tint: float = 0.10) -> np.ndarray:
    return rng.uniform(low, high) * (1 + rng.uniform(-tint, tint, 3))


def _finish(color: np.ndarray) -> np.ndarray:
    return (np.clip(color, 0.02, 1.0) * 255).astype(np.uint8)


def _floor(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Make a carpet, tiles or planks."""
    color = np.broadcast_to(_soft_color(rng, 0.32, 0.62, 0.18), (*shape, 3)).copy()
    rows = np.arange(shape[0])[:, None]
    columns = np.arange(shape[1])[None]
    kind = rng.integers(3)
    if kind == 0:
        size = int(rng.integers(45, 90))
        shade = 1 + 0.10 * ((rows // size + columns // size) % 2)
        color *= (shade * np.where((rows % size < 2) | (columns % size < 2), 0.82, 1.0))[..., None]
    elif kind == 1:
        width, length = int(rng.integers(12, 22)), int(rng.integers(120, 220))
        board = rows // width
        shift = (board * 97) % length
        tone = np.sin((board * 37 + (columns + shift) // length * 91) * 12.9898) * 0.10
        seam = np.where((rows % width < 1) | ((columns + shift) % length < 1), 0.8, 1.0)
        color *= ((1 + tone) * seam)[..., None]
    color *= (1 + 0.05 * _noise_sheet(rng, shape, 3.0) + 0.04 * _noise_sheet(rng, shape, 0.7))[..., None]
    if rng.random() < 0.6:  # a rug or a marked area in the middle
        middle = np.array(shape) // 2
        half = rng.integers(90, 230, 2)
        box = np.s_[middle[0] - half[0] : middle[0] + half[0], middle[1] - half[1] : middle[1] + half[1]]
        color[box] *= _soft_color(rng, 0.75, 1.2, 0.15)
    return _finish(color)


def _wall(rng: np.random.Generator, shape: tuple[int, int], base: np.ndarray) -> np.ndarray:
    """Make a wall with skirting, pictures, a door or a curtain; row 0 is at the ceiling."""
    color = np.broadcast_to(base, (*shape, 3)).copy()
    rows = np.arange(shape[0])[:, None]
    columns = np.arange(shape[1])[None]
    if rng.random() < 0.35:
        color *= (1 + 0.07 * np.sin(columns / rng.uniform(2.5, 9.0)) + 0 * rows)[..., None]
    if rng.random() < 0.4:
        color[int(shape[0] * rng.uniform(0.55, 0.7)) :] *= _soft_color(rng, 0.7, 1.1)
    meter = _PIXELS_PER_M
    for _ in range(int(rng.integers(3, 7))):
        width, height = (rng.uniform(0.4, 1.5) * meter, rng.uniform(0.4, 1.1) * meter)
        x, y = rng.uniform(0.05, 0.9) * shape[1], rng.uniform(0.25, 0.6) * shape[0]
        _hang(color, rng, (int(x), int(y), int(width), int(height)))
    if rng.random() < 0.6:
        x = int(rng.uniform(0.1, 0.8) * shape[1])
        door = np.s_[shape[0] - int(2.05 * meter) :, x : x + int(0.95 * meter)]
        color[door] = _soft_color(rng, 0.25, 0.75, 0.25)
        cv2.rectangle(color, (x, shape[0] - int(2.05 * meter)), (x + int(0.95 * meter), shape[0]), (0.2,) * 3, 3)
    color[-int(0.10 * meter) :] = _soft_color(rng, 0.2, 0.8)
    color *= (1 + 0.03 * _noise_sheet(rng, shape, 5.0) + 0.015 * _noise_sheet(rng, shape, 0.8))[..., None]
    return _finish(color)


def _hang(color: np.ndarray, rng: np.random.Generator, box: tuple[int, int, int, int]) -> None:
    """Hang a picture, a shelf of books or a window on a wall."""
    x, y, width, height = box
    region = color[max(y, 0) : y + height, max(x, 0) : x + width]
    if region.size == 0:
        return
    kind = rng.integers(3)
    region[:] = rng.uniform(0.1, 0.95, 3)
    if kind == 0:
        steps = rng.uniform(0.15, 0.95, (4, 5, 3)).astype(np.float32)
        region[3:-3, 3:-3] = cv2.resize(steps, (region.shape[1], region.shape[0]))[3:-3, 3:-3]
    elif kind == 1:
        books = rng.uniform(0.1, 0.9, (3, 24, 3)).astype(np.float32)
        region[:] = cv2.resize(books, (region.shape[1], region.shape[0]), interpolation=cv2.INTER_NEAREST)
        region[:: max(region.shape[0] // 3, 4)] = 0.15
    else:
        region[4:-4, 4:-4] = rng.uniform(0.75, 1.0)
        region[:, region.shape[1] // 2 : region.shape[1] // 2 + 3] = 0.3
    cv2.rectangle(color, (x, y), (x + width, y + height), tuple(rng.uniform(0.05, 0.5, 3)), 2)


def make_room(rng: np.random.Generator, half_mm: float = 6000.0) -> Room:
    """Make a furnished-looking room around the origin."""
    half = half_mm * rng.uniform(0.95, 1.1, 2)
    low = np.array([*-half, 0.0])
    high = np.array([*half, _CEILING_MM])
    size = ((high - low) * _PIXELS_PER_M / 1000).astype(int)
    paint = _soft_color(rng, 0.45, 0.85, 0.12)
    walls = [_wall(rng, (size[2], size[1 - axis]), paint * rng.uniform(0.85, 1.1)) for axis in (0, 0, 1, 1)]
    ceiling = np.full((8, 8, 3), 215, np.uint8)
    return Room(low, high, (*walls, _floor(rng, (size[1], size[0])), ceiling))


def make_open_ground(rng: np.random.Generator) -> Room:
    """Make grass or pavement under a sky with a distant skyline, as a very large room."""
    half = rng.uniform(9000.0, 16000.0)
    low = np.array([-half, -half, 0.0])
    high = np.array([half, half, 0.75 * half])
    green = rng.random() < 0.5
    base = np.array([0.25, 0.45, 0.32]) if green else _soft_color(rng, 0.35, 0.65)
    shape = (900, 900)
    ground = base * (1 + 0.14 * _noise_sheet(rng, shape, 2.0) + 0.10 * _noise_sheet(rng, shape, 12.0))[..., None]
    sky = np.linspace(0, 1, 200)[:, None, None] * np.array([-0.05, 0.08, 0.12]) + np.array([0.95, 0.8, 0.65])
    walls = []
    for _ in range(4):
        wall = np.broadcast_to(sky, (200, 400, 3)).copy()
        for _ in range(int(rng.integers(5, 14))):
            x, width, height = rng.integers(0, 400), rng.integers(15, 80), rng.integers(10, 90)
            wall[200 - height :, x : x + width] = _soft_color(rng, 0.15, 0.6, 0.25)
        walls.append(_finish(wall * (1 + 0.05 * _noise_sheet(rng, (200, 400), 4.0))[..., None]))
    return Room(low, high, (*walls, _finish(ground), np.full((8, 8, 3), (240, 215, 180), np.uint8)))


def view_room(room: Room, camera: Cameras, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Render an empty room around a camera: (H, W, 3) uint8 BGR and (H, W) float32 distance along the rays, mm."""
    world = turn(camera.R.T, rays)  # (3, H, W)
    world = np.where(np.abs(world) < 1e-9, np.float32(1e-9), world)
    center = camera.T.astype(np.float32)
    low, high = room.low.astype(np.float32) - center, room.high.astype(np.float32) - center
    exits = [np.where(world[i] > 0, high[i], low[i]) / world[i] for i in range(3)]
    distance = np.minimum(np.minimum(exits[0], exits[1]), exits[2])
    # Where in the room, as a share of its size; reaches 0 or 1 on the plane that the ray meets.
    share = [(world[i] * distance - low[i]) / (high[i] - low[i]) for i in range(3)]
    image = np.zeros((*distance.shape, 3), np.uint8)
    for plane, texture in enumerate(room.textures):  # planes run low, high per axis; index 4 is the floor
        axis = plane // 2
        seen = (exits[axis] == distance) & ((world[axis] > 0) == plane % 2)
        if seen.any():
            height, width = texture.shape[:2]
            across = share[1 if axis == 0 else 0]
            down = share[1] if axis == 2 else 1 - share[2]
            color = cv2.remap(texture, across * (width - 1), down * (height - 1), cv2.INTER_LINEAR)
            cv2.copyTo(color, seen.view(np.uint8), image)
    return image, distance
