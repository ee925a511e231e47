"""Human3.6M: the contents of the official archives -> images and annotations in the published structure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lib.dataset.h36m import SUBACTIONS, SUMMARY, TEST_SUBJECTS, TRAIN_SUBJECTS
from lib.dataset.prepare.h36m_annotations import FinishedClip, write_annotations
from lib.dataset.prepare.h36m_files import NUM_CAMERAS, ClipFiles, Recording, find_clips, read_joints
from lib.dataset.prepare.h36m_images import PARTS, ClipTask, ImageSettings, write_clips
from lib.dataset.prepare.h36m_metadata import H36MMetadata, read_metadata
from lib.dataset.protocol import ACTION_NAMES
from lib.dataset.storage.record_writer import Clip
from lib.utils.errors import InputError
from lib.utils.files.journal import Journal
from lib.utils.files.json_file import write_json
from lib.utils.files.video import VideoReader
from lib.utils.parallel.process_map import map_processes

SUBJECTS = (*TRAIN_SUBJECTS, *TEST_SUBJECTS)
JOURNAL = "prepare_h36m.jsonl"
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
        force: replace images and annotations that something else made.
    """

    raw: Path
    metadata: Path
    subjects: tuple[int, ...] = SUBJECTS
    actions: tuple[int, ...] = tuple(ACTION_NAMES)
    images: ImageSettings = field(default_factory=ImageSettings)
    keep_going: bool = False
    force: bool = False

    def check(self) -> None:
        """Raise an InputError for values that make no data set."""
        for flag, values, known in (("--subjects", self.subjects, SUBJECTS), ("--actions", self.actions, ACTION_NAMES)):
            unknown = sorted(set(values) - set(known))
            if unknown or not values:
                raise InputError(
                    f"{flag}: expected some of {', '.join(map(str, known))}, received "
                    f"{', '.join(map(str, values)) or 'none'}"
                )
        if self.images.step < 1 or not 1 <= self.images.jpeg_quality <= 100:
            raise InputError(
                f"--step must be at least 1 and --jpeg-quality 1 to 100, received {self.images.step} and "
                f"{self.images.jpeg_quality}"
            )


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

    Recordings that an earlier call finished stay, and their downloads are not needed any more; work that was
    interrupted goes on behind the last finished clip.

    Args:
        root: DATASET.ROOT.
        settings: what to prepare.
        workers: processes.

    Returns:
        What came of it.

    Raises:
        InputError: bad settings, missing or damaged files (unless they are to be left out), images or annotations that
            something else made (unless they are to be replaced), or the disk refuses.
    """
    settings.check()
    folder = root / "h36m"
    result = Prepared(settings)
    journal = Journal(folder / JOURNAL, asdict(settings.images))
    if not (journal.entries or settings.force):
        _refuse_foreign(folder)
    wanted = set(itertools.product(settings.subjects, settings.actions, SUBACTIONS)) - _complete(journal)
    tasks = _plan(folder, sorted(wanted), journal, result, workers) if wanted else []
    errors = _extract(folder, tasks, journal, settings.images, workers)
    result.left_out |= {_recording(clip): error for clip, error in errors.items()}
    _stop_if(errors and not settings.keep_going, result.left_out, "are damaged; the others are in place")
    finished = sorted(_complete(journal))
    if not finished:
        _stop_if(True, result.left_out, "cannot be used, and there are no others")
    for clip in (Clip.from_stem(stem) for stem in journal.entries):
        if _recording(clip) not in finished:
            result.left_out.setdefault(_recording(clip), "begun by an earlier call and not finished")
    _annotate(root, finished, journal, result)
    return result


def _recording(clip: Clip) -> Recording:
    return clip.subject, clip.action, clip.subaction


def _clips(recording: Recording) -> list[Clip]:
    return [Clip(*recording, camera_id) for camera_id in range(NUM_CAMERAS)]


def _complete(journal: Journal) -> set[Recording]:
    """Return the recordings of which all clips are in place."""
    begun = {_recording(Clip.from_stem(stem)) for stem in journal.entries}
    return {recording for recording in begun if all(clip.stem in journal.entries for clip in _clips(recording))}


def _refuse_foreign(folder: Path) -> None:
    """Raise an InputError where there are images or annotations that this did not make."""
    there = [folder / "images", folder / "images.zip", *sorted((folder / "annot").glob("h36m_*.pkl"))]
    there = [path for path in there if path.is_file() or (path.is_dir() and any(path.iterdir()))]
    if there:
        raise InputError(
            f"{there[0]} exists and was not made by this (there is no {JOURNAL}); choose another --root, "
            "or --force to replace it"
        )


def _stop_if(condition: object, left_out: dict[Recording, str], what: str) -> None:
    if condition:
        first = next(iter(left_out.values()))
        raise InputError(f"{len(left_out)} recordings {what}; the first: {first}; --keep-going leaves them out")


def _plan(
    folder: Path, recordings: Iterable[Recording], journal: Journal, result: Prepared, workers: int
) -> list[ClipTask]:
    """Find the files of recordings and how many frames the four clips of each have in common."""
    settings = result.settings
    metadata = read_metadata(settings.metadata)
    found, missing = find_clips(settings.raw, metadata, recordings)
    for recording, paths in missing.items():
        result.left_out[recording] = f"{paths[0]}: missing" + (f", and {len(paths) - 1} more" if paths[1:] else "")
    _stop_if(missing and not settings.keep_going, result.left_out, "are incomplete")
    lengths, damaged = _measure_all([files for clips in found.values() for files in clips], workers)
    for clip, error in damaged.items():
        result.left_out.setdefault(_recording(clip), error)
        found.pop(_recording(clip), None)
    _stop_if(damaged and not settings.keep_going, result.left_out, "are damaged")
    tasks: list[ClipTask] = []
    for clips in found.values():
        num_frames = min(min(lengths[files.clip]) for files in clips)
        tasks += [
            _task(folder, files, metadata, num_frames, lengths[files.clip], settings.images)
            for files in clips
            if files.clip.stem not in journal.entries
        ]
    return tasks


def _task(
    folder: Path,
    files: ClipFiles,
    metadata: H36MMetadata,
    num_frames: int,
    lengths: tuple[int, int],
    images: ImageSettings,
) -> ClipTask:
    camera = metadata.camera(files.clip.camera_id, files.clip.subject)
    return ClipTask(files, camera, num_frames, lengths, images, folder / PARTS)


def _measure_all(clips: Sequence[ClipFiles], workers: int) -> tuple[dict[Clip, tuple[int, int]], dict[Clip, str]]:
    """Read every pose file once: better to know of a damaged one before the hours of decoding than after.

    Returns:
        Clip -> (frames of the video, poses), and clip -> what is wrong with its files.
    """
    lengths: dict[Clip, tuple[int, int]] = {}
    damaged: dict[Clip, str] = {}
    measured = tqdm(map_processes(_measure, clips, workers), "poses", len(clips), disable=None, leave=False)
    for files, length in zip(clips, measured, strict=True):
        if isinstance(length, str):
            damaged[files.clip] = length
        else:
            lengths[files.clip] = length
    return lengths, damaged


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


def _extract(
    folder: Path, tasks: Sequence[ClipTask], journal: Journal, images: ImageSettings, workers: int
) -> dict[Clip, str]:
    """Make images and labels; returns clip -> what is wrong with its files."""
    with tqdm(total=sum(len(task.image_ids) for task in tasks), desc="images", unit="image", disable=None) as bar:
        return write_clips(folder, tasks, images, journal, workers, bar.update)


def _annotate(root: Path, recordings: Sequence[Recording], journal: Journal, result: Prepared) -> None:
    """Write annotations and summary of what is in place."""
    clips = []
    for clip in itertools.chain.from_iterable(map(_clips, recordings)):
        entry = journal.entries[clip.stem]
        image_ids = np.arange(1, entry["num_frames"] + 1, result.settings.images.step)
        clips.append(FinishedClip(clip, image_ids, (entry["width"], entry["height"])))
        result.num_images[clip] = len(image_ids)
        result.distances[clip.subject] = max(result.distances.get(clip.subject, 0.0), entry["distance"])
        video, poses = entry["lengths"]
        if video != poses:
            result.lengths[clip] = (video, poses)
    result.files += write_annotations(root, clips)
    result.files.append(root / "h36m/annot" / SUMMARY)
    write_json(
        result.files[-1],
        {
            **asdict(result.settings.images),
            "num_images": {clip.stem: count for clip, count in sorted(result.num_images.items())},
            "left_out": {"{}-{}-{}".format(*recording): why for recording, why in sorted(result.left_out.items())},
        },
    )
