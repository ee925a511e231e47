"""Units and camera conventions of annotation files, and their conversion to mm and camera centers."""

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
    """Meaning of the numbers in an annotation file.

    Attributes:
        pose_unit: unit of the joints in the camera frame, a key of MM_PER_UNIT.
        camera_unit: unit of `T`.
        camera_t: "center": x_cam = R (x_world - T). "translation": x_cam = R x_world + T.
    """

    pose_unit: str = "mm"
    camera_unit: str = "mm"
    camera_t: str = "center"

    def convert(self, pose_cam: np.ndarray, cameras: Cameras) -> tuple[np.ndarray, Cameras]:
        """Convert joints (M, J, 3) in the camera frame and cameras (C) to mm, with camera centers as T."""
        pose_scale, camera_scale = MM_PER_UNIT[self.pose_unit], MM_PER_UNIT[self.camera_unit]
        center = cameras.T * camera_scale
        if self.camera_t == "translation":
            center = -(cameras.R.swapaxes(-1, -2) @ center[..., None])[..., 0]
        pose_mm = pose_cam if pose_scale == 1 else pose_cam * pose_cam.dtype.type(pose_scale)
        return pose_mm, replace(cameras, T=center)


ORIGINAL_CONVENTIONS = Conventions()  # of the original code


def likely_unit(length_mm: float, unit: str, usual_mm: float) -> str:
    """Return the unit of MM_PER_UNIT in which a length is closest to its usual value.

    Args:
        length_mm: positive length, converted with `unit`.
        unit: key of MM_PER_UNIT.
        usual_mm: usual value.
    """
    return min(
        MM_PER_UNIT, key=lambda other: abs(math.log(length_mm * MM_PER_UNIT[other] / MM_PER_UNIT[unit] / usual_mm))
    )


def check_rotations(cameras: Cameras) -> None:
    """Raise an InputError if R of one of C cameras is not a rotation."""
    product = cameras.R @ cameras.R.swapaxes(-1, -2)
    wrong = ~(np.abs(product - np.eye(3)).max((-1, -2)) <= ROTATION_TOLERANCE)  # NaN is wrong as well
    if wrong.any():
        raise InputError(f"camera {int(np.flatnonzero(wrong)[0])}: R is not a rotation, its rows are not orthonormal")
    mirrored = np.linalg.det(cameras.R) < 0
    if mirrored.any():
        raise InputError(f"camera {int(np.flatnonzero(mirrored)[0])}: R mirrors the world (determinant -1)")
