"""Human3.6M in the published form: where its files are, and its damaged recordings."""

from __future__ import annotations

import os
from dataclasses import asdict

from lib.dataset.annotations import Annotations
from lib.dataset.conventions import PUBLISHED, Conventions
from lib.dataset.protocol import HUMAN36M
from lib.dataset.storage.h36m_pickle import annotation_path, load_records, to_annotations
from lib.dataset.storage.memmap import AnnotationFile, open_annotations
from lib.utils.joints import H36M_17

TRAIN_SUBJECTS = (1, 5, 6, 7, 8)
TEST_SUBJECTS = (9, 11)
SUBACTIONS = (1, 2)
# Groups of the published training (every 5th) and validation (every 64th) sets. Source: the released code's data.
PUBLISHED_GROUPS = {"train": (77_988, 5), "validation": (2_151, 64)}
SUMMARY = "prepare_h36m.json"  # in annot/: what run/data/prepare_h36m.py made
# Recordings of subject 9 whose 3D truth does not lie on the person: Greeting 2, SittingDown 2, Waiting 1.
# Source: Iskakov et al., ICCV 2019 (learnable triangulation), which evaluates with and without them.
DAMAGED_SCENES = ((9, 5, 2), (9, 10, 2), (9, 13, 1))


def h36m_file(
    root: str | os.PathLike, subset: str, crop: bool = True, conventions: Conventions = PUBLISHED
) -> AnnotationFile:
    """Return ROOT/h36m/annot/h36m_<subset>.pkl; the arguments are those of load_h36m()."""
    path = annotation_path(root, "h36m", subset, crop)

    def read() -> Annotations:
        return to_annotations(load_records(path), path, "h36m", H36M_17, conventions, HUMAN36M)

    return AnnotationFile(path, H36M_17, HUMAN36M, asdict(conventions), read)


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
    return open_annotations(h36m_file(root, subset, crop, conventions))
