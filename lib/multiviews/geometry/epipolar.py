"""Epipolar curves of images with lens distortion.

The epipolar line of a pixel is a curve if the lenses distort. Here it is a polyline with one vertex per depth.
"""

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

NEAREST_MM = 50.0  # first depth of a sampled ray
FARTHEST_MM = 1e5  # last depth of a sampled ray
_NUM_OUTSIDE = 48  # depths in front of the person, and as many behind
_NUM_NEAR = 81  # depths around the person


def epipolar_curve(points_img: Any, cameras: Cameras, other_cameras: Cameras, depths: Any) -> tuple[Any, Any]:
    """Project the rays of pixels of one view into other views. Takes numpy arrays or torch tensors.

    Args:
        points_img: (..., P, 2) image px, with lens distortion.
        cameras: cameras of these pixels, leading axes (...).
        other_cameras: cameras to project into; their leading axes are broadcast against those of `cameras`. Axes
            (F, V, 1) and (F, 1, V) give all ordered pairs of views.
        depths: depths along the optical axis of `cameras`, mm, broadcast against (..., P, D).

    Returns:
        curve: (..., P, D, 2) px of the other images, with lens distortion; undefined where not valid.
        valid: (..., P, D) bool, the point is visible_to() both cameras.

    Source: compared with cv2.undistortPoints and cv2.projectPoints.
    """
    plane = undistort(points_img, cameras)  # (..., P, 2)
    rays = plane @ cameras.R[..., :2, :] + cameras.R[..., 2:, :]  # (..., P, 3), world frame, 1 along the optical axis
    points_world = rays[..., None, :] * depths[..., None] + cameras.T[..., None, None, :]  # (..., P, D, 3)
    num_points, num_depths = points_world.shape[-3:-1]
    points_cam = world_to_camera(points_world.reshape(*points_world.shape[:-3], -1, 3), other_cameras)
    curve, _ = project_camera(points_cam, other_cameras)
    valid = visible_to(points_cam, other_cameras)  # False for NaN: pixels without a ray
    own = ((plane**2).sum(-1) <= lens_reach(cameras)[..., None])[..., None] & (depths >= MIN_DEPTH_MM)  # (..., P, D)
    shape = (*curve.shape[:-2], num_points, num_depths)
    return curve.reshape(*shape, 2), valid.reshape(shape) & own


def curve_depths(middle_mm: np.ndarray, reach_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Choose depths for sampling rays: evenly spaced around a person, logarithmically in front and behind.

    Args:
        middle_mm: (...) depth of the person.
        reach_mm: half the length of the evenly spaced part.

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
    """Cut curves to the part inside a map and reduce the number of vertices.

    Args:
        curve: (..., D, 2) px of the map.
        valid: (..., D).
        size_wh: (width, height) of the map.
        margin: border around the map that counts as inside, px.
        num_points: vertices to keep. Epipolar curves are almost straight, so few are enough.

    Returns:
        (..., num_points, 2) and (..., num_points): the part from the last vertex before the map to the first one after
        it. A curve without a vertex in the map has no valid point.
    """
    inside = valid & (curve >= -0.5 - margin).all(-1) & (curve <= np.asarray(size_wh) - 0.5 + margin).all(-1)
    end = curve.shape[-2] - 1
    first = np.maximum(inside.argmax(-1) - 1, 0)
    last = np.minimum(end - inside[..., ::-1].argmax(-1) + 1, end)
    index = np.rint(np.linspace(first, last, num_points, axis=-1)).astype(np.int64)  # (..., num_points)
    kept = np.take_along_axis(valid, index, -1) & inside.any(-1)[..., None]
    return np.take_along_axis(curve, index[..., None], -2), kept


def distance_to_curve(points: np.ndarray, curve: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return the distances (..., K) of points from polylines; infinite for a polyline without a valid segment.

    Args:
        points: (..., K, 2).
        curve: (..., D, 2) vertices in the same px; leading axes are broadcast against those of `points`.
        valid: (..., D); a segment is valid if both of its ends are.
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
