"""Human3.6M in the format of the original code."""

import os
from dataclasses import asdict

from lib.dataset.annotations import Annotations
from lib.dataset.conventions import ORIGINAL_CONVENTIONS, Conventions
from lib.dataset.protocol import HUMAN36M
from lib.dataset.storage.h36m_pickle import annotation_path, load_records, to_annotations
from lib.dataset.storage.memmap import AnnotationFile
from lib.utils.joints import H36M_17

TRAIN_SUBJECTS = (1, 5, 6, 7, 8)
TEST_SUBJECTS = (9, 11)
SUBACTIONS = (1, 2)
# Number of groups and step of the original code's training and validation sets.
ORIGINAL_GROUPS = {"train": (77_988, 5), "validation": (2_151, 64)}
SUMMARY = "prepare_h36m.json"  # in annot/: report of run/data/prepare_h36m.py
# Recordings of subject 9 with wrong 3D ground truth: Greeting 2, SittingDown 2, Waiting 1.
# Source: Iskakov et al., ICCV 2019 (learnable triangulation), who evaluate with and without them.
DAMAGED_SCENES = ((9, 5, 2), (9, 10, 2), (9, 13, 1))


def h36m_file(
    root: str | os.PathLike, subset: str, crop: bool = True, conventions: Conventions = ORIGINAL_CONVENTIONS
) -> AnnotationFile:
    """Return ROOT/h36m/annot/h36m_<subset>.pkl.

    Args:
        root: folder that holds `h36m/`.
        subset: "train" or "validation" (also "valid").
        crop: True for boxes around the person; False for the `_uncrop` file, whose boxes are the whole images.
        conventions: units and camera convention of the file.

    Raises:
        InputError: the folder is missing.
    """
    path = annotation_path(root, "h36m", subset, crop)

    def read() -> Annotations:
        return to_annotations(load_records(path), path, "h36m", H36M_17, conventions, HUMAN36M)

    return AnnotationFile(path, H36M_17, HUMAN36M, asdict(conventions), read)
