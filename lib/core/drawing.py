"""Skeletons to draw, and images and crops to draw on. Imports no torch."""

from collections.abc import Sequence

import numpy as np

from lib.dataset.annotations import Annotations
from lib.multiviews.body import H36M_BODY, body_of
from lib.utils.drawing.vis import Skeleton
from lib.utils.files.image_store import read_image
from lib.utils.joints import UNION_20, JointSet
from lib.utils.transforms import crop_image, get_affine_transform

# Limbs between joints that only MPII labels.
_MPII_LIMBS = (
    ("root", "thorax"),
    ("thorax", "upper neck"),
    ("upper neck", "head top"),
    ("thorax", "lsho"),
    ("thorax", "rsho"),
)


def skeleton_of(joint_set: JointSet) -> Skeleton:
    """Return the skeleton of the joints of a multi-view data set."""
    return Skeleton.from_names(joint_set.names, body_of(joint_set).edges, joint_set.flip_pairs)


def union_skeleton() -> Skeleton:
    """Return the skeleton of the 20 union joints, with the limbs of Human3.6M and of MPII."""
    names = [tuple(H36M_BODY.joint_names[joint] for joint in edge) for edge in H36M_BODY.edges]
    edges = [(UNION_20.index(parent), UNION_20.index(child)) for parent, child in (*names, *_MPII_LIMBS)]
    return Skeleton.from_names(UNION_20.names, edges, UNION_20.flip_pairs)


def read_view(annotations: Annotations, row: int, data_format: str) -> np.ndarray:
    """Read an image, (rows, columns, 3) uint8 BGR; raise an InputError if it cannot be read."""
    return read_image(annotations.images_dir, annotations.image_name(row), data_format)


def read_crops(
    annotations: Annotations, rows: np.ndarray, crop_wh: Sequence[int], data_format: str
) -> tuple[list[np.ndarray], np.ndarray]:
    """Read images and crop them around the person.

    Args:
        annotations: the data set.
        rows: (K,) indices of the images.
        crop_wh: (width, height) of the crops, px.
        data_format: DATASET.DATA_FORMAT, "jpg" or "zip".

    Returns:
        K crops (height, width, 3) uint8 BGR, and the affine matrices image px -> crop px (K, 2, 3).

    Raises:
        InputError: an image is missing or unreadable.
    """
    matrices = get_affine_transform(annotations.center[rows], annotations.scale[rows], 0.0, crop_wh)
    crops = [
        crop_image(read_view(annotations, row, data_format), matrix, crop_wh)
        for row, matrix in zip(rows, matrices, strict=True)
    ]
    return crops, matrices
