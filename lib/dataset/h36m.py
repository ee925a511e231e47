"""Human3.6M in the published form: where its files are, and its damaged recordings."""

from __future__ import annotations

import os
from pathlib import Path

from lib.dataset.annotations import Annotations
from lib.dataset.compact import load_annotations
from lib.dataset.conventions import PUBLISHED, Conventions
from lib.utils.checks import InputError
from lib.utils.joints import H36M_17

TRAIN_SUBJECTS = (1, 5, 6, 7, 8)
TEST_SUBJECTS = (9, 11)
# Recordings of subject 9 whose 3D truth does not lie on the person: Greeting 2, SittingDown 2, Waiting 1.
# Source: Iskakov et al., ICCV 2019 (learnable triangulation), which evaluates with and without them.
DAMAGED_SCENES = ((9, 5, 2), (9, 10, 2), (9, 13, 1))
_SUBSETS = {"valid": "validation"}  # MPII's word for it


def load_h36m(
    root: str | os.PathLike, subset: str, crop: bool = True, conventions: Conventions = PUBLISHED
) -> Annotations:
    """Read ROOT/h36m/annot/h36m_<subset>.pkl, or the arrays made of it.

    Args:
        root: folder that holds `h36m/`.
        subset: "train" or "validation" (also "valid").
        crop: boxes around the person; otherwise the `_uncrop` file with the whole image as box.
        conventions: what the file's lengths and camera positions mean.

    Returns:
        The annotations in the order of the file.

    Raises:
        InputError: file missing, cut off or refused; a record without an entry or with another shape.
    """
    folder = Path(root) / "h36m"
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; DATASET.ROOT must hold h36m/annot and h36m/images")
    path = annotation_path(folder, subset, crop)
    return load_annotations(path, folder / "images", "h36m", H36M_17, conventions)


def annotation_path(folder: Path, subset: str, crop: bool) -> Path:
    """Return the annotation file of a subset below ROOT/h36m."""
    return folder / "annot" / f"h36m_{_SUBSETS.get(subset, subset)}{'' if crop else '_uncrop'}.pkl"
