"""Pinhole cameras with lens distortion, written once for numpy arrays and torch tensors.

x_cam = R (x_world - T) with T the camera *centre* in mm. Radial k (3) and tangential p (2) coefficients are
OpenCV's model with (k1, k2, p1, p2, k3) = (k[0], k[1], p[0], p[1], k[2]); OpenCV is the check on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lib.utils.errors import InputError

MIN_DEPTH_MM = 1.0  # points nearer than this, or behind the camera, have no projection
_MISSED_PX = 0.1  # more, and a pixel's ray has not been found
_CLOSE = 1e-6  # the step from an error this small is the last one; 3 to 5 steps do for most lenses
_MOST_STEPS = 20
_FLAT = 1e-6  # share of its size that a lens leaves an area; less is taken for this
_WIDEST_DEG = 85  # from the optical axis; no lens of this model sees further


@dataclass(frozen=True)
class Cameras:
    """Cameras as arrays; the leading axes (often frames, views) are free and equal in all fields.

    Attributes:
        R: (..., 3, 3) rotation world -> camera.
        T: (..., 3) camera centre, world frame, mm.
        f: (..., 2) focal lengths (fx, fy), px.
        c: (..., 2) principal point (cx, cy), image px.
        k: (..., 3) radial distortion.
        p: (..., 2) tangential distortion.
    """

    R: Any
    T: Any
    f: Any
    c: Any
    k: Any
    p: Any

    @classmethod
    def from_records(cls, records: Sequence[dict]) -> Cameras:
        """Read the camera dictionaries of the Human3.6M annotation.

        Args:
            records: M dictionaries with R (3,3), T (3,1), fx fy cx cy (1), k (3,1), p (2,1).

        Returns:
            Cameras with M as the leading axis, float64.

        Raises:
            InputError: an entry is missing, has another size or is not finite.
        """
        sizes = {"R": 9, "T": 3, "fx": 1, "fy": 1, "cx": 1, "cy": 1, "k": 3, "p": 2}
        columns = {}
        for key, size in sizes.items():
            try:
                columns[key] = np.array([np.ravel(record[key]) for record in records], np.float64)
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"camera: entry '{key}' is missing or not {size} numbers ({error})") from None
            if columns[key].shape != (len(records), size) or not np.isfinite(columns[key]).all():
                raise InputError(f"camera: entry '{key}' must be {size} finite numbers per camera")
        return cls(
            R=columns["R"].reshape(-1, 3, 3),
            T=columns["T"],
            f=np.concatenate([columns["fx"], columns["fy"]], 1),
            c=np.concatenate([columns["cx"], columns["cy"]], 1),
            k=columns["k"],
            p=columns["p"],
        )

    def map(self, function: Callable) -> Cameras:
        """Apply a function to every array, e.g. `cameras.map(torch.as_tensor)`."""
        return Cameras(**{field.name: function(getattr(self, field.name)) for field in fields(self)})

    def __getitem__(self, index: Any) -> Cameras:
        """Index the leading axes."""
        return self.map(lambda array: array[index])

    def __len__(self) -> int:
        return len(self.T)


@dataclass(frozen=True)
class CropCameras:
    """Cameras and the crops whose heatmaps they made; each view of each group may have its own.

    Attributes:
        cameras: leading axes (...), often (B, V).
        to_heatmap: (..., 2, 3) image px -> heatmap px.
    """

    cameras: Cameras
    to_heatmap: Any

    def map(self, function: Callable) -> CropCameras:
        """Apply a function to every array."""
        return CropCameras(self.cameras.map(function), function(self.to_heatmap))

    def __getitem__(self, index: Any) -> CropCameras:
        """Index the leading axes."""
        return self.map(lambda array: array[index])

    def __len__(self) -> int:
        return len(self.to_heatmap)


def world_to_camera(points_world: Any, cameras: Cameras) -> Any:
    """Points (..., P, 3) in the world frame -> (..., P, 3) in the camera frame, mm; axes ... as in `cameras`."""
    return (points_world - cameras.T[..., None, :]) @ cameras.R.swapaxes(-1, -2)


def camera_to_world(points_cam: Any, cameras: Cameras) -> Any:
    """Points (..., P, 3) in the camera frame -> (..., P, 3) in the world frame, mm; axes ... as in `cameras`."""
    return points_cam @ cameras.R + cameras.T[..., None, :]


def lens_terms(x: Any, y: Any, k: Sequence[Any], p: Sequence[Any]) -> tuple[Any, Any]:
    """Return (factor, r2) of the lens model: the distorted x is x * factor + p[1] * r2, y is y * factor + p[0] * r2.

    Args:
        x: normalised x/z, any shape.
        y: normalised y/z, the same shape.
        k: the 3 radial coefficients, each broadcast against `x`.
        p: the 2 tangential coefficients, likewise.
    """
    r2 = x * x + y * y
    return 1 + r2 * (k[0] + r2 * (k[1] + r2 * k[2])) + 2 * (p[0] * y + p[1] * x), r2


def distort(points: Any, cameras: Cameras) -> Any:
    """Apply the lens to normalised points (..., P, 2) = (x/z, y/z); same shape."""
    k, p = cameras.k[..., None], cameras.p[..., None]
    factor, r2 = lens_terms(
        points[..., 0], points[..., 1], [k[..., i, :] for i in range(3)], [p[..., i, :] for i in range(2)]
    )
    return points * factor[..., None] + p[..., [1, 0], :].swapaxes(-1, -2) * r2[..., None]


def lens_reach(cameras: Cameras) -> Any:
    """Find how far from the optical axis a lens model can be trusted: up to where it is one-to-one.

    The radial polynomial of a fitted lens may turn back outside the field of view, and then shows points there inside
    the image. Found in steps of one degree, up to 85 degrees; the small tangential terms are left out.

    Args:
        cameras: cameras with leading axes (...).

    Returns:
        (...) the largest trusted x^2 + y^2 of normalised points (x, y) = (x/z, y/z).
    """
    k = cameras.k[..., None]
    tried = np.tan(np.radians(np.arange(_WIDEST_DEG + 1))) ** 2
    r2, steps = (_like(values, cameras.k) for values in (tried[1:], np.diff(tried)))
    slope = 1 + r2 * (3 * k[..., 0, :] + r2 * (5 * k[..., 1, :] + r2 * 7 * k[..., 2, :]))  # of r (1 + k0 r2 + ...) by r
    return ((slope > 0).cumprod(-1) * steps).sum(-1)


def _like(values: np.ndarray, array: Any) -> Any:
    """Return values as an array of the same library, type and device."""
    return array.new_tensor(values) if hasattr(array, "new_tensor") else values.astype(array.dtype)


def visible_to(points_cam: Any, cameras: Cameras) -> Any:
    """Tell which points have a projection that means something: before the camera, and within its lens's reach.

    Args:
        points_cam: (..., P, 3) camera frame, mm.
        cameras: leading axes (...).

    Returns:
        (..., P) bool; false for NaN.
    """
    depth = points_cam[..., 2]
    off_axis2 = (points_cam[..., :2] ** 2).sum(-1)
    return (depth >= MIN_DEPTH_MM) & (off_axis2 <= lens_reach(cameras)[..., None] * depth**2)


def project(points_world: Any, cameras: Cameras) -> tuple[Any, Any]:
    """Project world points into each camera.

    Args:
        points_world: (..., P, 3) mm, broadcast against the leading axes of `cameras`; add an axis of one for
            the views: `project(points[:, None], cameras)` with points (F, P, 3) and cameras (F, V).
        cameras: cameras with leading axes (...).

    Returns:
        (..., P, 2) image px, and (..., P) depth along the optical axis in mm. Where the depth is below
        MIN_DEPTH_MM the pixel is meaningless; test the depth, or visible_to(), which knows the lens's reach too.
    """
    return project_camera(world_to_camera(points_world, cameras), cameras)


def project_camera(points_cam: Any, cameras: Cameras) -> tuple[Any, Any]:
    """Project points (..., P, 3) in the camera frame, mm; otherwise as project()."""
    depth = points_cam[..., 2]
    safe = depth.clip(MIN_DEPTH_MM)  # keeps points behind the camera finite
    normalised = points_cam[..., :2] / safe[..., None]
    return distort(normalised, cameras) * cameras.f[..., None, :] + cameras.c[..., None, :], depth


def undistort(points_img: Any, cameras: Cameras) -> Any:
    """Image px -> normalised points without lens distortion, by Newton's method within the lens's reach.

    Args:
        points_img: (..., P, 2) image px.
        cameras: cameras with leading axes (...).

    Returns:
        (..., P, 2) = (x/z, y/z); NaN where no ray within the lens's reach leads to the pixel.

    Source: checked against cv2.undistortPoints where that converges.
    """
    k, p = ([values[..., i, None] for i in range(values.shape[-1])] for values in (cameras.k, cameras.p))
    limit = lens_reach(cameras)[..., None] ** 0.5
    distorted = (points_img - cameras.c[..., None, :]) / cameras.f[..., None, :]
    start = _within(distorted[..., 0], distorted[..., 1], limit)
    state = (*start, *_newton_step(*start, distorted, k, p))
    for _ in range(_MOST_STEPS):
        x, y, step_x, step_y, missed = state
        if not (missed > _CLOSE).any():
            break
        moved = _within(x + step_x, y + step_y, limit)
        moved = (*moved, *_newton_step(*moved, distorted, k, p))
        better = moved[-1] < missed  # a step that brings nothing is tried again at half its length
        state = tuple(
            better * new + ~better * old for new, old in zip(moved, (x, y, step_x / 2, step_y / 2, missed), strict=True)
        )
    x, y, step_x, step_y, missed = state
    points = distorted + 0
    points[..., 0], points[..., 1] = _within(x + step_x, y + step_y, limit)
    points[~(missed * cameras.f.mean(-1)[..., None] <= _MISSED_PX)] = math.nan
    return points


def _within(x: Any, y: Any, limit: Any) -> tuple[Any, Any]:
    """Move points that are farther than `limit` from the axis there, along their radius."""
    share = limit / ((x * x + y * y) ** 0.5).clip(limit)
    return x * share, y * share


def _newton_step(x: Any, y: Any, distorted: Any, k: Sequence[Any], p: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Return by how much to move undistorted points, and how far their images are from where they should be."""
    factor, r2 = lens_terms(x, y, k, p)
    error_x = distorted[..., 0] - x * factor - p[1] * r2
    error_y = distorted[..., 1] - y * factor - p[0] * r2
    bend = 2 * (k[0] + r2 * (2 * k[1] + r2 * 3 * k[2]))  # the 2x2 matrix of derivatives is symmetric
    xx, yy = factor + x * (x * bend + 4 * p[1]), factor + y * (y * bend + 4 * p[0])
    xy = x * y * bend + 2 * (p[0] * x + p[1] * y)
    scale = 1 / (xx * yy - xy * xy).clip(_FLAT)
    return (yy * error_x - xy * error_y) * scale, (xx * error_y - xy * error_x) * scale, abs(error_x) + abs(error_y)
