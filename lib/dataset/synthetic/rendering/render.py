"""Rendering: a fixed scene per camera; people, shadows, light and sensor noise per frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from lib.dataset.synthetic.rendering.furniture import Furniture, draw_box, floor_shade
from lib.dataset.synthetic.rendering.materials import Material, Patch
from lib.dataset.synthetic.rendering.raycast import NOTHING, Hits, cast, dot, surface, to_local
from lib.dataset.synthetic.rendering.room import Room, view_room
from lib.dataset.synthetic.rendering.solids import Solids
from lib.multiviews.cameras import Cameras, project

FLOOR_CELL_MM = 20.0
_SHADOW_HALF_MM = 1300.0


@dataclass(frozen=True)
class Lighting:
    """Light of a scene."""

    directions: np.ndarray  # (L, 3) unit vectors toward the lights, world
    strengths: np.ndarray  # (L,) brightness of each
    ambient: float  # brightness from all directions
    tint: np.ndarray  # (3,) BGR factor of the whole image

    @classmethod
    def random(cls, rng: np.random.Generator) -> Lighting:
        """Draw a strong and a weak light from above, one overhead, and a slight color cast."""
        turn = rng.uniform(0, 2 * np.pi, 3)
        height = np.append(rng.uniform(1.2, 2.6, 2), 12.0)
        directions = np.stack([np.cos(turn), np.sin(turn), height], -1)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return cls(
            directions,
            np.array([rng.uniform(0.3, 0.5), rng.uniform(0.1, 0.2), 0.2]),
            rng.uniform(0.48, 0.62),
            rng.uniform(0.9, 1.1) * rng.normal(1.0, 0.025, 3),
        )


@dataclass(frozen=True)
class View:
    """View of one camera without people."""

    camera: Cameras  # the camera, without leading axes
    rays: np.ndarray  # (3, H, W) float32 pixel rays, camera frame
    image: np.ndarray  # (H, W, 3) uint8 BGR
    distance: np.ndarray  # (H, W) float32 along the rays, mm


def empty_room(room: Room, camera: Cameras, rays: np.ndarray) -> View:
    """Render an empty room."""
    return View(camera, rays, *view_room(room, camera, rays))


def furnish(view: View, furniture: Furniture, lighting: Lighting, materials: dict[str, Material]) -> View:
    """Return a new view with furniture, its contact shadows and the tint of the light."""
    tint = np.clip(np.arange(256)[:, None] * lighting.tint, 0, 255).astype(np.uint8)
    image = cv2.LUT(view.image, tint[None])
    distance = view.distance.copy()
    half = 4500.0
    _darken_floor(image, view, floor_shade(furniture, FLOOR_CELL_MM * 2, half), np.zeros(2), half, np.s_[:, :])
    for box in furniture.boxes:
        draw_box(image, distance, box, view.camera, view.rays)
    solids = furniture.solids()
    hits = cast(solids, view.camera, view.rays) if solids else None
    if hits is not None:
        paint(image, distance, hits, solids, view, lighting, materials)
        region = distance[hits.rows, hits.columns]
        np.minimum(region, hits.distance, out=region)
    return View(view.camera, view.rays, image, distance)


def paint(
    image: np.ndarray,
    distance: np.ndarray,
    hits: Hits,
    solids: Solids,
    view: View,
    lighting: Lighting,
    materials: dict[str, Material],
) -> None:
    """Shade the visible pixels of solids into `image`; `distance` (H, W) mm is of everything else in it."""
    region = np.s_[hits.rows, hits.columns]
    seen = np.flatnonzero((hits.distance < distance[region]) & (hits.part != NOTHING))
    parts, depth = hits.part.ravel()[seen], hits.distance.ravel()[seen]
    rays = view.rays[:, hits.rows, hits.columns].reshape(3, -1)[:, seen]
    order = np.argsort(parts, kind="stable")
    limits = np.searchsorted(parts[order], np.arange(len(solids) + 1))
    local = to_local(solids, view.camera)
    color = np.empty((len(seen), 3), np.float32)
    normal = np.empty((3, len(seen)), np.float32)
    for index in np.flatnonzero(np.diff(limits)):
        chosen = order[limits[index] : limits[index + 1]]
        point, normal[:, chosen] = surface(local, index, rays[:, chosen], depth[chosen])
        cap, flat = np.float32(solids.cap[index]), np.float32(solids.depth[index])
        patch = Patch(point[0], point[1] * cap, point[2] * flat, float(local.length[index] * cap))
        color[chosen] = materials[solids.material[index]](patch)
    color *= _brightness(normal, rays, view.camera, lighting)[:, None] * lighting.tint.astype(np.float32)
    flat_region = image[region].reshape(-1, 3)
    flat_region[seen] = np.clip(color * 255, 0, 255).astype(np.uint8)
    image[region] = flat_region.reshape(image[region].shape)


def _brightness(normal: np.ndarray, rays: np.ndarray, camera: Cameras, lighting: Lighting) -> np.ndarray:
    """Return the light (N,) on surfaces with normals (3, N); outlines are darker, which separates limbs."""
    up = dot(camera.R[:, 2], normal)
    light = np.float32(lighting.ambient) * (0.8 + 0.2 * up)
    for direction, strength in zip(lighting.directions @ camera.R.T, lighting.strengths, strict=True):
        light += np.float32(strength) * np.maximum(dot(direction, normal), 0)
    facing = np.clip(-(normal * rays).sum(0), 0, 1)
    return light * (0.72 + 0.28 * np.sqrt(facing))


def _darken_floor(
    image: np.ndarray, view: View, shade: np.ndarray, middle: np.ndarray, half_mm: float, region: tuple[slice, slice]
) -> None:
    """Darken the floor by a square shading map (0..1) around a point of the floor."""
    rays = view.rays[(slice(None), *region)]
    shape = rays.shape[1:]
    distance = view.distance[region]
    rotation = view.camera.R
    height = dot(rotation[:, 2], rays) * distance + np.float32(view.camera.T[2])
    places = []
    for axis in range(2):
        place = dot(rotation[:, axis], rays) * distance
        offset = np.float32(view.camera.T[axis] - middle[axis] + half_mm)
        places.append((place + offset) * np.float32(shade.shape[0] / (2 * half_mm)))
    dark = cv2.remap(shade, places[0].reshape(shape), places[1].reshape(shape), cv2.INTER_LINEAR)
    keep = 1 - dark * (np.abs(height) < 5.0)
    image[region] = (image[region] * keep[..., None]).astype(np.uint8)


def take_image(
    view: View,
    solids: Solids,
    lighting: Lighting,
    materials: dict[str, Material],
    joints: np.ndarray,
    thickness: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Render a person into a furnished view.

    Args:
        view: the furnished view.
        solids: body and props.
        lighting: light of the scene.
        materials: name -> material.
        joints: (J, 3) world, mm.
        thickness: (J,) see joint_occlusion().
        rng: random generator of exposure, blur and noise.

    Returns:
        (H, W, 3) uint8 BGR image and (J,) bool: joints that are hidden or outside the image.
    """
    image = view.image.copy()
    cast_shadow(image, view, solids, lighting)
    hits = cast(solids, view.camera, view.rays)
    if hits is not None:
        paint(image, view.distance, hits, solids, view, lighting, materials)
    return expose(image, rng), joint_occlusion(joints, hits, view, thickness)


def cast_shadow(image: np.ndarray, view: View, solids: Solids, lighting: Lighting) -> None:
    """Darken the floor where solids block the lights."""
    middle = solids.start[:, :2].mean(0)
    size = int(2 * _SHADOW_HALF_MM / FLOOR_CELL_MM)
    shade = np.zeros((size, size), np.float32)
    fine = 16  # cv2's sub-pixel positions: 4 bits
    widths = np.maximum(1, (2 * solids.radii.mean(1) / FLOOR_CELL_MM).round().astype(int))
    for direction, strength in zip(lighting.directions, lighting.strengths, strict=True):
        layer = np.zeros_like(shade)
        ends = [points[:, :2] - direction[:2] / direction[2] * points[:, 2:] for points in (solids.start, solids.end)]
        spots = [((end - middle + _SHADOW_HALF_MM) / FLOOR_CELL_MM * fine).round().astype(int) for end in ends]
        for start, end, width in zip(*(spot.tolist() for spot in spots), widths.tolist(), strict=True):
            cv2.line(layer, start, end, float(strength), width, shift=4)
        shade += layer
    shade = cv2.GaussianBlur(shade, (0, 0), 2.2)
    rows, columns = (np.flatnonzero(shade.max(axis) > 0.01) for axis in (1, 0))
    if len(rows):
        low = np.array([columns[0], rows[0]])
        high = np.array([columns[-1], rows[-1]]) + 1
        corners = (np.array([low, high]) * FLOOR_CELL_MM - _SHADOW_HALF_MM) + middle
        region = _floor_region(view, corners)
        if region is not None:
            _darken_floor(image, view, shade, middle, _SHADOW_HALF_MM, region)


def _floor_region(view: View, corners: np.ndarray) -> tuple[slice, slice] | None:
    """Return the image region of a floor rectangle (low, high), None if it is out of sight."""
    (x0, y0), (x1, y1) = corners
    points, depth = project(np.array([[x0, y0, 0], [x0, y1, 0], [x1, y0, 0], [x1, y1, 0.0]]), view.camera)
    height, width = view.distance.shape
    if depth.min() < 500.0:  # the rectangle reaches behind the camera: take all below the horizon
        return np.s_[height // 3 :, :]
    low = np.clip(np.floor(points.min(0)), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(points.max(0)) + 1, 0, (width, height)).astype(int)
    return None if (high <= low).any() else (slice(low[1], high[1]), slice(low[0], high[0]))


@lru_cache(maxsize=1)
def _noise_tables(deviation: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Return positive and negative noise as two uint8 tables with equal values in the 3 colors."""
    table = np.random.default_rng(54321).normal(0, deviation, (1264, 1264)).round()
    table = cv2.GaussianBlur(table, (3, 3), 0.6) * 1.6
    bright, dark = (cv2.merge([np.clip(sign * table, 0, 40).astype(np.uint8)] * 3) for sign in (1, -1))
    return bright, dark


def expose(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply exposure, blur and noise of a camera to an (H, W, 3) uint8 BGR image."""
    gain, sigma = rng.normal(1.0, 0.06), rng.uniform(0.45, 1.0)
    image = cv2.convertScaleAbs(cv2.GaussianBlur(image, (5, 5), sigma), alpha=float(np.clip(gain, 0.75, 1.25)))
    bright, dark = (_random_tile(table, image.shape[:2], rng) for table in _noise_tables())
    return cv2.subtract(cv2.add(image, bright), dark)


def _random_tile(table: np.ndarray, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Cut a tile (h, w, 3) out of a table; a smaller table is repeated."""
    y, x = rng.integers(0, np.maximum(1, np.array(table.shape[:2]) - shape))
    tile = table[y : y + shape[0], x : x + shape[1]]
    repeats = -(-np.array(shape) // tile.shape[:2])
    return np.tile(tile, (*repeats, 1))[: shape[0], : shape[1]] if (repeats > 1).any() else tile


def joint_occlusion(joints: np.ndarray, hits: Hits | None, view: View, thickness: np.ndarray) -> np.ndarray:
    """Return (J,) bool: joints hidden by more than `thickness` (J,) mm, or outside the image."""
    points, _ = project(joints, view.camera)
    height, width = view.distance.shape
    pixels = points.round().astype(int)
    inside = ((pixels >= 0) & (pixels < (width, height))).all(1)
    column, row = np.clip(pixels, 0, (width - 1, height - 1)).T
    nearest = view.distance[row, column].astype(float)
    if hits is not None:
        r, c = row - hits.rows.start, column - hits.columns.start
        within = (r >= 0) & (c >= 0) & (r < hits.distance.shape[0]) & (c < hits.distance.shape[1])
        nearest[within] = np.minimum(nearest[within], hits.distance[r[within], c[within]])
    depth = np.linalg.norm(joints - view.camera.T, axis=1)
    return ~inside | (nearest < depth - thickness)
