"""How a file states lengths and camera positions; turned into mm and camera centres here and nowhere else."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from lib.multiviews.cameras import Cameras
from lib.utils.errors import InputError

MM_PER_UNIT = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
CAMERA_T_MEANINGS = ("center", "translation")
ROTATION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Conventions:
    """What the numbers of an annotation mean.

    Attributes:
        pose_unit: of the joints in the camera frame, a key of MM_PER_UNIT.
        camera_unit: of `T`.
        camera_t: `T` is the camera's "center" in the world, x_cam = R (x_world - T), or the "translation" of
            x_cam = R x_world + T.
    """

    pose_unit: str = "mm"
    camera_unit: str = "mm"
    camera_t: str = "center"

    def convert(self, pose_cam: np.ndarray, cameras: Cameras) -> tuple[np.ndarray, Cameras]:
        """Turn what a file states into mm and camera centres.

        Args:
            pose_cam: (M, J, 3) joints in the camera frame, `pose_unit`.
            cameras: leading axis C, `T` as the file states it.

        Returns:
            The same in mm, and cameras whose T is the centre in mm.
        """
        pose_scale, camera_scale = MM_PER_UNIT[self.pose_unit], MM_PER_UNIT[self.camera_unit]
        centre = cameras.T * camera_scale
        if self.camera_t == "translation":
            centre = -(cameras.R.swapaxes(-1, -2) @ centre[..., None])[..., 0]
        pose_mm = pose_cam if pose_scale == 1 else pose_cam * pose_cam.dtype.type(pose_scale)
        return pose_mm, replace(cameras, T=centre)


PUBLISHED = Conventions()


def likely_unit(length_mm: float, unit: str, usual_mm: float) -> str:
    """Return the unit of MM_PER_UNIT in which a length would be nearest to what is usual.

    Args:
        length_mm: positive, as it is if the file is in `unit`.
        unit: a key of MM_PER_UNIT.
        usual_mm: what such lengths are like.
    """
    return min(
        MM_PER_UNIT, key=lambda other: abs(math.log(length_mm * MM_PER_UNIT[other] / MM_PER_UNIT[unit] / usual_mm))
    )


def check_rotations(cameras: Cameras) -> None:
    """Raise an InputError if R of a camera is no rotation.

    Args:
        cameras: leading axis C.
    """
    product = cameras.R @ cameras.R.swapaxes(-1, -2)
    wrong = np.abs(product - np.eye(3)).max((-1, -2)) > ROTATION_TOLERANCE
    if wrong.any():
        raise InputError(f"camera {int(np.flatnonzero(wrong)[0])}: R is no rotation, its rows are not orthonormal")
    mirrored = np.linalg.det(cameras.R) < 0
    if mirrored.any():
        raise InputError(f"camera {int(np.flatnonzero(mirrored)[0])}: R mirrors the world (determinant -1)")
