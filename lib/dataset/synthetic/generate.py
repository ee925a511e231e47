"""Making a whole data set, one recording at a time, in several processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from lib.dataset.storage.new_dataset_folder import new_dataset_folder
from lib.dataset.storage.record_writer import mpii_record, uncrop
from lib.dataset.synthetic.motion.actions import ACTIONS
from lib.dataset.synthetic.records import recording_records
from lib.dataset.synthetic.scene import SubjectWorld, SyntheticRecording, WorldSettings
from lib.dataset.synthetic.single_images import IMAGES_PER_PLACE, make_place, render_single_image
from lib.utils.errors import InputError
from lib.utils.files.atomic import clear_directories
from lib.utils.files.image_store import ImageStore, open_images
from lib.utils.files.json_file import read_json, write_json
from lib.utils.files.portable_pickle import write_pickle
from lib.utils.parallel.process_map import map_processes

MARKER = "synthetic.json"  # says that a folder was made here, and how
SUBJECTS = (1, 5, 6, 7, 8, 9, 11)
VALIDATION_SUBJECTS = (9, 11)
SUBACTIONS = (1, 2)
MOST_OCCLUDERS = 4
# of the settings whose flag has another name
_FLAGS = {"num_views": "--views", "train_groups": "--groups-per-train", "validation_groups": "--groups-per-validation"}
LARGEST_IMAGE_PX = 4096  # a view needs 2 GB for its layers there


@dataclass(frozen=True)
class SetSettings:
    """What a data set consists of.

    Attributes:
        world: seed, views, image size, occluders.
        subjects: numbers; 9 and 11 are for validation, all others for training.
        actions: ids, 2..16.
        train_groups, validation_groups: frames per recording (subject, action, sub-action).
        frame_step: distance of the frames, in frames of 1/50 s.
        mpii_train, mpii_valid: number of single pictures.
        jpeg_quality: 1..100.
    """

    world: WorldSettings = field(default_factory=WorldSettings)
    subjects: tuple[int, ...] = SUBJECTS
    actions: tuple[int, ...] = tuple(ACTIONS)
    train_groups: int = 6
    validation_groups: int = 3
    frame_step: int = 100
    mpii_train: int = 640
    mpii_valid: int = 64
    jpeg_quality: int = 88

    def check(self) -> None:
        """Raise an InputError for values that make no data set."""
        unknown = sorted(set(self.actions) - set(ACTIONS))
        if unknown:
            raise InputError(f"--actions: no action {unknown[0]}; Human3.6M's ids are 2 to 16")
        if not self.actions:
            raise InputError("--actions: none given; Human3.6M's ids are 2 to 16")
        first_subject = min(self.subjects, default=0)
        least = {
            "--views": (self.world.num_views, 2),
            "--image-size": (self.world.image_size, 32),
            "--seed": (self.world.seed, 0),
            "--rig": (self.world.rig, 0),
            "--frame-step": (self.frame_step, 1),
            "--groups-per-train": (self.train_groups, 1),
            "--groups-per-validation": (self.validation_groups, 1),
            "--mpii-train": (self.mpii_train, 0),
            "--mpii-valid": (self.mpii_valid, 0),
            "--jpeg-quality": (self.jpeg_quality, 1),
            "--subjects": (first_subject, 1),
        }
        for flag, (value, low) in least.items():
            if value < low:
                raise InputError(f"{flag}: expected at least {low}, received {value}")
        if self.world.image_size > LARGEST_IMAGE_PX:
            raise InputError(f"--image-size: expected at most {LARGEST_IMAGE_PX} px, received {self.world.image_size}")
        if self.jpeg_quality > 100 or not 0 <= self.world.occluders <= MOST_OCCLUDERS:
            raise InputError(f"--jpeg-quality must be at most 100 and --occluders between 0 and {MOST_OCCLUDERS}")


@dataclass(frozen=True)
class _Film:
    """One recording to film."""

    settings: SetSettings
    subject: int
    action: int
    subaction: int

    @property
    def image_ids(self) -> np.ndarray:
        """Frame numbers, from a start that differs between recordings."""
        validation = self.subject in VALIDATION_SUBJECTS
        count = self.settings.validation_groups if validation else self.settings.train_groups
        start = 1 + (37 * self.subject + 11 * self.action + 53 * self.subaction) % self.settings.frame_step
        return start + self.settings.frame_step * np.arange(count)


@dataclass(frozen=True)
class _Footage:
    """What came out: JPEGs in the order frame, view; joints (F, 17, 3) world, mm; occluded (F, V, 17)."""

    images: list[bytes]
    joints_world: np.ndarray
    occluded: np.ndarray


@dataclass(frozen=True)
class _Album:
    """Single images start..stop to take, all in one place."""

    settings: SetSettings
    start: int
    stop: int


def encode(image: np.ndarray, quality: int) -> bytes:
    """Encode a picture (H, W, 3) uint8 BGR as JPEG."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


@lru_cache(maxsize=1)
def _world(settings: WorldSettings, subject: int) -> SubjectWorld:
    """Keep the last subject's world: its empty views take a moment to make."""
    return SubjectWorld(settings, subject)


def film(task: _Film) -> _Footage:
    """Film a recording with all cameras."""
    world = _world(task.settings.world, task.subject)
    recording = SyntheticRecording(world, task.action, task.subaction)
    act = recording.act(task.image_ids)
    images, occluded = [], []
    for frame, image_id in enumerate(task.image_ids.tolist()):
        for view in range(world.settings.num_views):
            image, hidden = recording.render(act, frame, image_id, view)
            images.append(encode(image, task.settings.jpeg_quality))
            occluded.append(hidden)
    shape = (len(task.image_ids), world.settings.num_views, -1)
    return _Footage(images, act.pose.joints, np.reshape(occluded, shape))


def take_album(task: _Album) -> list[tuple[bytes, dict[str, Any]]]:
    """Take single pictures; returns JPEG and record of each."""
    seed = task.settings.world.seed
    place = make_place(seed, task.start // IMAGES_PER_PLACE)
    pictures = []
    for index in range(task.start, task.stop):
        single = render_single_image(seed, index, place)
        image_wh = single.image.shape[1::-1]
        record = mpii_record(f"{index:09d}.jpg", single.joints, single.hidden, single.head_px, image_wh)
        pictures.append((encode(single.image, task.settings.jpeg_quality), record))
    return pictures


def _work(task: _Film | _Album) -> Any:
    return film(task) if isinstance(task, _Film) else take_album(task)


def is_made(root: Path, settings: SetSettings, as_zip: bool = False) -> bool:
    """Return whether `root` holds a whole data set, one with these settings; what killed processes left beside it goes.

    Raises:
        InputError: it was made with others, its note of them is damaged, or the disk refuses.
    """
    try:
        clear_directories(root)
    except OSError as error:
        raise InputError(
            f"{root}: what a process that was killed left beside it cannot be cleared ({error.strerror})"
        ) from None
    marker = root / MARKER
    if not marker.exists():
        return False
    asked_for = json.loads(json.dumps(_described(settings, as_zip)))
    then, now = (_options(note, marker) for note in (read_json(marker), asked_for))
    changed = [
        f"{flag} {_written(then.get(flag))} -> {_written(now.get(flag))}"
        for flag in {**now, **then}
        if then.get(flag) != now.get(flag)
    ]
    if changed:
        raise InputError(
            f"{root}: was made with other options (then -> now): {', '.join(changed)}; choose another "
            "--root, or make it anew with --force instead of --reuse"
        )
    return True


def _options(note: Any, marker: Path) -> dict[str, Any]:
    """Return the settings of a data set's note by the names of their flags."""
    if not isinstance(note, dict) or not isinstance(note.get("world"), dict):
        raise InputError(f"{marker}: not the settings of a data set")
    settings = {**note, **note["world"]}
    del settings["world"]
    return {_FLAGS.get(name, "--" + name.replace("_", "-")): value for name, value in settings.items()}


def _written(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else "unknown" if value is None else str(value).lower()


def _described(settings: SetSettings, as_zip: bool) -> dict:
    return {**asdict(settings), "zip": as_zip}


def make_dataset(
    root: Path, settings: SetSettings, workers: int = 1, as_zip: bool = False, force: bool = False
) -> dict[str, int]:
    """Make a data set in the layout of Human3.6M and MPII.

    Args:
        root: folder to make; appears when it is complete.
        settings: what to make; the same settings give the same files whatever `workers` is.
        workers: processes; 1 works in this one.
        as_zip: images.zip instead of folders of images.
        force: replace a synthetic data set that is there.

    Returns:
        Number of training groups, validation groups and single pictures.

    Raises:
        InputError: bad settings, `root` is taken, or the disk refuses.
    """
    settings.check()
    films = [
        _Film(settings, subject, action, subaction)
        for subject in sorted(set(settings.subjects))
        for action in sorted(set(settings.actions))
        for subaction in SUBACTIONS
    ]
    num_single = settings.mpii_train + settings.mpii_valid
    albums = [
        _Album(settings, start, min(start + IMAGES_PER_PLACE, num_single))
        for start in range(0, num_single, IMAGES_PER_PLACE)
    ]
    total = sum(len(task.image_ids) for task in films) * settings.world.num_views + num_single
    with new_dataset_folder(root, force, MARKER) as folder, tqdm(total=total, unit="image", disable=None) as bar:
        results = map_processes(_work, [*films, *albums], workers)
        counts = _store_films(folder / "h36m", films, results, as_zip, bar.update)
        _store_albums(folder / "mpii", settings, albums, results, as_zip, bar.update)
        write_json(folder / MARKER, _described(settings, as_zip), indent=None)
    return {**counts, "single pictures": num_single}


def _store_films(
    folder: Path, films: Sequence[_Film], results: Iterable[_Footage], as_zip: bool, done: Callable[[int], Any]
) -> dict[str, int]:
    """Write images and annotations of the recordings; returns the number of groups per subset."""
    records: dict[str, list] = {"train": [], "validation": []}
    groups = dict.fromkeys(records, 0)
    with open_images(folder, as_zip) as images:
        for number, (task, footage) in enumerate(zip(films, results, strict=False)):
            world = _world(task.settings.world, task.subject)
            subset = "validation" if task.subject in VALIDATION_SUBJECTS else "train"
            new = recording_records(
                world,
                task.action,
                task.subaction,
                task.image_ids,
                footage.joints_world,
                footage.occluded,
                number * world.settings.num_views,
            )
            _add_images(images, [record["image"] for record in new], footage.images)
            records[subset] += new
            groups[subset] += len(task.image_ids)
            done(len(new))
    for subset, rows in records.items():
        if rows:
            whole = uncrop(rows, (films[0].settings.world.image_size,) * 2)
            write_pickle(folder / "annot" / f"h36m_{subset}.pkl", rows)
            write_pickle(folder / "annot" / f"h36m_{subset}_uncrop.pkl", whole)
    return {f"{subset} groups": count for subset, count in groups.items()}


def _add_images(sink: ImageStore, names: Sequence[str], images: Sequence[bytes]) -> None:
    for name, data in zip(names, images, strict=True):
        sink.add(name, data)


def _store_albums(
    folder: Path,
    settings: SetSettings,
    albums: Sequence[_Album],
    results: Iterable[list],
    as_zip: bool,
    done: Callable[[int], Any],
) -> None:
    """Write single pictures and their annotations: the first ones are for training."""
    records = []
    with open_images(folder, as_zip) as images:
        for _, pictures in zip(albums, results, strict=True):
            new = [record for _, record in pictures]
            _add_images(images, [record["image"] for record in new], [data for data, _ in pictures])
            records += new
            done(len(new))
    split = settings.mpii_train
    for name, rows in (("train", records[:split]), ("valid", records[split:]), ("trainval", records)):
        if rows:
            write_json(folder / "annot" / f"{name}.json", rows, indent=None)
