"""Fingerprint of a training data set."""

import hashlib

import numpy as np

from lib.dataset.groups import Part
from lib.dataset.multiview_dataset import MultiviewDataset

_ROWS = 1 << 16  # images per block; limits memory


def data_fingerprint(dataset: MultiviewDataset) -> dict[str, int | str]:
    """Return the number of groups, and a digest of their images, boxes and joints.

    Location and file format of the data do not matter. Takes one second per million images.

    Returns:
        "groups", and "digest", hexadecimal.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in dataset.parts:
        digest.update(repr((part.groups.shape, part.is_multiview, part.random_view)).encode())
        for first in range(0, part.groups.size, _ROWS):
            _add_images(digest, part, part.groups.reshape(-1)[first : first + _ROWS])
    return {"groups": len(dataset), "digest": digest.hexdigest()}


def _add_images(digest: hashlib.blake2b, part: Part, rows: np.ndarray) -> None:
    annotations = part.annotations
    digest.update(b"\n".join(annotations.image[rows].tolist()))  # without padding, which depends on the file
    for values in (annotations.joints_img, annotations.visible, annotations.center, annotations.scale):
        digest.update(np.ascontiguousarray(values[rows]))
