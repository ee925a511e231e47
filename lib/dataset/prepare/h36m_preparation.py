"""Preparation of Human3.6M: from the official archives to images and annotation in the original structure."""

import itertools
import shutil
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tqdm import tqdm

from lib.dataset.h36m import SUBACTIONS, SUMMARY, TEST_SUBJECTS, TRAIN_SUBJECTS
from lib.dataset.prepare.h36m_annotations import write_annotations
from lib.dataset.prepare.h36m_clips import (
    LABELS,
    ClipTask,
    FinishedClip,
    ImageSettings,
    finished_clips,
    pack_images,
    prepare_clips,
)
from lib.dataset.prepare.h36m_files import NUM_CAMERAS, ClipFiles, RecordingId, find_clips, read_joints, recording_of
from lib.dataset.prepare.h36m_metadata import read_metadata
from lib.dataset.protocol import ACTION_NAMES
from lib.dataset.storage.record_writer import Clip
from lib.utils.errors import InputError
from lib.utils.files.json_file import write_json
from lib.utils.files.video import VideoReader
from lib.utils.parallel.process_map import map_processes

SUBJECTS = (*TRAIN_SUBJECTS, *TEST_SUBJECTS)
MAX_LENGTH_DIFFERENCE = 25  # frames between a video and its poses (0.5 s); more means another or a truncated video
_OLD_JOURNAL = "prepare_h36m.jsonl"  # written by earlier versions of this script


@dataclass(frozen=True)
class PrepareSettings:
    """Input and extent of the preparation.

    Attributes:
        raw: folder with S1, S5, ... as the archives unpack.
        metadata: metadata.xml.
        subjects, actions: recordings to prepare.
        images: conversion of videos to images.
        keep_going: skip recordings with missing or damaged files instead of stopping.
        force: replace images and annotation that another program made.
    """

    raw: Path
    metadata: Path
    subjects: tuple[int, ...] = SUBJECTS
    actions: tuple[int, ...] = tuple(ACTION_NAMES)
    images: ImageSettings = field(default_factory=ImageSettings)
    keep_going: bool = False
    force: bool = False

    def check(self) -> None:
        """Raise an InputError for values out of range."""
        for flag, values, known in (("--subjects", self.subjects, SUBJECTS), ("--actions", self.actions, ACTION_NAMES)):
            if not values or not set(values) <= set(known):
                raise InputError(
                    f"{flag}: expected some of {', '.join(map(str, known))}, received "
                    f"{', '.join(map(str, values)) or 'none'}"
                )
        if self.images.step < 1:
            raise InputError(f"--step: expected at least 1, received {self.images.step}")
        if not 1 <= self.images.jpeg_quality <= 100:
            raise InputError(f"--jpeg-quality: expected 1 to 100, received {self.images.jpeg_quality}")


@dataclass
class PreparedH36M:
    """Result of a preparation.

    Attributes:
        settings: input and extent.
        clips: clips in the annotation.
        left_out: recording -> reason.
        files: written files and folders except images.
    """

    settings: PrepareSettings
    clips: list[FinishedClip] = field(default_factory=list)
    left_out: dict[RecordingId, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)


def prepare_h36m(root: Path, settings: PrepareSettings, workers: int = 1) -> PreparedH36M:
    """Write ROOT/h36m: images, pickles, memory-mapped arrays and a summary.

    Recordings that an earlier call finished are kept and do not need their downloads. An interrupted preparation
    resumes after the last finished clip.

    Args:
        root: DATASET.ROOT.
        settings: input and extent.
        workers: number of processes.

    Raises:
        InputError: bad settings; missing or damaged files without `keep_going`; images or annotation of another
            program without `force`; a file cannot be written.
    """
    settings.check()
    folder = root / "h36m"
    _check_folder(folder, settings.force)
    result = PreparedH36M(settings)
    finished = finished_clips(folder, settings.images)
    wanted = set(itertools.product(settings.subjects, settings.actions, SUBACTIONS)) - _complete(finished)
    if wanted:
        tasks = _plan(folder, sorted(wanted), {one.clip for one in finished}, result, workers)
        num_images = sum(len(task.image_ids) for task in tasks)
        with tqdm(total=num_images, desc="images", unit="image", disable=None) as bar:
            errors = prepare_clips(folder, tasks, workers, bar.update)
        result.left_out |= {recording_of(clip): error for clip, error in errors.items()}
        if errors and not settings.keep_going:
            raise _left_out_error(result.left_out, "are damaged; the others are finished")
        finished = finished_clips(folder, settings.images)
    complete = _complete(finished)
    if not complete:
        raise _left_out_error(result.left_out, "cannot be used, and there are no others")
    for one in finished:
        if recording_of(one.clip) in complete:
            result.clips.append(one)
        else:
            result.left_out.setdefault(recording_of(one.clip), "an earlier call did not finish it")
    if settings.images.as_zip:
        pack_images(folder, finished)
    result.files += write_annotations(root, result.clips)
    result.files.append(root / "h36m/annot" / SUMMARY)
    write_json(
        result.files[-1],
        {
            **asdict(settings.images),
            "num_images": {one.clip.stem: len(one.image_ids) for one in result.clips},
            "left_out": {"{}-{}-{}".format(*recording): why for recording, why in sorted(result.left_out.items())},
        },
    )
    return result


def _complete(finished: Iterable[FinishedClip]) -> set[RecordingId]:
    """Return the recordings with all cameras finished."""
    clips = {one.clip for one in finished}
    recordings = {recording_of(clip) for clip in clips}
    return {one for one in recordings if all(Clip(*one, camera_id) in clips for camera_id in range(NUM_CAMERAS))}


def _check_folder(folder: Path, force: bool) -> None:
    """Refuse or, with `force`, discard the work of earlier versions; refuse files of other programs."""
    journal = folder / _OLD_JOURNAL
    if journal.exists():
        if not force:
            raise InputError(
                f"{journal}: prepared by an earlier version of this script; the data set can be used, but not "
                "extended or resumed; choose another --root, or --force to prepare it again"
            )
        shutil.rmtree(folder / LABELS, ignore_errors=True)
        (folder / "images.zip.partial").unlink(missing_ok=True)
        journal.unlink()
    if force or (folder / LABELS).is_dir():
        return
    found = [folder / "images", folder / "images.zip", *sorted((folder / "annot").glob("h36m_*.pkl"))]
    found = [path for path in found if path.is_file() or (path.is_dir() and any(path.iterdir()))]
    if found:
        raise InputError(
            f"{found[0]}: exists and was not made by this script (no folder {LABELS}); choose another --root, or "
            "--force to replace it"
        )


def _left_out_error(left_out: dict[RecordingId, str], what: str) -> InputError:
    first = next(iter(left_out.values()))
    return InputError(f"{len(left_out)} recordings {what}; the first: {first}; --keep-going leaves them out")


def _plan(
    folder: Path, recordings: Iterable[RecordingId], finished: Collection[Clip], result: PreparedH36M, workers: int
) -> list[ClipTask]:
    """Find the files of recordings and the number of frames that the four clips of each have in common."""
    settings = result.settings
    metadata = read_metadata(settings.metadata)
    found, missing = find_clips(settings.raw, metadata, recordings)
    for recording, paths in missing.items():
        result.left_out[recording] = f"{paths[0]}: missing" + (f", and {len(paths) - 1} more" if paths[1:] else "")
    if missing and not settings.keep_going:
        raise _left_out_error(result.left_out, "are incomplete")
    # Read every pose file and open every video now, to find damaged ones before hours of decoding.
    all_files = [files for clips in found.values() for files in clips]
    measured = tqdm(map_processes(_measure, all_files, workers), "poses", len(all_files), disable=None, leave=False)
    lengths = dict(zip(all_files, measured, strict=True))
    damaged = {files: error for files, error in lengths.items() if isinstance(error, str)}
    for files, error in damaged.items():
        result.left_out.setdefault(recording_of(files.clip), error)
        found.pop(recording_of(files.clip), None)
    if damaged and not settings.keep_going:
        raise _left_out_error(result.left_out, "are damaged")
    tasks: list[ClipTask] = []
    for clips in found.values():
        num_frames = min(min(lengths[files]) for files in clips)
        for files in clips:
            clip = files.clip
            if clip not in finished:
                camera = metadata.camera(clip.camera_id, clip.subject)
                tasks.append(ClipTask(files, camera, num_frames, lengths[files], settings.images, folder))
    return tasks


def _measure(files: ClipFiles) -> tuple[int, int] | str:
    """Return the numbers of video frames and poses of a clip, or the error in its files."""
    try:
        num_poses = len(read_joints(files.pose, 3))
        for other, num_coordinates in ((files.points, 2), (files.universal, 3)):
            length = num_poses if other is None else len(read_joints(other, num_coordinates))
            if length != num_poses:
                return f"{other}: has {length} frames, {files.pose} has {num_poses}"
        with VideoReader(files.video) as video:
            num_frames = video.num_frames
    except InputError as error:
        return str(error)
    if abs(num_frames - num_poses) > MAX_LENGTH_DIFFERENCE:
        return f"{files.video}: has {num_frames} frames, its poses {num_poses}: another video, or truncated"
    return num_frames, num_poses
