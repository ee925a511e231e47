"""Labels drawn into a few images, for the eye."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib.core.drawing import union_skeleton
from lib.core.image_crops import read_crops
from lib.dataset.annotations import Annotations
from lib.utils.drawing.vis import joint_grid, save_image
from lib.utils.errors import InputError
from lib.utils.transforms import transform_points

CELL_PX = 300


def save_sheet(
    path: Path, annotations: Annotations, rows: np.ndarray, texts: Sequence[str], columns: int, data_format: str
) -> Path | None:
    """Draw the 2D joints into the boxes of some images.

    Args:
        path: the picture.
        annotations: the data set.
        rows: (K,) which images.
        texts: K labels.
        columns: pictures per row.
        data_format: "jpg" or "zip".

    Returns:
        The path, None where an image cannot be read.

    Raises:
        InputError: the disk refuses.
    """
    size = (CELL_PX, CELL_PX)
    try:
        crops, matrices = read_crops(annotations, rows, size, data_format)
    except InputError:
        return None
    joints = transform_points(annotations.joints_img[rows].astype(np.float64), matrices)
    visible = annotations.visible[rows]
    grid = joint_grid(np.stack(crops), joints, visible, union_skeleton(), columns, texts, "labels in their boxes")
    save_image(path, grid)
    return path
