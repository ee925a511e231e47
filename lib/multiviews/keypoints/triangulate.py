"""Triangulation by the direct linear transform (DLT)."""

import numpy as np

from lib.multiviews.cameras import Cameras, undistort
from lib.utils.errors import InputError, check_shape


def triangulate(points_img: np.ndarray, cameras: Cameras, weights: np.ndarray | None = None) -> np.ndarray:
    """Triangulate points by weighted linear least squares.

    Views without a finite point or without a positive weight are ignored. The minimized error is the error on the image
    plane times the depth, a distance in space.

    Args:
        points_img: (F, V, P, 2) image px, with lens distortion; NaN = not seen.
        cameras: cameras with leading axes (F, V).
        weights: (F, V, P) weight of each view; None = equal weights.

    Returns:
        (F, P, 3) world frame, mm; NaN for fewer than two views, and for collinear or parallel rays.

    Raises:
        InputError: shapes disagree, or fewer than two views.

    Source: Hartley and Zisserman, Multiple View Geometry, section 12.2; compared with cv2.triangulatePoints.
    """
    points_img = np.asarray(points_img, np.float64)
    sizes = check_shape("points_img", points_img.shape, ("F", "V", "P", 2))
    num_frames, num_views = sizes["F"], sizes["V"]
    if num_views < 2:
        raise InputError(f"triangulation needs at least 2 views, received {num_views}")
    check_shape("cameras.T", cameras.T.shape, (num_frames, num_views, 3))
    weights = np.ones(points_img.shape[:3]) if weights is None else np.asarray(weights, np.float64)
    check_shape("weights", weights.shape, points_img.shape[:3])

    used = np.isfinite(points_img).all(-1) & np.isfinite(weights) & (weights > 0)  # (F, V, P)
    points = undistort(np.where(used[..., None], points_img, cameras.c[..., None, :]), cameras)
    used &= np.isfinite(points).all(-1)
    points = np.where(used[..., None], points, 0.0)
    weights = np.where(used, weights, 0.0)
    weights = weights / np.maximum(weights.max(1, keepdims=True), np.finfo(float).tiny)

    # Unknowns near 1: the origin is the mean of the camera centers, the unit their distance from it.
    middle = cameras.T.mean(1)  # (F, 3)
    unit = np.sqrt(((cameras.T - middle[:, None]) ** 2).sum(-1).mean(1))  # (F,) mm
    unit = np.where(unit > 0, unit, 1.0)
    shift = cameras.R @ ((middle[:, None] - cameras.T) / unit[:, None, None])[..., None]
    matrix = np.concatenate([cameras.R, shift], -1)  # (F, V, 3, 4): camera coordinates of scaled world points
    rows = points[..., None] * matrix[:, :, None, 2:] - matrix[:, :, None, :2]  # (F, V, P, 2, 4)
    rows = (rows * weights[..., None, None]).swapaxes(1, 2).reshape(num_frames, sizes["P"], 2 * num_views, 4)
    _, singular, vectors = np.linalg.svd(rows, full_matrices=False)  # (F, P, 4), (F, P, 4, 4)
    solution = vectors[..., 3, :]

    # With one view, or with collinear rays, the solution is not unique.
    determined = (used.sum(1) >= 2) & (singular[..., 2] > 1e-9 * singular[..., 0])
    finite = np.abs(solution[..., 3]) > 1e-9  # closer than a billion times the size of the rig
    scale = np.where(finite, solution[..., 3], 1.0)
    points_world = solution[..., :3] / scale[..., None] * unit[:, None, None] + middle[:, None]
    return np.where((determined & finite)[..., None], points_world, np.nan)
