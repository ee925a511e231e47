"""Ray casting: exact distances from pixels to round cones.

Rays are unit vectors in the camera frame, (3, rows, columns) float32; distances are along the rays, mm.
"""

from dataclasses import dataclass

import numpy as np

from lib.dataset.synthetic.rendering.solids import Solids
from lib.multiviews.cameras import Cameras, project

NOTHING = -1  # part index of a pixel that no part covers
_SMALL = np.float32(1e-6)


@dataclass(frozen=True)
class LocalRays:
    """Round cones in scaled part frames, where their cross-sections are circles."""

    matrix: np.ndarray  # (P, 3, 3) camera frame -> scaled part frame (side, axis, front)
    origin: np.ndarray  # (P, 3) camera center in that frame
    near: np.ndarray  # (P,) distance from the camera to `start`, mm
    length: np.ndarray  # (P,) distance of the balls, scaled mm
    radii: np.ndarray  # (P, 2) radii of the balls, mm


@dataclass(frozen=True)
class Hits:
    """First hits of the rays of an image rectangle."""

    rows: slice  # the rectangle
    columns: slice  # the rectangle
    distance: np.ndarray  # (h, w) float32 mm, infinite without a hit
    part: np.ndarray  # (h, w) int16 index of the solid, NOTHING without a hit


def turn(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Multiply a (3, 3) matrix with planes of vectors (3, ...) in float32.

    BLAS is avoided because its rounding depends on the number of threads.
    """
    x, y, z = vectors
    return np.stack([row[0] * x + row[1] * y + row[2] * z for row in matrix.astype(np.float32)])


def dot(vector: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Multiply one vector (3,) with planes of vectors (3, ...) in float32; see `turn`."""
    a, b, c = vector.astype(np.float32)
    return a * vectors[0] + b * vectors[1] + c * vectors[2]


def to_local(solids: Solids, camera: Cameras) -> LocalRays:
    """Express solids relative to one camera (a `Cameras` without leading axes)."""
    axes = solids.axes()  # (P, 3, 3)
    squeeze = np.stack([np.ones(len(solids)), 1 / solids.cap, 1 / solids.depth], -1)
    to_part = squeeze[:, :, None] * axes
    length = np.linalg.norm(solids.end - solids.start, axis=-1) / solids.cap
    # The formulas need balls of which neither contains the other.
    length = np.maximum(length, 1.02 * np.abs(solids.radii[:, 0] - solids.radii[:, 1]) + 1e-3)
    to_camera = camera.T - solids.start
    origin = (to_camera[:, None] * to_part).sum(-1)
    return LocalRays(to_part @ camera.R.T, origin, np.linalg.norm(to_camera, axis=-1), length, solids.radii)


def bounding_boxes(solids: Solids, camera: Cameras, image_wh: tuple[int, int]) -> np.ndarray:
    """Return (P, 4) integer boxes x0, y0, x1, y1 (end exclusive) that contain all pixels of each solid."""
    radius = solids.radii * np.maximum(1.0, np.maximum(solids.depth, solids.cap))[:, None]
    centers = np.stack([solids.start, solids.end], 1)  # (P, 2, 3)
    points, depth = project(centers.reshape(-1, 3), camera)
    points = points.reshape(-1, 2, 2)
    depth = depth.reshape(-1, 2)
    nearest = np.maximum(depth - radius, 80.0)
    half = 1.25 * camera.f.max() * radius / nearest + 2.0
    low = np.floor((points - half[..., None]).min(1))
    high = np.ceil((points + half[..., None]).max(1)) + 1
    limit = np.array(image_wh)
    boxes = np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)], 1).astype(int)
    behind = (depth + radius).min(1) < 100.0
    boxes[behind] = 0
    return boxes


def distances(local: LocalRays, part: int, rays: np.ndarray) -> np.ndarray:
    """Return the distance of one solid along rays.

    Args:
        local: the solids relative to the camera.
        part: index of the solid.
        rays: (3, N) float32 unit directions, camera frame.

    Returns:
        (N,) float32 mm, infinite for misses.

    Source: quadratics of the balls and of the cone that touches both.
    """
    start_r, end_r = (np.float32(r) for r in local.radii[part])
    length = np.float32(local.length[part])
    ray = turn(local.matrix[part], rays)  # (3, N)
    # Start near the solid: large squares would lose float32 precision.
    near = np.float32(local.near[part])
    origin = local.origin[part].astype(np.float32)[:, None] + near * ray
    rr, ro, oo = (np.einsum("in,in->n", a, b) for a, b in ((ray, ray), (ray, origin), (origin, origin)))
    slope = (start_r - end_r) / length  # sine of the taper
    level = 1 - slope * slope
    ry, oy = ray[1], origin[1]
    a = level * rr - ry * ry
    b = level * ro - ry * (oy - slope * start_r)
    c = level * oo - oy * oy + (2 * slope * start_r) * oy - start_r * start_r
    with np.errstate(invalid="ignore", divide="ignore"):
        side = (-b - np.sqrt(b * b - a * c)) / np.maximum(a, _SMALL)
        height = oy - slope * start_r + side * ry
        on_side = (height > 0) & (height < length * level)
        first = -ro - np.sqrt(ro * ro - rr * (oo - start_r * start_r))
        mo = ro - length * ry
        mm = oo - (2 * length) * oy + length * length
        second = -mo - np.sqrt(mo * mo - rr * (mm - end_r * end_r))
        caps = np.fmin(first, second) / rr
        hit = np.where(on_side, side, caps)
    return np.where(np.isnan(hit), np.float32(np.inf), hit + near)


def cast(solids: Solids, camera: Cameras, rays: np.ndarray) -> Hits | None:
    """Return the first hits in the bounding rectangle of all solids, None if no solid is in the image."""
    boxes = bounding_boxes(solids, camera, (rays.shape[2], rays.shape[1]))
    seen = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
    if len(seen) == 0:
        return None
    x0, y0 = boxes[seen, :2].min(0)
    x1, y1 = boxes[seen, 2:].max(0)
    distance = np.full((y1 - y0, x1 - x0), np.inf, np.float32)
    part = np.full(distance.shape, NOTHING, np.int16)
    local = to_local(solids, camera)
    for index in seen:
        bx0, by0, bx1, by1 = boxes[index]
        window = rays[:, by0:by1, bx0:bx1]
        found = distances(local, index, window.reshape(3, -1)).reshape(window.shape[1:])
        inside = np.s_[by0 - y0 : by1 - y0, bx0 - x0 : bx1 - x0]
        nearer = found < distance[inside]
        np.copyto(distance[inside], found, where=nearer)
        np.copyto(part[inside], np.int16(index), where=nearer)
    return Hits(slice(y0, y1), slice(x0, x1), distance, part)


def surface(local: LocalRays, part: int, ray: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return hit points on a solid and their outward normals.

    Args:
        local: the solids relative to the camera.
        part: index of the solid.
        ray: (3, N) rays that hit the solid.
        distance: (N,) their distances.

    Returns:
        (3, N) points in the scaled part frame (side, axis, front), and (3, N) unit normals, camera frame.
    """
    matrix = local.matrix[part]
    point = local.origin[part].astype(np.float32)[:, None] + turn(matrix, ray) * distance
    slope = (local.radii[part, 0] - local.radii[part, 1]) / local.length[part]
    out = np.sqrt(point[0] ** 2 + point[2] ** 2)
    foot = np.clip(point[1] - out * np.float32(slope / np.sqrt(1 - slope * slope)), 0, np.float32(local.length[part]))
    normal = point.copy()
    normal[1] -= foot
    normal = turn(matrix.T, normal)
    return point, normal / np.sqrt(np.einsum("in,in->n", normal, normal) + _SMALL)
