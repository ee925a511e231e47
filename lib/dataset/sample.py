"""Crops and joints of annotated images, with augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from lib.dataset.annotations import Annotations
from lib.multiviews.cameras import MIN_DEPTH_MM, Cameras
from lib.utils.files.image_store import read_image
from lib.utils.joints import UNION_20
from lib.utils.transforms import (
    SCALE_UNIT_PX,
    crop_image,
    get_affine_transform,
    mirror_affine,
    to_heatmap,
    transform_points,
)

ROTATION_PROBABILITY = 0.6
PERSON_MM = 2000.0  # side of the box around a person
FLIP_PROBABILITY = 0.5
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
        crop: whether the crop is the person's box; otherwise it is the whole image.
        flip: mirror half of the groups.
    """

    image_wh: tuple[int, int]
    heatmap_wh: tuple[int, int]
    sigma: float
    target_subpixel: bool = False
    data_format: str = "jpg"
    scale_factor: float = 0.0
    rot_factor: float = 0.0
    shift_factor: float = 0.0
    crop: bool = True
    flip: bool = False

    @classmethod
    def from_config(cls, config: Any) -> SampleSettings:
        """Read the keys of NETWORK (IMAGE_SIZE, HEATMAP_SIZE, SIGMA, TARGET_SUBPIXEL) and DATASET."""
        return cls(
            image_wh=tuple(config.NETWORK.IMAGE_SIZE),
            heatmap_wh=tuple(config.NETWORK.HEATMAP_SIZE),
            sigma=config.NETWORK.SIGMA,
            target_subpixel=config.NETWORK.TARGET_SUBPIXEL,
            data_format=config.DATASET.DATA_FORMAT,
            scale_factor=config.DATASET.SCALE_FACTOR,
            rot_factor=config.DATASET.ROT_FACTOR,
            shift_factor=config.DATASET.SHIFT_FACTOR,
            crop=config.DATASET.CROP,
            flip=config.DATASET.FLIP,
        )

    @property
    def augments(self) -> bool:
        """Whether any augmentation is on."""
        return self.moves_crops or self.flip

    @property
    def moves_crops(self) -> bool:
        """Whether an augmentation crops another part of the image, so that ready crops cannot be used."""
        return self.scale_factor > 0 or self.rot_factor > 0 or self.shift_factor > 0


class CropSource(Protocol):
    """Ready crops of annotated images."""

    def read(self, rows: np.ndarray, out: Sequence[np.ndarray]) -> None:
        """Copy the crops of n images, rows of the annotations, into n arrays (H_in, W_in, 3) uint8."""


def load_samples(
    annotations: Annotations,
    rows: np.ndarray,
    settings: SampleSettings,
    crops: Sequence[np.ndarray],
    rng: np.random.Generator | None = None,
    cache: CropSource | None = None,
) -> dict[str, np.ndarray]:
    """Read and crop n images.

    Args:
        annotations: annotated images.
        rows: (n,) indices of the images.
        settings: sizes and augmentation.
        crops: n arrays (H_in, W_in, 3) uint8, receive the crops, BGR.
        rng: random generator of the augmentation; None = no augmentation. The n images are flipped together.
        cache: has the crops, if no augmentation moves them; None = read the images.

    Returns:
        Arrays with a leading axis n: joints_crop (20, 2) crop px; joints_img (20, 2) image px; visible (20,) bool;
        occluded (20,) bool, False if unknown; center (2,) image px and scale (2,) of the crop with augmentation;
        person_side () float32, side of a 2 m square at the person, image px; head_size () float32, image px, NaN if
        unknown; image_to_heatmap (2, 3) float32; camera_R, ..., camera_p
        float32, the fields of Cameras.

    Raises:
        InputError: an image is missing or unreadable.
    """
    rows = np.asarray(rows)
    center = annotations.center[rows]
    scale = annotations.scale[rows]
    rotation: np.ndarray | float = 0.0
    if rng is not None:
        factor, rotation, shift = _augmentations(settings, len(rows), rng)
        center = (center + shift * SCALE_UNIT_PX * scale).astype(np.float32)
        scale = scale * factor[:, None].astype(np.float32)
    matrix = get_affine_transform(center, scale, rotation, settings.image_wh)
    cameras = _cameras(annotations, rows)
    if cache is not None:
        cache.read(rows, crops)
    else:
        names = [annotations.image_name(row) for row in rows]
        read_crops(annotations.images_dir, names, matrix, settings, crops)
    joints = slice(None)
    if rng is not None and settings.flip and rng.random() < FLIP_PROBABILITY:
        for crop in crops:
            crop[...] = cv2.flip(crop, 1)
        # The cameras stay: a mirrored crop of an image is what a mirrored camera sees of a mirrored world.
        matrix = mirror_affine(matrix, settings.image_wh[0])
        joints = UNION_20.mirrored_order()
    joints_img = annotations.joints_img[rows][:, joints]
    unknown = np.zeros((len(rows), len(UNION_20)), bool)
    no_size = np.full(len(rows), np.nan, np.float32)
    return {
        "joints_crop": transform_points(joints_img.astype(np.float64), matrix).astype(np.float32),
        "joints_img": joints_img,
        "visible": annotations.visible[rows][:, joints],
        "occluded": unknown if annotations.occluded is None else annotations.occluded[rows][:, joints],
        "center": center,
        "scale": scale,
        "person_side": _person_side(annotations, rows, settings.crop, cameras["camera_f"]),
        **cameras,
        "image_to_heatmap": to_heatmap(matrix, settings.image_wh, settings.heatmap_wh).astype(np.float32),
        "head_size": no_size if annotations.head_size is None else annotations.head_size[rows].astype(np.float32),
    }


def read_crops(
    images_dir: Path, names: Sequence[str], matrix: np.ndarray, settings: SampleSettings, crops: Sequence[np.ndarray]
) -> None:
    """Read and crop images.

    Args:
        images_dir: see read_image().
        names: n paths of images below the folder.
        matrix: (n, 2, 3) image px -> crop px.
        settings: sizes and data format.
        crops: n arrays (H_in, W_in, 3) uint8, receive the crops, BGR.

    Raises:
        InputError: an image is missing or unreadable.
    """
    for place, name in enumerate(names):
        image = read_image(images_dir, name, settings.data_format)
        crops[place][...] = crop_image(image, matrix[place], settings.image_wh)


def _cameras(annotations: Annotations, rows: np.ndarray) -> dict[str, np.ndarray]:
    labels = annotations.labels3d
    if labels is None:
        values = {field.name: np.stack([getattr(_NO_CAMERA, field.name)] * len(rows)) for field in fields(Cameras)}
    else:
        index = labels.camera_idx[rows]
        values = {field.name: getattr(labels.cameras, field.name)[index] for field in fields(Cameras)}
    return {f"camera_{name}": value.astype(np.float32) for name, value in values.items()}


def _person_side(annotations: Annotations, rows: np.ndarray, crop: bool, focal_px: np.ndarray) -> np.ndarray:
    """Return the side of the person's box (n,), image px; of whole images, from the depth of the root."""
    if crop or annotations.labels3d is None:
        return annotations.scale[rows, 0] * np.float32(SCALE_UNIT_PX)
    depth_mm = annotations.labels3d.pose_cam[rows, annotations.joint_set.index("root"), 2]
    return (PERSON_MM * focal_px.mean(-1) / depth_mm.clip(MIN_DEPTH_MM)).astype(np.float32)


def _augmentations(
    settings: SampleSettings, number: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw n scale factors (n,), rotations (n,) in degrees, and shifts (n, 2), image by image."""
    factors, rotations, shifts = zip(*(_augmentation(settings, rng) for _ in range(number)), strict=True)
    return np.array(factors), np.array(rotations), np.array(shifts)


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
