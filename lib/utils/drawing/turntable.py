"""A 3D pose as a small picture, seen by a camera that may go round it; fast enough for every frame of an animation."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lib.utils.drawing.vis import SIDE_COLORS, Skeleton

BACKGROUND, FLOOR, TRUTH = (250, 250, 250), (205, 205, 205), (110, 110, 110)  # BGR
ELEVATION_DEG = 15.0
GRID_MM = 500.0
SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


@dataclass(frozen=True)
class Stage:
    """Where the camera of a turntable looks.

    Attributes:
        centre: (3,) mm, the middle of the picture.
        half_mm: half the side of what the picture shows.
        floor_mm: height of the floor.
    """

    centre: np.ndarray
    half_mm: float
    floor_mm: float


def stage_of(poses: np.ndarray) -> Stage:
    """Choose a stage that holds the poses of a sequence, each standing in the middle.

    Args:
        poses: (F, K, 3) mm, z up; joints that are not finite are left out.
    """
    finite = np.isfinite(poses).all(-1)  # (F, K)
    if not finite.any():
        return Stage(np.zeros(3), 1000.0, -1000.0)
    heights = poses[finite][:, 2]
    low, high = float(heights.min()), float(heights.max())
    shown = poses[finite.any(1), :, :2]
    spread = np.nanmax(np.abs(shown - np.nanmean(shown, axis=1, keepdims=True)))
    half_mm = 1.15 * max(600.0, (high - low) / 2, float(spread))
    return Stage(np.append(np.nanmean(poses[finite][:, :2], axis=0), (low + high) / 2), half_mm, low)


def draw_turntable(
    pose: np.ndarray, truth: np.ndarray | None, skeleton: Skeleton, stage: Stage, azimuth_deg: float, side_px: int
) -> np.ndarray:
    """Draw a pose on a floor grid, without perspective, near limbs over far ones and the truth thin and grey.

    Args:
        pose: (K, 3) mm, z up; joints that are not finite are left out.
        truth: (K, 3) mm, or None.
        skeleton: of K joints.
        stage: what the picture shows.
        azimuth_deg: direction in which the camera looks, degrees from x toward y.
        side_px: side of the picture.

    Returns:
        (side_px, side_px, 3) uint8 BGR.
    """
    picture = np.full((side_px, side_px, 3), BACKGROUND, np.uint8)
    _draw_floor(picture, stage, azimuth_deg)
    width = max(2, side_px // 110)
    if truth is not None:
        points, _ = _to_picture(truth, stage, azimuth_deg, side_px)
        for edge in skeleton.edges:
            _line(picture, points[list(edge)], TRUTH, max(1, width // 2))
    points, depth = _to_picture(pose, stage, azimuth_deg, side_px)
    middle_depth = np.array([depth[list(edge)].mean() for edge in skeleton.edges])
    sides = skeleton.edge_sides()
    for edge in np.argsort(-middle_depth):  # far to near; NaN first, and not drawn
        _line(picture, points[list(skeleton.edges[edge])], SIDE_COLORS[sides[edge]], width)
    for point, side in zip(points, skeleton.sides, strict=True):
        if np.isfinite(point).all():
            cv2.circle(picture, _fixed(point), (width + 1) << SHIFT, SIDE_COLORS[side], -1, cv2.LINE_AA, SHIFT)
    return picture


def _to_picture(points: np.ndarray, stage: Stage, azimuth_deg: float, side_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, 3) mm -> (P, 2) px and (P,) depth, mm; the camera looks down by ELEVATION_DEG."""
    azimuth, elevation = np.deg2rad(azimuth_deg), np.deg2rad(ELEVATION_DEG)
    forward = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), -np.sin(elevation)])
    right = np.array([np.sin(azimuth), -np.cos(azimuth), 0.0])
    axes = np.stack([right, np.cross(forward, right), forward])  # x to the right, y down, z away
    seen = (points - stage.centre) @ axes.T
    return seen[:, :2] * (side_px / (2 * stage.half_mm)) + (side_px - 1) / 2, seen[:, 2]


def _draw_floor(picture: np.ndarray, stage: Stage, azimuth_deg: float) -> None:
    """Lines every GRID_MM that stay where they are in the world while the stage follows the person."""
    reach = 2 * GRID_MM * max(1, round(stage.half_mm / GRID_MM / 2))
    first = np.ceil((stage.centre[:2] - reach) / GRID_MM) * GRID_MM
    for axis in range(2):
        for offset in np.arange(first[axis], stage.centre[axis] + reach + 1e-6, GRID_MM):
            ends = np.full((2, 3), stage.floor_mm)
            ends[:, axis] = offset
            ends[:, 1 - axis] = stage.centre[1 - axis] + np.array([-reach, reach])
            _line(picture, _to_picture(ends, stage, azimuth_deg, len(picture))[0], FLOOR, 1)


def _line(picture: np.ndarray, ends: np.ndarray, color: tuple[int, int, int], width: int) -> None:
    if np.isfinite(ends).all():
        cv2.line(picture, _fixed(ends[0]), _fixed(ends[1]), color, width, cv2.LINE_AA, SHIFT)


def _fixed(point: np.ndarray) -> tuple[int, int]:
    """Position in OpenCV's fixed point; far outside the picture it is clipped, since OpenCV takes 32 bits."""
    x, y = np.round(np.clip(point, -1e5, 1e5) * (1 << SHIFT))
    return int(x), int(y)
