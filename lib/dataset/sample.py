"""Crop and joints of one annotated image, with augmentation."""

from dataclasses import dataclass, fields

import numpy as np

from lib.dataset.annotations import Annotations
from lib.multiviews.cameras import Cameras
from lib.utils.files.image_store import read_image
from lib.utils.joints import UNION_20
from lib.utils.transforms import SCALE_UNIT_PX, crop_image, get_affine_transform, to_heatmap, transform_points

ROTATION_PROBABILITY = 0.6
# Placeholder for single images, which have no camera and are never fused. Its projections stay finite.
_NO_CAMERA = Cameras(np.eye(3), np.zeros(3), np.ones(2), np.zeros(2), np.zeros(3), np.zeros(2))


@dataclass(frozen=True)
class SampleSettings:
    """Sizes, targets and augmentation of samples.

    Attributes:
        image_wh: crop (width, height), px.
        heatmap_wh: heatmap (width, height), px.
        sigma: standard deviation of the targets, heatmap px.
        target_subpixel: center targets on the joints instead of their rounded pixels.
        data_format: "jpg" or "zip".
        scale_factor: standard deviation and limit of the random scale; 0 = off.
        rot_factor: standard deviation of the random rotation, degrees, limited to twice its value; 0 = off.
        shift_factor: standard deviation of the random shift, relative to the crop side length, limited to twice its
            value; 0 = off.
    """

    image_wh: tuple[int, int]
    heatmap_wh: tuple[int, int]
    sigma: float
    target_subpixel: bool = False
    data_format: str = "jpg"
    scale_factor: float = 0.0
    rot_factor: float = 0.0
    shift_factor: float = 0.0

    @property
    def augments(self) -> bool:
        """Whether any augmentation is on."""
        return self.scale_factor > 0 or self.rot_factor > 0 or self.shift_factor > 0


def load_sample(
    annotations: Annotations, row: int, settings: SampleSettings, rng: np.random.Generator | None
) -> dict[str, np.ndarray]:
    """Read and crop an image.

    Args:
        annotations: annotated images.
        row: index of the image.
        settings: sizes and augmentation.
        rng: random generator of the augmentation; None = no augmentation.

    Returns:
        crop (H_in, W_in, 3) uint8 BGR; joints_crop (20, 2) crop px; joints_img (20, 2) image px; visible (20,) bool;
        occluded (20,) bool, False if unknown; center (2,) image px and scale (2,) of the crop with augmentation;
        head_size () float32, image px, NaN if unknown; image_to_heatmap (2, 3) float32; camera_R, ..., camera_p
        float32, the fields of Cameras.

    Raises:
        InputError: the image is missing or unreadable.
    """
    image = read_image(annotations.images_dir, annotations.image_name(row), settings.data_format)
    center = annotations.center[row]
    scale = annotations.scale[row]
    rotation = 0.0
    if rng is not None:
        factor, rotation, shift = _augmentation(settings, rng)
        center = (center + shift * SCALE_UNIT_PX * scale).astype(np.float32)
        scale = scale * np.float32(factor)
    matrix = get_affine_transform(center, scale, rotation, settings.image_wh)
    joints_img = annotations.joints_img[row]
    return {
        "crop": crop_image(image, matrix, settings.image_wh),
        "joints_crop": transform_points(joints_img.astype(np.float64), matrix).astype(np.float32),
        "joints_img": joints_img,
        "visible": annotations.visible[row],
        "occluded": np.zeros(len(UNION_20), bool) if annotations.occluded is None else annotations.occluded[row],
        "center": center,
        "scale": scale,
        **_camera(annotations, row),
        "image_to_heatmap": to_heatmap(matrix, settings.image_wh, settings.heatmap_wh).astype(np.float32),
        "head_size": np.float32(np.nan if annotations.head_size is None else annotations.head_size[row]),
    }


def _camera(annotations: Annotations, row: int) -> dict[str, np.ndarray]:
    labels = annotations.labels3d
    camera = _NO_CAMERA if labels is None else labels.cameras[labels.camera_idx[row]]
    return {f"camera_{field.name}": np.asarray(getattr(camera, field.name), np.float32) for field in fields(Cameras)}


def _augmentation(settings: SampleSettings, rng: np.random.Generator) -> tuple[float, float, np.ndarray]:
    """Draw a scale factor, a rotation in degrees, and a shift (2,) relative to the crop side length."""
    sf, rf, shift_std = settings.scale_factor, settings.rot_factor, settings.shift_factor
    factor = np.clip(rng.standard_normal() * sf + 1, 1 - sf, 1 + sf)
    rotated = rng.random() < ROTATION_PROBABILITY
    rotation = np.clip(rng.standard_normal() * rf, -2 * rf, 2 * rf) if rotated else 0.0
    shift = np.zeros(2)
    if shift_std > 0:  # otherwise nothing is drawn, so older trainings are reproduced
        shift = np.clip(rng.standard_normal(2) * shift_std, -2 * shift_std, 2 * shift_std)
    return float(factor), float(rotation), shift
