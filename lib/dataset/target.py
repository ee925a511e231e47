"""Gaussian heatmap targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def gaussian_targets(
    joints_crop: np.ndarray,
    visible: np.ndarray,
    image_wh: Sequence[int],
    heatmap_wh: Sequence[int],
    sigma: float,
    subpixel: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a Gaussian of peak 1 for every visible joint inside the crop.

    Args:
        joints_crop: (J, 2) network input px.
        visible: (J,) bool.
        image_wh: network input (width, height), px.
        heatmap_wh: heatmap (width, height), px.
        sigma: standard deviation, heatmap px; the window ends at 3 sigma.
        subpixel: around the joint itself, between the pixels; else around the *rounded* pixel, as published.

    Returns:
        target (J, H, W) float32 and weight (J, 1) float32, 1 for the joints drawn.
    """
    heatmap_wh = np.asarray(heatmap_wh)
    inside = ((joints_crop >= 0) & (joints_crop < np.asarray(image_wh))).all(1)
    drawn = np.asarray(visible, bool) & inside
    stride = np.asarray(image_wh) / heatmap_wh
    peak = joints_crop / stride if subpixel else np.floor(joints_crop / stride + 0.5)  # (J, 2)
    radius = 3 * sigma if subpixel else np.floor(3 * sigma)
    axis_x = _gaussian(peak[:, 0], heatmap_wh[0], sigma, radius) * drawn[:, None]  # (J, W)
    axis_y = _gaussian(peak[:, 1], heatmap_wh[1], sigma, radius)  # (J, H)
    return axis_y[:, :, None] * axis_x[:, None, :], drawn[:, None].astype(np.float32)


def _gaussian(peak: np.ndarray, length: int, sigma: float, radius: float) -> np.ndarray:
    """(J,) positions -> (J, length) values, zero beyond the window."""
    distance = np.arange(length, dtype=np.float32) - peak[:, None].astype(np.float32)
    window = np.abs(distance) <= radius
    return np.exp(-(distance**2) / (2 * sigma**2), dtype=np.float32) * window
