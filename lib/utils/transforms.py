"""Crops as 2x3 affine matrices: image px -> network input px -> heatmap px.

Pixel centres lie on integers, points are (x, y), sizes are (width, height).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

SCALE_UNIT_PX = 200.0  # MPII's unit: scale is the box side divided by this


def get_affine_transform(
    center: np.ndarray, scale: np.ndarray, rotation_deg: np.ndarray | float, output_wh: Sequence[int]
) -> np.ndarray:
    """Map a box of the image onto a crop; one similarity transform, square in the box *width*.

    Args:
        center: (..., 2) box centre, image px.
        scale: (..., 2) box (width, height) / 200 px; the height is ignored, as published.
        rotation_deg: (...) rotation of the box, degrees.
        output_wh: (width, height) of the crop, px.

    Returns:
        (..., 2, 3) matrices, image px -> crop px.

    Source: the crop of Simple Baselines, in closed form.
    """
    center = np.asarray(center, np.float64)
    factor = output_wh[0] / (np.asarray(scale, np.float64)[..., 0] * SCALE_UNIT_PX)
    angle = np.deg2rad(rotation_deg)
    cos, sin = factor * np.cos(angle), factor * np.sin(angle)
    linear = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)  # (..., 2, 2)
    shift = np.asarray(output_wh) / 2.0 - (linear @ center[..., None])[..., 0]
    return np.concatenate([linear, shift[..., None]], -1)


def image_to_heatmap_affine(
    center: np.ndarray, scale: np.ndarray, image_wh: Sequence[int], heatmap_wh: Sequence[int]
) -> np.ndarray:
    """Map image px to heatmap px for crops without rotation.

    Args:
        center: (..., 2) box centre, image px.
        scale: (..., 2) box side / 200 px.
        image_wh: network input (width, height), px.
        heatmap_wh: heatmap (width, height), px.

    Returns:
        (..., 2, 3) matrices, image px -> heatmap px.
    """
    return to_heatmap(get_affine_transform(center, scale, 0.0, image_wh), image_wh, heatmap_wh)


def to_heatmap(matrix: np.ndarray, image_wh: Sequence[int], heatmap_wh: Sequence[int]) -> np.ndarray:
    """Continue (..., 2, 3) matrices image px -> network input px to heatmap px; sizes as in image_to_heatmap_affine."""
    stride = np.asarray(image_wh, np.float64) / np.asarray(heatmap_wh, np.float64)
    return matrix / stride[:, None]


def invert_affine(matrix: np.ndarray) -> np.ndarray:
    """Invert (..., 2, 3) affine matrices."""
    linear = np.linalg.inv(matrix[..., :2])
    return np.concatenate([linear, -linear @ matrix[..., 2:]], -1)


def transform_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply affine matrices to points; works on numpy arrays and torch tensors.

    Args:
        points: (..., P, 2) points.
        matrix: (..., 2, 3) affine matrices.

    Returns:
        (..., P, 2) transformed points.
    """
    return points @ matrix[..., :2].swapaxes(-1, -2) + matrix[..., None, :, 2]


def crop_image(image: np.ndarray, matrix: np.ndarray, output_wh: Sequence[int]) -> np.ndarray:
    """Warp an image with a 2x3 matrix (bilinear, black outside).

    Args:
        image: (rows, columns, 3) uint8.
        matrix: (2, 3) image px -> crop px.
        output_wh: (width, height) of the crop.

    Returns:
        (height, width, 3) uint8.
    """
    return cv2.warpAffine(image, matrix, (int(output_wh[0]), int(output_wh[1])), flags=cv2.INTER_LINEAR)
