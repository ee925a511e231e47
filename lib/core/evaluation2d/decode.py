"""From heatmaps to joint positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lib.multiviews.keypoints.peaks import refine_peaks
from lib.utils.transforms import image_to_heatmap_affine, invert_affine, transform_points

FLIP_SHIFT_PX = 1  # a mirrored image puts the peaks 3/4 heatmap px to the side at stride 4; the nearest whole px


def peak_mode(config: Any) -> str:
    """Return the mode that TEST.PEAK_MODE and TEST.POST_PROCESS, the published key for "quarter", ask for."""
    if config.TEST.POST_PROCESS and config.TEST.PEAK_MODE == "argmax":
        return "quarter"
    return config.TEST.PEAK_MODE


def get_max_preds(heatmaps: np.ndarray, mode: str = "argmax") -> tuple[np.ndarray, np.ndarray]:
    """Find the highest place of each heatmap.

    Args:
        heatmaps: (N, J, H, W).
        mode: "argmax", "quarter" or "log_quadratic": see lib/multiviews/keypoints/peaks.py.

    Returns:
        (N, J, 2) positions (x, y), heatmap px; (0, 0) where the highest value is not positive. (N, J) the highest
        pixels' values.
    """
    num, joints, height, width = heatmaps.shape
    maps = heatmaps.reshape(-1, height, width)
    flat = maps.reshape(len(maps), -1)
    best = flat.argmax(-1)
    which = np.arange(len(maps))
    positions = refine_peaks(maps, which, best % width, best // width, mode)
    value = flat[which, best]
    positions *= (value > 0)[:, None]
    return positions.reshape(num, joints, 2), value.reshape(num, joints)


def predict_locations(
    heatmaps: np.ndarray, center: np.ndarray, scale: np.ndarray, image_wh: Sequence[int], mode: str = "argmax"
) -> np.ndarray:
    """Find the joints in the original images.

    Args:
        heatmaps: (N, J, H, W).
        center: (N, 2) box centres, image px.
        scale: (N, 2) box sides / 200 px.
        image_wh: network input (width, height), px.
        mode: as in get_max_preds.

    Returns:
        (N, J, 3): x, y in image px, and the peak value.
    """
    positions, value = get_max_preds(heatmaps, mode)
    matrix = image_to_heatmap_affine(center, scale, image_wh, heatmaps.shape[:1:-1])
    return np.concatenate([transform_points(positions, invert_affine(matrix)), value[..., None]], -1)
