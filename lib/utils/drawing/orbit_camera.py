"""Render a 3D pose on a floor grid with an orthographic camera that can orbit the person."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from lib.utils.drawing.vis import PAPER, SIDE_COLORS, Skeleton, labeled

FLOOR_COLOR = (205, 205, 205)  # BGR
GT_COLOR = (110, 110, 110)
GRID_MM = 500.0
_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates
_MIN_HALF_MM = 600.0
_SIDES_ELEVATION_DEG = 8.0
_MARGIN = 1.15  # shown extent / extent of the poses


@dataclass(frozen=True)
class OrbitCamera:
    """Orthographic camera that looks at a point; z is up in the world frame.

    Attributes:
        center: (3,) world mm, shown in the middle of the image.
        half_mm: half the side length that the image shows, mm.
        floor_mm: height of the floor grid, mm.
        azimuth_deg: viewing direction, degrees from x toward y.
        elevation_deg: angle by which the camera looks down.
    """

    center: np.ndarray
    half_mm: float
    floor_mm: float
    azimuth_deg: float = 30.0
    elevation_deg: float = 15.0

    @classmethod
    def around(cls, poses: np.ndarray) -> OrbitCamera:
        """Return a camera that shows each pose of a sequence in full when centered on it.

        Args:
            poses: (F, K, 3) world mm; joints that are not finite are ignored.
        """
        finite = np.isfinite(poses).all(-1)  # (F, K)
        if not finite.any():
            return cls(np.zeros(3), 1000.0, -1000.0)
        heights = poses[finite][:, 2]
        low, high = float(heights.min()), float(heights.max())
        shown = poses[finite.any(1), :, :2]
        spread = float(np.nanmax(np.abs(shown - np.nanmean(shown, axis=1, keepdims=True))))
        half_mm = _MARGIN * max(_MIN_HALF_MM, (high - low) / 2, spread)
        return cls(np.append(np.nanmean(poses[finite][:, :2], axis=0), (low + high) / 2), half_mm, low)

    def project(self, points: np.ndarray, side_px: int) -> tuple[np.ndarray, np.ndarray]:
        """Project (P, 3) world mm to (P, 2) px of an image with side_px, and (P,) depth in mm."""
        azimuth, elevation = np.deg2rad(self.azimuth_deg), np.deg2rad(self.elevation_deg)
        level = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
        forward = level * np.cos(elevation) - [0, 0, np.sin(elevation)]
        right = np.array([np.sin(azimuth), -np.cos(azimuth), 0.0])
        axes = np.stack([right, np.cross(forward, right), forward])  # x to the right, y down, z away
        seen = (points - self.center) @ axes.T
        return seen[:, :2] * (side_px / (2 * self.half_mm)) + (side_px - 1) / 2, seen[:, 2]


def front_azimuth(pose: np.ndarray, skeleton: Skeleton) -> float:
    """Return the azimuth, in degrees, of a camera that sees a pose from the front.

    The front follows from the joints attached to the middle ones (hips and shoulders). Without such joints, or if the
    person lies on the side, the azimuth is arbitrary.

    Args:
        pose: (K, 3) world mm, z up; joints that are not finite are ignored.
        skeleton: skeleton of the K joints.
    """
    left = np.zeros(3)
    for parent, child in skeleton.edges:
        side = skeleton.sides[child]
        across = pose[child] - pose[parent]
        if skeleton.sides[parent] == "middle" and side != "middle" and np.isfinite(across).all():
            left += across if side == "left" else -across
    return float(np.rad2deg(np.arctan2(left[0], -left[1])))


def render_pose(
    pose: np.ndarray, gt: np.ndarray | None, skeleton: Skeleton, camera: OrbitCamera, side_px: int
) -> np.ndarray:
    """Render a pose on the floor grid; near limbs cover far ones, the gt is thin and gray.

    Args:
        pose: (K, 3) world mm, z up; joints that are not finite are left out.
        gt: (K, 3) world mm, or None.
        skeleton: skeleton of the K joints.
        camera: the camera.
        side_px: side length of the image.

    Returns:
        (side_px, side_px, 3) uint8 BGR.
    """
    image = np.full((side_px, side_px, 3), PAPER, np.uint8)
    _draw_floor(image, camera)
    width = max(2, side_px // 110)
    if gt is not None:
        points, _ = camera.project(gt, side_px)
        for edge in skeleton.edges:
            _line(image, points[list(edge)], GT_COLOR, max(1, width // 2))
    points, depth = camera.project(pose, side_px)
    edge_depth = np.array([depth[list(edge)].mean() for edge in skeleton.edges])
    sides = skeleton.edge_sides()
    for edge in np.argsort(-edge_depth):  # far to near; edges at NaN are not drawn
        _line(image, points[list(skeleton.edges[edge])], SIDE_COLORS[sides[edge]], width)
    for point, side in zip(points, skeleton.sides, strict=True):
        if np.isfinite(point).all():
            radius = (width + 1) << _SHIFT
            cv2.circle(image, _fixed_point(point), radius, SIDE_COLORS[side], -1, cv2.LINE_AA, _SHIFT)
    return image


def render_sides(pose: np.ndarray, gt: np.ndarray | None, skeleton: Skeleton, side_px: int) -> list[np.ndarray]:
    """Render a pose from the front and from its left side, with a label above each.

    Args:
        pose: (K, 3) world mm, z up; joints that are not finite are left out.
        gt: (K, 3) world mm, or None; if given, it sets the viewing direction, and the label has the error.
        skeleton: skeleton of the K joints.
        side_px: side length of an image, without the label.

    Returns:
        Two images (LABEL_PX + side_px, side_px, 3) uint8 BGR.
    """
    reference = pose if gt is None else gt
    error = np.nan if gt is None else np.linalg.norm(pose - gt, axis=-1)
    found = np.isfinite(error)
    text = f", error {np.mean(error, where=found):.0f} mm" if found.any() else ""
    front = front_azimuth(reference, skeleton)
    camera = OrbitCamera.around(reference[None])
    images = []
    for name, azimuth in ((f"3D, front{text}", front), ("3D, side", front + 90)):
        turned = replace(camera, azimuth_deg=azimuth, elevation_deg=_SIDES_ELEVATION_DEG)
        images.append(labeled(render_pose(pose, gt, skeleton, turned, side_px), name))
    return images


def _draw_floor(image: np.ndarray, camera: OrbitCamera) -> None:
    """Draw lines every GRID_MM at fixed places of the world, so that the floor moves past a person who walks."""
    reach = 2 * GRID_MM * max(1, round(camera.half_mm / GRID_MM / 2))
    first = np.ceil((camera.center[:2] - reach) / GRID_MM) * GRID_MM
    for axis in range(2):
        for offset in np.arange(first[axis], camera.center[axis] + reach + 1e-6, GRID_MM):
            ends = np.full((2, 3), camera.floor_mm)
            ends[:, axis] = offset
            ends[:, 1 - axis] = camera.center[1 - axis] + np.array([-reach, reach])
            _line(image, camera.project(ends, len(image))[0], FLOOR_COLOR, 1)


def _line(image: np.ndarray, ends: np.ndarray, color: tuple[int, int, int], width: int) -> None:
    if np.isfinite(ends).all():
        cv2.line(image, _fixed_point(ends[0]), _fixed_point(ends[1]), color, width, cv2.LINE_AA, _SHIFT)


def _fixed_point(point: np.ndarray) -> tuple[int, int]:
    """Convert a position to OpenCV's fixed point; clipped, since OpenCV uses 32-bit integers."""
    x, y = np.round(np.clip(point, -1e5, 1e5) * (1 << _SHIFT))
    return int(x), int(y)
