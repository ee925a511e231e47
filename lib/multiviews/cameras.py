"""Pinhole cameras with lens distortion, for numpy arrays and torch tensors.

x_cam = R (x_world - T), where T is the camera center in mm. The lens is OpenCV's model with radial coefficients k and
tangential coefficients p: (k1, k2, p1, p2, k3) = (k[0], k[1], p[0], p[1], k[2]). Tests compare it with OpenCV.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from lib.utils.errors import InputError, brief

MIN_DEPTH_MM = 1.0  # points with a smaller depth have no projection


@dataclass(frozen=True)
class UndistortSettings:
    """Newton's method in undistort(), and the search in lens_reach()."""

    max_error_px: float = 0.1  # a pixel whose ray misses it by more has no ray
    last_step_error: float = 1e-6  # normalized units; one more step follows an error this small
    max_steps: int = 20  # most lenses need 3 to 5
    device_steps: int = 8  # on a GPU, because asking whether all points have converged would wait for it
    min_area_ratio: float = 1e-6  # lower limit of the Jacobian's determinant
    max_angle_deg: int = 85  # largest angle from the optical axis that lens_reach() tests


_SETTINGS = UndistortSettings()


@dataclass(frozen=True)
class Cameras:
    """Cameras as arrays. All fields share the leading axes, usually (frames, views).

    Attributes:
        R: (..., 3, 3) rotation world -> camera.
        T: (..., 3) camera center, world frame, mm.
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
        """Read camera dictionaries of the Human3.6M annotation.

        Args:
            records: M dictionaries with R (3,3), T (3,1), fx fy cx cy (1), k (3,1), p (2,1).

        Returns:
            Cameras with M as the leading axis, float64.

        Raises:
            InputError: an entry is missing, has a wrong size or is not finite.
        """
        sizes = {"R": 9, "T": 3, "fx": 1, "fy": 1, "cx": 1, "cy": 1, "k": 3, "p": 2}
        columns = {}
        for key, size in sizes.items():
            try:
                columns[key] = np.array([np.ravel(record[key]) for record in records], np.float64)
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"camera: entry '{key}' is missing or not {size} numbers ({brief(error)})") from None
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
    """Cameras and their crops. Crops may differ between the views and groups of a batch.

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
    """Transform points (..., P, 3), mm, from the world frame to the camera frame."""
    return (points_world - cameras.T[..., None, :]) @ cameras.R.swapaxes(-1, -2)


def camera_to_world(points_cam: Any, cameras: Cameras) -> Any:
    """Transform points (..., P, 3), mm, from the camera frame to the world frame."""
    return points_cam @ cameras.R + cameras.T[..., None, :]


def lens_terms(x: Any, y: Any, k: Sequence[Any], p: Sequence[Any]) -> tuple[Any, Any]:
    """Return factor and r2 of the lens model.

    The distorted point is (x * factor + p[1] * r2, y * factor + p[0] * r2).

    Args:
        x, y: normalized coordinates x/z and y/z, any shape.
        k, p: the 3 radial and 2 tangential coefficients, broadcast against `x`.
    """
    r2 = x * x + y * y
    return 1 + r2 * (k[0] + r2 * (k[1] + r2 * k[2])) + 2 * (p[0] * y + p[1] * x), r2


def distort(points: Any, cameras: Cameras) -> Any:
    """Apply the lens to normalized points (..., P, 2) = (x/z, y/z)."""
    k, p = cameras.k[..., None], cameras.p[..., None]
    factor, r2 = lens_terms(
        points[..., 0], points[..., 1], [k[..., i, :] for i in range(3)], [p[..., i, :] for i in range(2)]
    )
    return points * factor[..., None] + p[..., [1, 0], :].swapaxes(-1, -2) * r2[..., None]


def lens_reach(cameras: Cameras) -> Any:
    """Return the largest x^2 + y^2 of normalized points up to which the lens model is one-to-one, shape (...).

    Outside the field of view the radial polynomial of a fitted lens may decrease; such points would be projected into
    the image. The limit is searched in steps of one degree. Tangential terms are ignored.
    """
    if isinstance(cameras.k, np.ndarray) and cameras.k.ndim > 1 and cameras.k.size and cameras.k.strides[0] == 0:
        return np.broadcast_to(lens_reach(cameras[0]), cameras.k.shape[:-1])  # one rig in all frames
    k = cameras.k[..., None]
    tested = np.tan(np.radians(np.arange(_SETTINGS.max_angle_deg + 1))) ** 2
    r2, steps = (_like(values, cameras.k) for values in (tested[1:], np.diff(tested)))
    slope = 1 + r2 * (3 * k[..., 0, :] + r2 * (5 * k[..., 1, :] + r2 * 7 * k[..., 2, :]))  # d/dr of r (1 + k0 r2 + ...)
    return (((~(slope > 0)).cumsum(-1) == 0) * steps).sum(-1)


def pack_heatmap_cameras(cameras: Cameras, image_to_heatmap: np.ndarray) -> np.ndarray:
    """Return the cameras as rows of 24 numbers, for compiled kernels.

    Columns: R (9), T (3), k (3), p (2), an affine map from distorted normalized points to heatmap px (xx, xy, yx, yy,
    x0, y0), and lens_reach().

    Args:
        cameras: numpy cameras with leading axes (F, V).
        image_to_heatmap: (F, V, 2, 3) image px -> heatmap px.

    Returns:
        (F, V, 24) float64.
    """
    linear = image_to_heatmap[..., :2]
    matrix = linear * cameras.f[..., None, :]
    offset = (linear @ cameras.c[..., None])[..., 0] + image_to_heatmap[..., 2]
    columns = (cameras.R, cameras.T, cameras.k, cameras.p, matrix, offset, lens_reach(cameras))
    shape = cameras.T.shape[:2]
    return np.concatenate([column.reshape(*shape, -1) for column in columns], -1, dtype=np.float64)


def _like(values: np.ndarray, array: Any) -> Any:
    """Return values in the library, type and device of `array`."""
    if not hasattr(array, "new_tensor"):
        return values.astype(array.dtype)
    return array.new_tensor(values, device="cpu").to(array.device, non_blocking=True)  # does not wait for the device


def visible_to(points_cam: Any, cameras: Cameras) -> Any:
    """Return which points (..., P, 3), mm, in the camera frame are in front of the camera and within lens_reach().

    Returns:
        (..., P) bool; False for NaN.
    """
    depth = points_cam[..., 2]
    off_axis2 = (points_cam[..., :2] ** 2).sum(-1)
    return (depth >= MIN_DEPTH_MM) & (off_axis2 <= lens_reach(cameras)[..., None] * depth**2)


def project(points_world: Any, cameras: Cameras) -> tuple[Any, Any]:
    """Project world points into each camera.

    Args:
        points_world: (..., P, 3) mm, broadcast against the leading axes of `cameras`. For points (F, P, 3) and
            cameras (F, V): `project(points[:, None], cameras)`.
        cameras: cameras with leading axes (...).

    Returns:
        (..., P, 2) image px, and (..., P) depth along the optical axis, mm. The pixel is valid only where visible_to()
        is True.
    """
    return project_camera(world_to_camera(points_world, cameras), cameras)


def project_camera(points_cam: Any, cameras: Cameras) -> tuple[Any, Any]:
    """Project points (..., P, 3), mm, in the camera frame. Otherwise as project()."""
    depth = points_cam[..., 2]
    safe = depth.clip(MIN_DEPTH_MM)  # keeps points behind the camera finite
    normalized = points_cam[..., :2] / safe[..., None]
    return distort(normalized, cameras) * cameras.f[..., None, :] + cameras.c[..., None, :], depth


def undistort(points_img: Any, cameras: Cameras, fixed_steps: int | None = None) -> Any:
    """Convert image px (..., P, 2) to normalized points without distortion, by Newton's method within lens_reach().

    Args:
        points_img: image px.
        cameras: leading axes (...).
        fixed_steps: number of steps; None = until all points have converged, on a GPU always device_steps.

    Returns:
        (..., P, 2) = (x/z, y/z); NaN where no ray within the reach of the lens leads to the pixel.

    Source: compared with cv2.undistortPoints where that converges.
    """
    k, p = ([values[..., i, None] for i in range(values.shape[-1])] for values in (cameras.k, cameras.p))
    limit = lens_reach(cameras)[..., None] ** 0.5
    distorted = (points_img - cameras.c[..., None, :]) / cameras.f[..., None, :]
    start = _within(distorted[..., 0], distorted[..., 1], limit)
    state = (*start, *_newton_step(*start, distorted, k, p))
    is_queued = hasattr(points_img, "new_tensor") and points_img.device.type != "cpu"
    num_steps = fixed_steps or (_SETTINGS.device_steps if is_queued else None)
    for _ in range(num_steps or _SETTINGS.max_steps):
        x, y, step_x, step_y, error = state
        unfinished = error > _SETTINGS.last_step_error
        if num_steps is None and not unfinished.any():
            break
        moved = _within(x + step_x, y + step_y, limit)
        moved = (*moved, *_newton_step(*moved, distorted, k, p))
        better = unfinished & (moved[-1] < error)  # otherwise the step is repeated at half its length
        share = 1 - 0.5 * unfinished
        old = (x, y, share * step_x, share * step_y, error)
        state = tuple(better * one + ~better * other for one, other in zip(moved, old, strict=True))
    x, y, step_x, step_y, error = state
    points = distorted + 0
    points[..., 0], points[..., 1] = _within(x + step_x, y + step_y, limit)
    points[~(error * cameras.f.mean(-1)[..., None] <= _SETTINGS.max_error_px)] = math.nan
    return points


def _within(x: Any, y: Any, limit: Any) -> tuple[Any, Any]:
    """Limit the distance of points from the optical axis."""
    share = limit / ((x * x + y * y) ** 0.5).clip(limit)
    return x * share, y * share


def _newton_step(x: Any, y: Any, distorted: Any, k: Sequence[Any], p: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Return Newton's step (x, y) of undistorted points, and the error of their distorted images."""
    factor, r2 = lens_terms(x, y, k, p)
    error_x = distorted[..., 0] - x * factor - p[1] * r2
    error_y = distorted[..., 1] - y * factor - p[0] * r2
    bend = 2 * (k[0] + r2 * (2 * k[1] + r2 * 3 * k[2]))  # the 2x2 matrix of derivatives is symmetric
    xx, yy = factor + x * (x * bend + 4 * p[1]), factor + y * (y * bend + 4 * p[0])
    xy = x * y * bend + 2 * (p[0] * x + p[1] * y)
    scale = 1 / (xx * yy - xy * xy).clip(_SETTINGS.min_area_ratio)
    return (yy * error_x - xy * error_y) * scale, (xx * error_y - xy * error_x) * scale, abs(error_x) + abs(error_y)
