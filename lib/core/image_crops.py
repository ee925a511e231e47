"""Images of a data set and the boxes around the person, as pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib.dataset.annotations import Annotations
from lib.utils.files.image_store import read_image
from lib.utils.transforms import crop_image, get_affine_transform


def read_view(annotations: Annotations, row: int, data_format: str) -> np.ndarray:
    """Read an image, (rows, columns, 3) uint8 BGR; an InputError says why it cannot be read."""
    return read_image(annotations.images_dir, annotations.image_name(row), data_format)


def read_crops(
    annotations: Annotations, rows: np.ndarray, crop_wh: Sequence[int], data_format: str
) -> tuple[list[np.ndarray], np.ndarray]:
    """Read images and cut their boxes out.

    Args:
        annotations: the data set.
        rows: (K,) which images.
        crop_wh: (width, height) of the crops.
        data_format: "jpg" or "zip".

    Returns:
        K arrays (height, width, 3) uint8 BGR, and (K, 2, 3) the matrices image px -> crop px.

    Raises:
        InputError: an image is missing or unreadable.
    """
    matrices = get_affine_transform(annotations.center[rows], annotations.scale[rows], 0.0, crop_wh)
    crops = [
        crop_image(read_view(annotations, row, data_format), matrix, crop_wh)
        for row, matrix in zip(rows, matrices, strict=True)
    ]
    return crops, matrices
