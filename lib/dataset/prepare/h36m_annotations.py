"""Annotation of Human3.6M from the labels of finished clips: pickles and memory-mapped arrays.

The labels are read clip by clip, because all records together take several GB.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lib.dataset.conventions import ORIGINAL_CONVENTIONS
from lib.dataset.h36m import TEST_SUBJECTS, TRAIN_SUBJECTS, h36m_file
from lib.dataset.prepare.h36m_clips import FinishedClip, open_labels
from lib.dataset.storage.h36m_pickle import to_annotations
from lib.dataset.storage.memmap_writer import compact_writer
from lib.dataset.storage.record_writer import clip_records, uncrop
from lib.utils.files.portable_pickle import write_pickled_list


def write_annotations(root: Path, clips: Sequence[FinishedClip]) -> list[Path]:
    """Write training and validation annotation, with boxes around the person and with the whole image as box.

    Args:
        root: DATASET.ROOT.
        clips: all clips of the data set, in order.

    Returns:
        The written files and folders.

    Raises:
        InputError: labels of a clip are missing or damaged, or a file cannot be written.
    """
    written: list[Path] = []
    for subset, subjects in (("train", TRAIN_SUBJECTS), ("validation", TEST_SUBJECTS)):
        chosen = [(video_id, one) for video_id, one in enumerate(clips) if one.clip.subject in subjects]
        for crop in (True, False) if chosen else ():
            written += _write_file(root, subset, crop, chosen)
    return written


def _write_file(root: Path, subset: str, crop: bool, clips: Sequence[tuple[int, FinishedClip]]) -> list[Path]:
    file = h36m_file(root, subset, crop)
    bar = tqdm(clips, desc=file.path.name, unit="clip", disable=None, leave=False)
    with compact_writer(file, sum(len(one.image_ids) for _, one in clips)) as append:

        def pieces() -> Iterator[list[dict[str, Any]]]:
            for video_id, one in bar:
                records = _records(root / "h36m", video_id, one)
                records = records if crop else uncrop(records, one.image_wh)
                append(to_annotations(records, file.path, "h36m", file.joint_set, ORIGINAL_CONVENTIONS))
                yield records

        write_pickled_list(file.path, pieces())
    return [file.path, file.compact_folder]


def _records(folder: Path, video_id: int, one: FinishedClip) -> list[dict[str, Any]]:
    with open_labels(folder, one.clip) as labels:
        camera = {key.removeprefix("camera_"): labels[key] for key in labels if key.startswith("camera_")}
        extra = {"joints_3d_universal": labels["universal_cam"]} if "universal_cam" in labels else {}
        joints_img, joints_cam = labels["joints_img"], labels["joints_cam"]
    return clip_records(one.clip, video_id, camera, one.image_ids, joints_img, joints_cam, extra)
