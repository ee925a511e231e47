"""Cameras for compiled functions: rows of pack_heatmap_cameras(). lib/multiviews/cameras.py describes the model."""

import numpy as np

from lib.multiviews.cameras import MIN_DEPTH_MM
from lib.multiviews.compiled import inner

_OUTSIDE_PX = -2.0  # a coordinate whose bilinear weights are all 0


@inner({"contract", "nsz"})
def project_camera_point(x, y, z, camera):
    """Project a point of the camera frame, mm: heatmap px (x, y); x is _OUTSIDE_PX if the camera cannot see it."""
    nearness = 1.0 / max(z, MIN_DEPTH_MM)  # keeps points behind the camera finite
    x *= nearness
    y *= nearness
    r2 = x * x + y * y
    factor = 1 + r2 * (camera[12] + r2 * (camera[13] + r2 * camera[14])) + 2 * (camera[15] * y + camera[16] * x)
    u = x * factor + camera[16] * r2
    v = y * factor + camera[15] * r2
    x_hm = camera[17] * u + camera[18] * v + camera[21]
    y_hm = camera[19] * u + camera[20] * v + camera[22]
    visible = (z >= MIN_DEPTH_MM) & (r2 <= camera[23])
    return x_hm if visible else _OUTSIDE_PX, y_hm


@inner({"contract", "nsz"})
def center_in_camera(point, camera):
    """Return a world point (3,) in the camera frame: x, y, z, mm."""
    x, y, z = point[0] - camera[9], point[1] - camera[10], point[2] - camera[11]
    return (
        camera[0] * x + camera[1] * y + camera[2] * z,
        camera[3] * x + camera[4] * y + camera[5] * z,
        camera[6] * x + camera[7] * y + camera[8] * z,
    )


@inner({"nnan", "contract", "nsz"})
def bilinear(x_hm, y_hm, height, width):
    """Return column and row (float) of the upper left pixel, and the four weights of bilinear_taps()."""
    left = min(max(np.floor(x_hm), 0.0), width - 2.0)
    top = min(max(np.floor(y_hm), 0.0), height - 2.0)
    x, y = x_hm - left, y_hm - top
    left_part, right_part = max(1 - abs(x), 0.0), max(1 - abs(x - 1), 0.0)
    top_part, bottom_part = max(1 - abs(y), 0.0), max(1 - abs(y - 1), 0.0)
    return left, top, top_part * left_part, top_part * right_part, bottom_part * left_part, bottom_part * right_part


@inner()
def camera_numbers(camera):
    """Return a packed camera (24,) as a tuple: unlike array entries, the compiler can keep its numbers in registers."""
    c = camera
    return (
        (c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9], c[10], c[11])
        + (c[12], c[13], c[14], c[15], c[16], c[17], c[18], c[19], c[20], c[21], c[22], c[23])
    )  # fmt: skip
