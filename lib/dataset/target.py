"""Gaussian heatmap targets, for all joints of a batch at once and on any device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gaussian_targets(
    joints_crop: Tensor,
    visible: Tensor,
    image_wh: Sequence[int],
    heatmap_wh: Sequence[int],
    sigma: float,
    subpixel: bool = False,
) -> tuple[Tensor, Tensor]:
    """Draw a Gaussian of peak 1 for every visible joint inside the crop.

    Args:
        joints_crop: (..., J, 2) network input px.
        visible: (..., J) bool.
        image_wh: network input (width, height), px.
        heatmap_wh: heatmap (width, height), px.
        sigma: standard deviation, heatmap px; the window ends at 3 sigma.
        subpixel: around the joint itself, between the pixels; else around the *rounded* pixel, as published.

    Returns:
        target (..., J, H, W) float32 and weight (..., J, 1) float32, 1 for the joints drawn; on the joints' device.
    """
    size = joints_crop.new_tensor(image_wh)
    drawn = visible & ((joints_crop >= 0) & (joints_crop < size)).all(-1)  # (..., J)
    peak = joints_crop / (size / joints_crop.new_tensor(heatmap_wh))
    peak, radius = (peak, 3 * sigma) if subpixel else (torch.floor(peak + 0.5), int(3 * sigma))
    axis_x = _gaussian(peak[..., 0], heatmap_wh[0], sigma, radius) * drawn[..., None]  # (..., J, W)
    axis_y = _gaussian(peak[..., 1], heatmap_wh[1], sigma, radius)  # (..., J, H)
    return axis_y[..., :, None] * axis_x[..., None, :], drawn[..., None].float()


def _gaussian(peak: Tensor, length: int, sigma: float, radius: float) -> Tensor:
    """(...) positions -> (..., length) values, zero beyond the window."""
    distance = torch.arange(length, device=peak.device) - peak[..., None].float()
    return torch.exp(-(distance**2) / (2 * sigma**2)) * (distance.abs() <= radius)
