"""Network input and targets, computed on the device from a batch of the loader.

The workers send crops as bytes and joints as coordinates. So a quarter of the image data, and no heatmaps, are copied
between processes and to the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from lib.dataset.sample import SampleSettings
from lib.multiviews.cameras import Cameras, CropCameras
from lib.utils.transforms import IMAGE_MEAN, IMAGE_STD


@dataclass(frozen=True)
class NetworkInput:
    """A batch on the device.

    Attributes:
        images: (B, V, 3, H_in, W_in) float32, normalized; the images of one view are contiguous.
        target: (B, V, 20, H, W) float32.
        weight: (B, V, 20, 1) float32, 0 for joints without a target.
        is_multiview: (B,) bool.
        views: cameras and crops, leading axes (B, V), float32; undefined where not is_multiview.
    """

    images: Tensor
    target: Tensor
    weight: Tensor
    is_multiview: Tensor
    views: CropCameras

    def __len__(self) -> int:
        return len(self.images)

    def split(self, num_parts: int) -> list[NetworkInput]:
        """Split along B into parts of almost equal size."""
        parts = np.array_split(np.arange(len(self)), min(num_parts, len(self)))
        ends = [(int(part[0]), int(part[-1]) + 1) for part in parts]
        return [NetworkInput(*(getattr(self, field.name)[low:high] for field in fields(self))) for low, high in ends]


def network_images(crops: Tensor, device: torch.device, channels_last: bool = False) -> Tensor:
    """Normalize crops (B, V, H_in, W_in, 3) uint8 BGR on the device.

    Returns:
        (B, V, 3, H_in, W_in) float32; the images of one view, [:, v], are contiguous in the memory format.
    """
    by_view = crops.to(device, non_blocking=True).permute(1, 0, 4, 2, 3)  # (V, B, 3, H_in, W_in)
    mean, std = (
        torch.from_numpy(values).to(device, non_blocking=True)[:, None, None] for values in (IMAGE_MEAN, IMAGE_STD)
    )
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    flat = by_view.flatten(0, 1).to(torch.float32, memory_format=memory_format)
    # (x / 255 - mean) / std, in two operations
    return flat.mul_(1 / (255 * std)).sub_(mean / std).unflatten(0, by_view.shape[:2]).transpose(0, 1)


def crop_cameras(batch: Mapping[str, Tensor], device: torch.device) -> CropCameras:
    """Return cameras and crops of a loader batch on the device, leading axes (B, V)."""
    cameras = Cameras(**{field.name: batch[f"camera_{field.name}"] for field in fields(Cameras)})
    return CropCameras(cameras, batch["image_to_heatmap"]).map(lambda values: values.to(device, non_blocking=True))


def network_input(
    batch: Mapping[str, Tensor], settings: SampleSettings, device: torch.device, channels_last: bool = False
) -> NetworkInput:
    """Compute images and targets of a loader batch on the device.

    Args:
        batch: batch of the loader.
        settings: sizes and sigma.
        device: device of the network.
        channels_last: memory format of the images.
    """
    joints, visible = (batch[key].to(device, non_blocking=True) for key in ("joints_crop", "visible"))
    target, weight = gaussian_targets(
        joints, visible, settings.image_wh, settings.heatmap_wh, settings.sigma, settings.target_subpixel
    )
    is_multiview = batch["is_multiview"].to(device, non_blocking=True)
    images = network_images(batch["crops"], device, channels_last)
    return NetworkInput(images, target, weight, is_multiview, crop_cameras(batch, device))


def gaussian_targets(
    joints_crop: Tensor,
    visible: Tensor,
    image_wh: Sequence[int],
    heatmap_wh: Sequence[int],
    sigma: float,
    subpixel: bool = False,
) -> tuple[Tensor, Tensor]:
    """Draw Gaussian targets with peak 1 for all visible joints inside the crop.

    Args:
        joints_crop: (..., J, 2) network input px.
        visible: (..., J) bool.
        image_wh: network input (width, height), px.
        heatmap_wh: heatmap (width, height), px.
        sigma: standard deviation, heatmap px; values beyond 3 sigma are 0.
        subpixel: center the Gaussian on the joint; otherwise on the rounded pixel, as in the original code.

    Returns:
        Target (..., J, H, W) float32 and weight (..., J, 1) float32, 1 for drawn joints.
    """
    # copied without waiting for the device, as new_tensor() would
    size, map_size = torch.tensor([image_wh, heatmap_wh], dtype=joints_crop.dtype).to(
        joints_crop.device, non_blocking=True
    )
    drawn = visible & ((joints_crop >= 0) & (joints_crop < size)).all(-1)  # (..., J)
    peak = joints_crop / (size / map_size)
    peak, radius = (peak, 3 * sigma) if subpixel else (torch.floor(peak + 0.5), int(3 * sigma))
    axis_x = _gaussian(peak[..., 0], heatmap_wh[0], sigma, radius) * drawn[..., None]  # (..., J, W)
    axis_y = _gaussian(peak[..., 1], heatmap_wh[1], sigma, radius)  # (..., J, H)
    return axis_y[..., :, None] * axis_x[..., None, :], drawn[..., None].float()


def _gaussian(peak: Tensor, length: int, sigma: float, radius: float) -> Tensor:
    """Return the Gaussian (..., length) around positions (...), 0 beyond the radius."""
    distance = torch.arange(length, device=peak.device) - peak[..., None].float()
    return torch.exp(-(distance**2) / (2 * sigma**2)) * (distance.abs() <= radius)
