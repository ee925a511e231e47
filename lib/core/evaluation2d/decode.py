"""Decoding of heatmaps into joint positions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lib.multiviews.keypoints.heatmap_values import on_host, take_values, to_numpy
from lib.multiviews.keypoints.peaks import refine_peaks
from lib.utils.transforms import image_to_heatmap_affine, invert_affine, transform_points


def peak_mode(test: Any) -> str:
    """Return the peak mode of TEST.PEAK_MODE and TEST.POST_PROCESS, the original code's key for "quarter".

    Args:
        test: the TEST section.
    """
    return "quarter" if test.POST_PROCESS and test.PEAK_MODE == "argmax" else test.PEAK_MODE


def get_max_preds(heatmaps: Any, mode: str = "argmax") -> tuple[np.ndarray, np.ndarray]:
    """Find the highest peak of each heatmap.

    Args:
        heatmaps: (N, J, H, W), numpy or torch.
        mode: "argmax", "quarter" or "log_quadratic", see refine_peaks().

    Returns:
        (N, J, 2) positions (x, y), heatmap px; (0, 0) if the highest value is not positive. (N, J) highest values.
    """
    num, joints, height, width = heatmaps.shape
    maps = on_host(heatmaps).reshape(-1, height, width)
    best = to_numpy(maps.reshape(len(maps), height * width).argmax(-1))
    which = np.arange(len(maps))
    positions = refine_peaks(maps, which, best % width, best // width, mode)
    value = take_values(maps, which * (height * width) + best)
    positions *= (value > 0)[:, None]
    return positions.reshape(num, joints, 2), value.reshape(num, joints)


def predict_locations(
    heatmaps: Any, center: np.ndarray, scale: np.ndarray, image_wh: Sequence[int], mode: str = "argmax"
) -> np.ndarray:
    """Find the joints in the original images.

    Args:
        heatmaps: (N, J, H, W), numpy or torch.
        center: (N, 2) crop centers, image px.
        scale: (N, 2) crop side lengths / 200 px.
        image_wh: network input (width, height), px.
        mode: see get_max_preds().

    Returns:
        (N, J, 3) x, y in image px, and the peak value.
    """
    return locations_in_images(
        heatmaps, image_to_heatmap_affine(center, scale, image_wh, tuple(heatmaps.shape[:1:-1])), mode
    )


def locations_in_images(heatmaps: Any, matrix: np.ndarray, mode: str = "argmax") -> np.ndarray:
    """Find the joints in the original images.

    Args:
        heatmaps: (N, J, H, W), numpy or torch.
        matrix: (N, 2, 3) image px -> heatmap px.
        mode: see get_max_preds().

    Returns:
        (N, J, 3) x, y in image px, and the peak value.
    """
    positions, value = get_max_preds(heatmaps, mode)
    return np.concatenate([transform_points(positions, invert_affine(matrix)), value[..., None]], -1)
