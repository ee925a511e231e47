"""Human3.6M: the contents of the official archives -> images and annotations in the published structure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.dataset.actions import ACTION_NAMES
from lib.dataset.compact import save_compact
from lib.dataset.conventions import PUBLISHED
from lib.dataset.h36m import TEST_SUBJECTS, TRAIN_SUBJECTS, h36m_file
from lib.dataset.prepare.h36m_files import ClipFiles, Recording, find_clips, read_joints
from lib.dataset.prepare.h36m_images import PARTS, ClipTask, ImageSettings, write_images
from lib.dataset.prepare.h36m_metadata import H36MMetadata, read_metadata
from lib.dataset.read_records import to_annotations
from lib.dataset.records import Clip, clip_records, uncrop
from lib.multiviews.cameras import Cameras, project_camera
from lib.utils.checks import InputError
from lib.utils.files import write_json, write_pickle
from lib.utils.journal import Journal
from lib.utils.parallel import map_processes
from lib.utils.video import VideoReader

SUBJECTS = (*TRAIN_SUBJECTS, *TEST_SUBJECTS)
SUBACTIONS = (1, 2)
JOURNAL, SUMMARY = "prepare_h36m.jsonl", "prepare_h36m.json"
MAX_LENGTH_DIFFERENCE = 25  # frames between a video and its poses; half a second: the video is another one or cut off


@dataclass(frozen=True)
class PrepareSettings:
    """What to prepare.

    Attributes:
        raw: folder with S1, S5, ... as the archives unpack.
        metadata: metadata.xml.
        subjects, actions: which recordings.
        images: how videos become images.
        keep_going: leave recordings out whose files are missing or damaged, instead of stopping.
    """

    raw: Path
    metadata: Path
    subjects: tuple[int, ...] = SUBJECTS
    actions: tuple[int, ...] = tuple(ACTION_NAMES)
    images: ImageSettings = field(default_factory=ImageSettings)
    keep_going: bool = False

    def check(self) -> None:
        """Raise an InputError for values that make no data set."""
        for flag, values, known in (("--subjects", self.subjects, SUBJECTS), ("--actions", self.actions, ACTION_NAMES)):
            unknown = sorted(set(values) - set(known))
            if unknown or not values:
                raise InputError(f"{flag}: expected some of {', '.join(map(str, known))}, received "
                                 f"{', '.join(map(str, values)) or 'none'}")  # fmt: skip
        if self.images.step < 1 or not 1 <= self.images.jpeg_quality <= 100:
            raise InputError(f"--step must be at least 1 and --jpeg-quality 1 to 100, received {self.images.step} and "
                             f"{self.images.jpeg_quality}")  # fmt: skip


@dataclass
class Prepared:
    """What came of it.

    Attributes:
        settings: what was asked for.
        num_images: clip -> images of it in the annotation.
        lengths: clip -> (frames of the video, poses), where they differ.
        left_out: recording -> why.
        distances: subject -> largest distance between the 2D files and the projected 3D files, px.
        files: what was written, beside the images.
    """

    settings: PrepareSettings
    num_images: dict[Clip, int] = field(default_factory=dict)
    lengths: dict[Clip, tuple[int, int]] = field(default_factory=dict)
    left_out: dict[Recording, str] = field(default_factory=dict)
    distances: dict[int, float] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)


def prepare_h36m(root: Path, settings: PrepareSettings, workers: int = 1) -> Prepared:
    """Make ROOT/h36m: images, pickles, their memory-mapped forms and a summary.

    Recordings that an earlier call made stay; work that was interrupted goes on behind the last finished clip.

    Args:
        root: DATASET.ROOT.
        settings: what to prepare.
        workers: processes.

    Returns:
        What came of it.

    Raises:
        InputError: bad settings, missing or damaged files (unless they are to be left out), or the disk refuses.
    """
    settings.check()
    folder, result = root / "h36m", Prepared(settings)
    metadata = read_metadata(settings.metadata)
    journal = Journal(folder / JOURNAL, asdict(settings.images))
    earlier = {_recording(Clip.from_stem(stem)) for stem in journal.entries}
    wanted = earlier | set(itertools.product(settings.subjects, settings.actions, SUBACTIONS))
    found, missing = find_clips(settings.raw, metadata, sorted(wanted))
    for recording, paths in missing.items():
        result.left_out[recording] = f"{paths[0]}: missing" + (f", and {len(paths) - 1} more" if paths[1:] else "")
    _stop_if(result.left_out and not settings.keep_going, result.left_out, "are incomplete")
    tasks = _plan(folder, found, result, workers)
    _stop_if(result.left_out and not settings.keep_going, result.left_out, "are damaged")
    _extract(folder, tasks, journal, result, workers)
    _stop_if(result.left_out and not settings.keep_going, result.left_out, "are damaged; the others are in place")
    if not result.num_images:
        _stop_if(True, result.left_out, "cannot be used, and there are no others")
    _write_annotations(folder, found, metadata, journal, result)
    return result


def _recording(clip: Clip) -> Recording:
    return clip.subject, clip.action, clip.subaction


def _stop_if(condition: object, left_out: dict[Recording, str], what: str) -> None:
    if condition:
        first = next(iter(left_out.values()))
        raise InputError(f"{len(left_out)} recordings {what}; the first: {first}; --keep-going leaves them out")


def _plan(folder: Path, found: dict[Recording, list[ClipFiles]], result: Prepared, workers: int) -> list[ClipTask]:
    """Find out how many frames the four clips of each recording have in common; drops what is damaged from `found`.

    Every pose file is read once here: better to know of a damaged one before the hours of decoding than after.
    """
    clips = [files for clips in found.values() for files in clips]
    measured = tqdm(map_processes(_measure, clips, workers), "poses", len(clips), disable=None, leave=False)
    lengths: dict[Clip, tuple[int, int]] = {}
    for files, length in zip(clips, measured, strict=True):
        if isinstance(length, str):
            result.left_out.setdefault(_recording(files.clip), length)
            found.pop(_recording(files.clip), None)
        else:
            lengths[files.clip] = length
    tasks: list[ClipTask] = []
    for clips in found.values():
        num_frames = min(min(lengths[files.clip]) for files in clips)
        tasks += [ClipTask(files.clip, files.video, num_frames, result.settings.images, folder / PARTS)
                  for files in clips]  # fmt: skip
        result.lengths |= {files.clip: lengths[files.clip] for files in clips if len({*lengths[files.clip]}) > 1}
    return tasks


def _measure(files: ClipFiles) -> tuple[int, int] | str:
    """Return the frames of a clip's video and its poses, or what is wrong with its files."""
    try:
        num_poses = len(read_joints(files.pose, 3))
        for other, size in ((files.points, 2), (files.universal, 3)):
            length = num_poses if other is None else len(read_joints(other, size))
            if length != num_poses:
                return f"{other}: has {length} frames, {files.pose} has {num_poses}"
        with VideoReader(files.video) as video:
            num_frames = video.num_frames
    except InputError as error:
        return str(error)
    if abs(num_frames - num_poses) > MAX_LENGTH_DIFFERENCE:
        return f"{files.video}: has {num_frames} frames, its poses {num_poses}: another video, or cut off"
    return num_frames, num_poses


def _extract(folder: Path, tasks: Sequence[ClipTask], journal: Journal, result: Prepared, workers: int) -> None:
    """Make the images; recordings with a damaged video are left out."""
    total = sum(len(task.image_ids) for task in tasks)
    with tqdm(total=total, desc="images", unit="image", disable=None) as bar:
        errors = write_images(folder, tasks, result.settings.images, journal, workers, result.settings.keep_going,
                              bar.update)  # fmt: skip
    result.left_out |= {_recording(clip): error for clip, error in errors.items()}
    result.num_images = {
        task.clip: len(task.image_ids) for task in tasks if _recording(task.clip) not in result.left_out
    }


def _write_annotations(
    folder: Path, found: dict[Recording, list[ClipFiles]], metadata: H36MMetadata, journal: Journal, result: Prepared
) -> None:
    """Write pickles, memory-mapped forms and the summary."""
    files = sorted((one for clips in found.values() for one in clips), key=lambda one: one.clip)
    for subset, subjects in (("train", TRAIN_SUBJECTS), ("validation", TEST_SUBJECTS)):
        clips = [(number, one) for number, one in enumerate(files)
                 if one.clip.subject in subjects and one.clip in result.num_images]  # fmt: skip
        if clips:
            bar = tqdm(clips, desc=f"{subset} annotation", unit="clip", disable=None, leave=False)
            records = [_read_records(number, one, metadata, journal, result) for number, one in bar]
            _write_subset(folder, subset, records, result)
    result.files.append(folder / "annot" / SUMMARY)
    write_json(result.files[-1], {
        **asdict(result.settings.images),
        "num_images": {clip.stem: count for clip, count in sorted(result.num_images.items())},
        "left_out": {"{}-{}-{}".format(*recording): why for recording, why in sorted(result.left_out.items())},
    })  # fmt: skip


@dataclass
class _ClipRecords:
    """The records of a clip and the (width, height) of its images, px."""

    records: list[dict[str, Any]]
    image_wh: tuple[int, int]


def _read_records(
    video_id: int, files: ClipFiles, metadata: H36MMetadata, journal: Journal, result: Prepared
) -> _ClipRecords:
    """Make the records of the frames that became images."""
    clip, count, step = files.clip, result.num_images[files.clip], result.settings.images.step
    frames = slice(0, count * step, step)
    joints_img, joints_cam = read_joints(files.points, 2)[frames], read_joints(files.pose, 3)[frames]
    camera = metadata.camera(clip.camera_id, clip.subject)
    distance = _distance(joints_img, joints_cam, camera)
    result.distances[clip.subject] = max(result.distances.get(clip.subject, 0.0), distance)
    extra = {} if files.universal is None else {"joints_3d_universal": read_joints(files.universal, 3)[frames]}
    records = clip_records(clip, video_id, camera, 1 + step * np.arange(count), joints_img, joints_cam, extra)
    entry = journal.entries[clip.stem]
    return _ClipRecords(records, (entry["width"], entry["height"]))


def _distance(joints_img: np.ndarray, joints_cam: np.ndarray, camera: dict[str, np.ndarray]) -> float:
    """Return the largest distance between (F, 17, 2) px and the projection of (F, 17, 3) mm, px."""
    projected, _ = project_camera(joints_cam, Cameras.from_records([camera])[0])
    return float(np.linalg.norm(projected - joints_img, axis=-1).max())


def _write_subset(folder: Path, subset: str, clips: list[_ClipRecords], result: Prepared) -> None:
    """Write the pickles with the boxes and with whole images, and the memory-mapped form of each."""
    for crop in (True, False):
        file = h36m_file(folder.parent, subset, crop)
        if not crop:
            for clip in clips:  # one after the other, so that no second list is in memory
                clip.records = uncrop(clip.records, clip.image_wh)
        records = list(itertools.chain.from_iterable(clip.records for clip in clips))
        write_pickle(file.path, records)
        save_compact(to_annotations(records, file.path, "h36m", file.joint_set, PUBLISHED), file)
        result.files += [file.path, file.compact_folder]
