"""Epipolar geometry of images with lens distortion: where in other images the points lie that one pixel may show.

With distortion the epipolar line is a curve; it is a polyline here, one corner per depth.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lib.multiviews.cameras import (
    MIN_DEPTH_MM,
    Cameras,
    lens_reach,
    project_camera,
    undistort,
    visible_to,
    world_to_camera,
)

NEAREST_MM = 50.0  # first and last depth of a sampled ray
FARTHEST_MM = 1e5
_NUM_OUTSIDE = 48  # depths before, and as many behind, the person; depths around him
_NUM_NEAR = 81


def epipolar_curve(points_img: Any, cameras: Cameras, other_cameras: Cameras, depths: Any) -> tuple[Any, Any]:
    """Project what pixels of one view may show into other views; numpy or torch.

    Args:
        points_img: (..., P, 2) px of the original images, with lens distortion.
        cameras: cameras of these pixels, leading axes (...).
        other_cameras: cameras to project into, with leading axes that are broadcast against those of `cameras`, as
            (F, 1, V) is against (F, V, 1): all ordered pairs of views.
        depths: (D,) or (..., P, D) or anything that is broadcast against the latter; along the optical axis of
            `cameras`, mm.

    Returns:
        curve: (..., P, D, 2) px of the other original images, with their distortion; meaningless where not valid.
        valid: (..., P, D) bool: the point is before both cameras, and within the reach of both lens models.

    Source: checked against cv2.undistortPoints and cv2.projectPoints.
    """
    plane = undistort(points_img, cameras)  # (..., P, 2)
    rays = plane @ cameras.R[..., :2, :] + cameras.R[..., 2:, :]  # (..., P, 3), world frame, 1 along the optical axis
    points_world = rays[..., None, :] * depths[..., None] + cameras.T[..., None, None, :]  # (..., P, D, 3)
    num_points, num_depths = points_world.shape[-3:-1]
    points_cam = world_to_camera(points_world.reshape(*points_world.shape[:-3], -1, 3), other_cameras)
    curve, _ = project_camera(points_cam, other_cameras)
    valid = visible_to(points_cam, other_cameras)  # not for NaN, from pixels that no ray has
    own = ((plane**2).sum(-1) <= lens_reach(cameras)[..., None])[..., None] & (depths >= MIN_DEPTH_MM)  # (..., P, D)
    shape = (*curve.shape[:-2], num_points, num_depths)
    return curve.reshape(*shape, 2), valid.reshape(shape) & own


def curve_depths(middle_mm: np.ndarray, reach_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Choose depths at which to sample rays: evenly around a person, coarser from the lens to there and beyond.

    Args:
        middle_mm: (...) depth of the person.
        reach_mm: how far around it the depths are dense.

    Returns:
        depths: (..., D) mm, ascending from NEAREST_MM to FARTHEST_MM.
        near: (D,) bool: from middle - reach (or NEAREST_MM) to middle + reach.
    """
    low = np.maximum(np.asarray(middle_mm) - reach_mm, NEAREST_MM)
    high = np.asarray(middle_mm) + reach_mm
    before = np.geomspace(np.full_like(low, NEAREST_MM), low, _NUM_OUTSIDE, endpoint=False, axis=-1)
    around = np.linspace(low, high, _NUM_NEAR, axis=-1)
    beyond = np.geomspace(np.full_like(high, FARTHEST_MM), high, _NUM_OUTSIDE, endpoint=False, axis=-1)[..., ::-1]
    near = np.repeat([False, True, False], [_NUM_OUTSIDE, _NUM_NEAR, _NUM_OUTSIDE])
    return np.concatenate([before, around, beyond], -1), near


def cut_curve(
    curve: np.ndarray, valid: np.ndarray, size_wh: tuple[int, int], margin: float = 0.0, num_points: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """Keep the part of curves that runs through a map, with fewer corners.

    Args:
        curve: (..., D, 2) px of the map.
        valid: (..., D).
        size_wh: (width, height) of the map.
        margin: px around the map that count as part of it.
        num_points: corners to keep; an epipolar curve is so straight that few will do.

    Returns:
        (..., num_points, 2) and (..., num_points): the part from the last corner before the map to the first behind
        it; nothing is valid where a curve has no corner in the map.
    """
    inside = valid & (curve >= -0.5 - margin).all(-1) & (curve <= np.asarray(size_wh) - 0.5 + margin).all(-1)
    end = curve.shape[-2] - 1
    first = np.maximum(inside.argmax(-1) - 1, 0)
    last = np.minimum(end - inside[..., ::-1].argmax(-1) + 1, end)
    index = np.rint(np.linspace(first, last, num_points, axis=-1)).astype(np.int64)  # (..., num_points)
    kept = np.take_along_axis(valid, index, -1) & inside.any(-1)[..., None]
    return np.take_along_axis(curve, index[..., None], -2), kept


def distance_to_curve(points: np.ndarray, curve: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Measure how far points are from polylines.

    Args:
        points: (..., K, 2).
        curve: (..., D, 2) corners in the same px; leading axes are broadcast against those of `points`.
        valid: (..., D); a piece counts if both of its ends are valid.

    Returns:
        (..., K) distances; infinite where no piece of the curve is valid.
    """
    usable = (valid[..., :-1] & valid[..., 1:])[..., None, :]  # (..., 1, D-1)
    corners = np.where(valid[..., None], curve, 0.0)
    start = corners[..., None, :-1, :]  # (..., 1, D-1, 2)
    step = np.diff(corners, axis=-2)[..., None, :, :]
    x, y = points[..., 0, None] - start[..., 0], points[..., 1, None] - start[..., 1]  # (..., K, D-1)
    length2 = np.maximum((step**2).sum(-1), np.finfo(np.float64).tiny)  # depths may coincide
    along = ((x * step[..., 0] + y * step[..., 1]) / length2).clip(0, 1)
    distance2 = (x - along * step[..., 0]) ** 2 + (y - along * step[..., 1]) ** 2
    return np.sqrt(np.where(usable, distance2, np.inf).min(-1))
