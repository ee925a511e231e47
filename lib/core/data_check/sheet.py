"""Labels drawn into a few images, for the eye."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lib.core.data_check.sample import Views
from lib.utils.checks import InputError
from lib.utils.image_io import read_image
from lib.utils.transforms import crop_image, get_affine_transform, transform_points
from lib.utils.vis import Skeleton, joint_grid, save_picture, write_label

ROWS = 6
CELL_PX = 300


def save_sheet(path: Path, views: Views, data_format: str) -> Path | None:
    """Draw the 2D joints into the boxes of some groups: a row per group, a column per view.

    Args:
        path: the picture.
        views: groups; some are chosen evenly.
        data_format: "jpg" or "zip".

    Returns:
        The path, None where an image cannot be read.

    Raises:
        InputError: the disk refuses.
    """
    shown = views.spread(ROWS)
    joint_set = shown.annotations.joint_set
    skeleton = Skeleton.from_names(joint_set.names, shown.body.edges, joint_set.flip_pairs)
    rows = shown.groups.ravel()
    matrices = get_affine_transform(shown.annotations.center[rows], shown.annotations.scale[rows], 0.0, (CELL_PX,) * 2)
    try:
        crops = [crop_image(read_image(shown.annotations.images_dir, shown.annotations.image_name(row), data_format),
                            matrix, (CELL_PX,) * 2) for row, matrix in zip(rows, matrices, strict=True)]  # fmt: skip
    except InputError:
        return None
    num_joints = len(joint_set)
    joints = transform_points(shown.joints_img.reshape(-1, num_joints, 2), matrices)
    texts = [f"{shown.name(group)}, camera {camera_id}" for group in range(len(shown.groups))
             for camera_id in shown.camera_ids]  # fmt: skip
    for crop, text in zip(crops, texts, strict=True):
        write_label(crop, text)
    save_picture(path, joint_grid(np.stack(crops), joints, shown.visible.reshape(-1, num_joints), skeleton,
                                  shown.num_views))  # fmt: skip
    return path
