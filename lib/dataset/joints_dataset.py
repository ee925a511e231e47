"""One annotated image -> crop and joints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.dataset.annotations import Annotations
from lib.utils.image_io import read_image
from lib.utils.transforms import crop_image, get_affine_transform, transform_points

ROTATION_PROBABILITY = 0.6


@dataclass(frozen=True)
class SampleSettings:
    """How images become samples.

    Attributes:
        image_wh: network input (width, height), px.
        heatmap_wh: heatmap (width, height), px.
        sigma: standard deviation of the targets, heatmap px.
        target_subpixel: targets around the joints themselves instead of their rounded pixels.
        data_format: "jpg" or "zip".
        scale_factor: standard deviation and clip of the random scale; 0 = none.
        rot_factor: standard deviation of the random rotation, degrees; 0 = none.
    """

    image_wh: tuple[int, int]
    heatmap_wh: tuple[int, int]
    sigma: float
    target_subpixel: bool = False
    data_format: str = "jpg"
    scale_factor: float = 0.0
    rot_factor: float = 0.0


def load_sample(
    annotations: Annotations, row: int, settings: SampleSettings, rng: np.random.Generator | None
) -> dict[str, np.ndarray]:
    """Read and crop an image.

    Args:
        annotations: the data set.
        row: which image.
        settings: sizes and augmentation.
        rng: source of the augmentation; None = no augmentation.

    Returns:
        crop (H_in, W_in, 3) uint8 BGR; joints_crop (20, 2) network input px; joints_img (20, 2) original image px and
        visible (20,) as annotated; center (2,) image px and scale (2,) of the crop that was taken; head_size ()
        float32, image px, NaN where unknown.

    Raises:
        InputError: the image is missing or unreadable.
    """
    image = read_image(annotations.images_dir, annotations.image_name(row), settings.data_format)
    center, scale, rotation = annotations.center[row], annotations.scale[row], 0.0
    if rng is not None:
        factor, rotation = _augmentation(settings, rng)
        scale = scale * np.float32(factor)
    matrix = get_affine_transform(center, scale, rotation, settings.image_wh)
    joints_img = annotations.joints_img[row]
    return {
        "crop": crop_image(image, matrix, settings.image_wh),
        "joints_crop": transform_points(joints_img.astype(np.float64), matrix).astype(np.float32),
        "joints_img": joints_img,
        "visible": annotations.visible[row],
        "center": center,
        "scale": scale,
        "head_size": np.float32(np.nan if annotations.head_size is None else annotations.head_size[row]),
    }


def _augmentation(settings: SampleSettings, rng: np.random.Generator) -> tuple[float, float]:
    sf, rf = settings.scale_factor, settings.rot_factor
    factor = np.clip(rng.standard_normal() * sf + 1, 1 - sf, 1 + sf)
    rotated = rng.random() < ROTATION_PROBABILITY
    rotation = np.clip(rng.standard_normal() * rf, -2 * rf, 2 * rf) if rotated else 0.0
    return float(factor), float(rotation)
