"""Crops as 2x3 affine matrices: image px -> crop px -> heatmap px.

Pixel centers are integers, points are (x, y), sizes are (width, height).
"""

from collections.abc import Sequence

import cv2
import numpy as np

SCALE_UNIT_PX = 200.0  # unit of `scale`, from MPII
# Normalization of network inputs, applied to BGR images in this order, because trained checkpoints depend on it.
IMAGE_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGE_STD = np.array([0.229, 0.224, 0.225], np.float32)


def get_affine_transform(
    center: np.ndarray, scale: np.ndarray, rotation_deg: np.ndarray | float, output_wh: Sequence[int]
) -> np.ndarray:
    """Return the similarity transform from a square box of the image to a crop.

    Args:
        center: (..., 2) box center, image px.
        scale: (..., 2) box (width, height) / 200 px. Only the width counts, as in the original code.
        rotation_deg: (...) box rotation, degrees.
        output_wh: (width, height) of the crop, px.

    Returns:
        (..., 2, 3) matrices, image px -> crop px.

    Source: closed form of the crop in Simple Baselines.
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
    """Return the transform from image px to heatmap px for crops without rotation.

    Args:
        center: (..., 2) box center, image px.
        scale: (..., 2) box side / 200 px.
        image_wh: (width, height) of the crop, px.
        heatmap_wh: (width, height) of the heatmap, px.

    Returns:
        (..., 2, 3) matrices, image px -> heatmap px.
    """
    return to_heatmap(get_affine_transform(center, scale, 0.0, image_wh), image_wh, heatmap_wh)


def to_heatmap(matrix: np.ndarray, image_wh: Sequence[int], heatmap_wh: Sequence[int]) -> np.ndarray:
    """Extend (..., 2, 3) transforms from image px to crop px by the scaling to heatmap px."""
    stride = np.asarray(image_wh, np.float64) / np.asarray(heatmap_wh, np.float64)
    return matrix / stride[:, None]


def mirror_affine(matrix: np.ndarray, width: int) -> np.ndarray:
    """Extend (..., 2, 3) transforms to a crop by mirroring the crop of that width, px."""
    mirrored = matrix.copy()
    mirrored[..., 0, :] *= -1
    mirrored[..., 0, 2] += width - 1
    return mirrored


def similarity_scale(matrix: np.ndarray) -> np.ndarray:
    """Return the factor (...) by which similarity transforms (..., 2, 3) enlarge lengths."""
    return np.hypot(matrix[..., 0, 0], matrix[..., 1, 0])


def invert_affine(matrix: np.ndarray) -> np.ndarray:
    """Invert (..., 2, 3) affine matrices."""
    linear = np.linalg.inv(matrix[..., :2])
    return np.concatenate([linear, -linear @ matrix[..., 2:]], -1)


def compose_affine(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Return the affine matrices (..., 2, 3) that apply `inner`, then `outer`."""
    matrix = outer[..., :2] @ inner
    matrix[..., 2] += outer[..., 2]
    return matrix


def transform_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Apply affine matrices to points, NumPy arrays or torch tensors.

    Args:
        points: (..., P, 2) points.
        matrix: (..., 2, 3) affine matrices.

    Returns:
        (..., P, 2) transformed points.
    """
    return points @ matrix[..., :2].swapaxes(-1, -2) + matrix[..., None, :, 2]


def crop_image(image: np.ndarray, matrix: np.ndarray, output_wh: Sequence[int]) -> np.ndarray:
    """Warp an image with an affine matrix, bilinear and black outside.

    Args:
        image: (rows, columns, 3) uint8.
        matrix: (2, 3) image px -> crop px.
        output_wh: (width, height) of the crop.

    Returns:
        (height, width, 3) uint8.
    """
    return cv2.warpAffine(image, matrix, (int(output_wh[0]), int(output_wh[1])), flags=cv2.INTER_LINEAR)
