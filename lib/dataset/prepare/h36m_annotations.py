"""Labels of finished clips -> pickles in the published structure and their memory-mapped forms, clip by clip.

1.56 million records as dictionaries take 10 GB; here one clip's are in memory at a time.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.dataset.conventions import PUBLISHED
from lib.dataset.h36m import TEST_SUBJECTS, TRAIN_SUBJECTS, h36m_file
from lib.dataset.prepare.h36m_images import LABELS
from lib.dataset.storage.h36m_pickle import to_annotations
from lib.dataset.storage.memmap_writer import compact_writer
from lib.dataset.storage.record_writer import Clip, clip_records, uncrop
from lib.utils.errors import InputError
from lib.utils.files.portable_pickle import write_pickled_list


@dataclass(frozen=True)
class FinishedClip:
    """A clip whose images and labels are in place.

    Attributes:
        clip: whose.
        image_ids: (F,) numbers of the frames that became images, from 1.
        image_wh: (width, height) of the images, px.
    """

    clip: Clip
    image_ids: np.ndarray
    image_wh: tuple[int, int]


def write_annotations(root: Path, clips: Sequence[FinishedClip]) -> list[Path]:
    """Write the annotation of clips: training and validation, with boxes around the person and with whole images.

    Args:
        root: DATASET.ROOT.
        clips: all of them, in order.

    Returns:
        What was written.

    Raises:
        InputError: labels of a clip are missing or damaged, or the disk refuses.
    """
    written: list[Path] = []
    for subset, subjects in (("train", TRAIN_SUBJECTS), ("validation", TEST_SUBJECTS)):
        chosen = [(number, one) for number, one in enumerate(clips) if one.clip.subject in subjects]
        for crop in (True, False) if chosen else ():
            written += _write_file(root, subset, crop, chosen)
    return written


def _write_file(root: Path, subset: str, crop: bool, clips: Sequence[tuple[int, FinishedClip]]) -> list[Path]:
    file = h36m_file(root, subset, crop)
    bar = tqdm(clips, desc=file.path.name, unit="clip", disable=None, leave=False)
    with compact_writer(file, sum(len(one.image_ids) for _, one in clips)) as append:

        def pieces() -> Iterator[list[dict[str, Any]]]:
            for video_id, one in bar:
                records = _records(root / "h36m" / LABELS, video_id, one)
                records = records if crop else uncrop(records, one.image_wh)
                append(to_annotations(records, file.path, "h36m", file.joint_set, PUBLISHED))
                yield records

        write_pickled_list(file.path, pieces())
    return [file.path, file.compact_folder]


def _records(folder: Path, video_id: int, one: FinishedClip) -> list[dict[str, Any]]:
    path = folder / f"{one.clip.stem}.npz"
    try:
        with np.load(path, allow_pickle=False) as labels:
            arrays = dict(labels)
        camera = {key.removeprefix("camera_"): arrays.pop(key) for key in list(arrays) if key.startswith("camera_")}
        joints_img, joints_cam = arrays.pop("joints_img"), arrays.pop("joints_cam")
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: missing or damaged ({error}); without its line in the journal, the clip is made anew"
        ) from None
    extra = {"joints_3d_universal": arrays["universal_cam"]} if "universal_cam" in arrays else {}
    return clip_records(one.clip, video_id, camera, one.image_ids, joints_img, joints_cam, extra)
