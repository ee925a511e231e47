"""From heatmaps to joint positions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib.utils.transforms import image_to_heatmap_affine, invert_affine, transform_points

FLIP_SHIFT_PX = 1  # a mirrored image puts the peaks 3/4 heatmap px to the side at stride 4; the nearest whole px


def get_max_preds(heatmaps: np.ndarray, quarter: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Find the highest pixel of each heatmap.

    Args:
        heatmaps: (N, J, H, W).
        quarter: shift the position a quarter px toward the larger neighbour, per axis, where both exist.

    Returns:
        (N, J, 2) positions (x, y), heatmap px; (0, 0) where the peak is not positive. (N, J) peak values.
    """
    num, joints, height, width = heatmaps.shape
    flat = heatmaps.reshape(num, joints, -1)
    best = flat.argmax(-1)
    value = np.take_along_axis(flat, best[..., None], -1)[..., 0]
    x, y = best % width, best // width
    positions = np.stack([x, y], -1).astype(np.float64)
    if quarter:

        def neighbours(step: int, inside: np.ndarray) -> np.ndarray:
            before, after = (np.where(inside, best + shift, best) for shift in (-step, step))
            gain = np.take_along_axis(flat, after[..., None], -1) - np.take_along_axis(flat, before[..., None], -1)
            return 0.25 * np.sign(gain[..., 0])

        positions[..., 0] += neighbours(1, (x > 0) & (x < width - 1))
        positions[..., 1] += neighbours(width, (y > 0) & (y < height - 1))
    return positions * (value > 0)[..., None], value


def predict_locations(
    heatmaps: np.ndarray, center: np.ndarray, scale: np.ndarray, image_wh: Sequence[int], quarter: bool = False
) -> np.ndarray:
    """Find the joints in the original images.

    Args:
        heatmaps: (N, J, H, W).
        center: (N, 2) box centres, image px.
        scale: (N, 2) box sides / 200 px.
        image_wh: network input (width, height), px.
        quarter: as in get_max_preds.

    Returns:
        (N, J, 3): x, y in image px, and the peak value.
    """
    positions, value = get_max_preds(heatmaps, quarter)
    matrix = image_to_heatmap_affine(center, scale, image_wh, heatmaps.shape[:1:-1])
    return np.concatenate([transform_points(positions, invert_affine(matrix)), value[..., None]], -1)
