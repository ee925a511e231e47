"""Generation of a synthetic data set in the layout of Human3.6M and MPII."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from lib.dataset.h36m import SUBACTIONS, TEST_SUBJECTS, TRAIN_SUBJECTS
from lib.dataset.storage.new_dataset_folder import new_dataset_folder
from lib.dataset.storage.record_writer import Clip, clip_records, mpii_record, uncrop
from lib.dataset.synthetic.motion.actions import ACTIONS
from lib.dataset.synthetic.scene import SubjectWorld, SyntheticRecording, WorldSettings
from lib.dataset.synthetic.single_images import IMAGES_PER_PLACE, make_place, render_single_image
from lib.multiviews.cameras import project, world_to_camera
from lib.utils.errors import InputError
from lib.utils.files.atomic import clear_directories
from lib.utils.files.image_store import ImageStore, open_images
from lib.utils.files.json_file import read_json, write_json
from lib.utils.files.portable_pickle import write_pickle
from lib.utils.parallel.process_map import map_processes

MAX_OCCLUDERS = 4
MAX_IMAGE_PX = 4096  # a view needs 2 GB at this size
MARKER = "synthetic.json"  # settings of a generated data set; marks its folder
# settings whose flag has another name
_FLAGS = {
    "num_views": "--views",
    "train_groups": "--groups-per-train",
    "validation_groups": "--groups-per-validation",
    "more_rigs": "further --rig",
}


@dataclass(frozen=True)
class SetSettings:
    """Content of a data set."""

    world: WorldSettings = field(default_factory=WorldSettings)  # seed, views, image size, occluders
    subjects: tuple[int, ...] = (
        *TRAIN_SUBJECTS,
        *TEST_SUBJECTS,
    )  # numbers; 9 and 11 are for validation, all others for training
    actions: tuple[int, ...] = tuple(ACTIONS)  # ids, 2..16
    train_groups: int = 6  # frames per recording (subject, action, sub-action)
    validation_groups: int = 3  # frames per recording (subject, action, sub-action)
    frame_step: int = 100  # distance of the frames, in frames of 1/50 s
    mpii_train: int = 640  # number of single images
    mpii_valid: int = 64  # number of single images
    jpeg_quality: int = 88  # 1..100
    more_rigs: tuple[int, ...] = ()  # training subjects take turns on world.rig and these; others are on world.rig

    def check(self) -> None:
        """Raise an InputError for invalid values."""
        unknown = sorted(set(self.actions) - set(ACTIONS))
        if unknown or not self.actions:
            received = unknown[0] if unknown else "none"
            raise InputError(f"--actions: expected ids of Human3.6M, 2 to 16, received {received}")
        limits = {
            "--views": (self.world.num_views, 2, np.inf),
            "--image-size": (self.world.image_size, 32, MAX_IMAGE_PX),
            "--seed": (self.world.seed, 0, np.inf),
            "--rig": (min(self.world.rig, *self.more_rigs, self.world.rig), 0, np.inf),
            "--occluders": (self.world.occluders, 0, MAX_OCCLUDERS),
            "--frame-step": (self.frame_step, 1, np.inf),
            "--groups-per-train": (self.train_groups, 1, np.inf),
            "--groups-per-validation": (self.validation_groups, 1, np.inf),
            "--mpii-train": (self.mpii_train, 0, np.inf),
            "--mpii-valid": (self.mpii_valid, 0, np.inf),
            "--jpeg-quality": (self.jpeg_quality, 1, 100),
            "--subjects": (min(self.subjects, default=0), 1, np.inf),
        }
        for flag, (value, low, high) in limits.items():
            if not low <= value <= high:
                bound = f"at least {low}" if value < low else f"at most {high}"
                raise InputError(f"{flag}: expected {bound}, received {value}")


@dataclass(frozen=True)
class _RecordingTask:
    """One recording to render."""

    settings: SetSettings
    subject: int
    action: int
    subaction: int

    @property
    def subset(self) -> str:
        return "validation" if self.subject in TEST_SUBJECTS else "train"

    @property
    def world(self) -> WorldSettings:
        """Settings of the subject's world: training subjects take turns on the rigs."""
        settings = self.settings
        if self.subset == "validation" or not settings.more_rigs:
            return settings.world
        rigs = (settings.world.rig, *settings.more_rigs)
        others = sorted(set(settings.subjects) - set(TEST_SUBJECTS))
        return replace(settings.world, rig=rigs[others.index(self.subject) % len(rigs)])

    @property
    def image_ids(self) -> np.ndarray:
        """Frame numbers; the first one differs between recordings."""
        settings = self.settings
        count = settings.validation_groups if self.subset == "validation" else settings.train_groups
        start = 1 + (37 * self.subject + 11 * self.action + 53 * self.subaction) % settings.frame_step
        return start + settings.frame_step * np.arange(count)


@dataclass(frozen=True)
class _RenderedRecording:
    """JPEGs in the order frame, view; joints (F, 17, 3) world, mm; occluded (F, V, 17) bool."""

    images: list[bytes]
    joints_world: np.ndarray
    occluded: np.ndarray


@dataclass(frozen=True)
class _SingleImagesTask:
    """Single images start..stop of one place to render."""

    settings: SetSettings
    start: int
    stop: int


def encode(image: np.ndarray, quality: int) -> bytes:
    """Encode an image (H, W, 3) uint8 BGR as JPEG."""
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


@lru_cache(maxsize=1)
def _world(settings: WorldSettings, subject: int) -> SubjectWorld:
    """Cache the world of the last subject, whose empty views are slow to render."""
    return SubjectWorld(settings, subject)


def _render(task: _RecordingTask | _SingleImagesTask) -> Any:
    if isinstance(task, _RecordingTask):
        return _render_recording(task)
    return _render_single_images(task)


def _render_recording(task: _RecordingTask) -> _RenderedRecording:
    world = _world(task.world, task.subject)
    recording = SyntheticRecording(world, task.action, task.subaction)
    act = recording.act(task.image_ids)
    images, occluded = [], []
    for frame, image_id in enumerate(task.image_ids.tolist()):
        for view in range(world.settings.num_views):
            image, hidden = recording.render(act, frame, image_id, view)
            images.append(encode(image, task.settings.jpeg_quality))
            occluded.append(hidden)
    shape = (len(task.image_ids), world.settings.num_views, -1)
    return _RenderedRecording(images, act.pose.joints, np.reshape(occluded, shape))


def _render_single_images(task: _SingleImagesTask) -> list[tuple[bytes, dict[str, Any]]]:
    """Return JPEG and record of each image."""
    seed = task.settings.world.seed
    place = make_place(seed, task.start // IMAGES_PER_PLACE)
    rendered = []
    for index in range(task.start, task.stop):
        single = render_single_image(seed, index, place)
        image_wh = single.image.shape[1::-1]
        record = mpii_record(f"{index:09d}.jpg", single.joints, single.hidden, single.head_px, image_wh)
        rendered.append((encode(single.image, task.settings.jpeg_quality), record))
    return rendered


def recording_records(
    world: SubjectWorld,
    action: int,
    subaction: int,
    image_ids: np.ndarray,
    joints_world: np.ndarray,
    occluded: np.ndarray,
    first_video_id: int,
) -> list[dict[str, Any]]:
    """Return the records of one recording, ordered by frame and camera.

    Args:
        world: subject and rig.
        action: id 2..16.
        subaction: 1 or 2.
        image_ids: (F,) frame numbers.
        joints_world: (F, 17, 3) mm.
        occluded: (F, V, 17) bool, stored as `joints_occluded`.
        first_video_id: number of the first camera's video.

    Returns:
        F * V dictionaries.
    """
    # Arrays from another process have their own dtype objects, which would change the bytes of the pickle.
    joints_world = joints_world.astype(np.float64)
    occluded = occluded.astype(np.bool_)
    views = []
    for view, camera_record in enumerate(world.camera_records):
        camera = world.cameras[view]
        clip = Clip(world.subject, action, subaction, view)
        joints_img = project(joints_world, camera)[0]
        joints_cam = world_to_camera(joints_world, camera)
        extra = {"joints_occluded": occluded[:, view]}
        views.append(clip_records(clip, first_video_id + view, camera_record, image_ids, joints_img, joints_cam, extra))
    return [record for frame in zip(*views, strict=True) for record in frame]


def is_made(root: Path, settings: SetSettings, as_zip: bool = False) -> bool:
    """Return whether `root` holds a complete data set with these settings; remove what killed processes left.

    Raises:
        InputError: it has other settings, its note of them is damaged, or the disk refuses.
    """
    try:
        clear_directories(root)
    except OSError as error:
        raise InputError(f"{root}: cannot remove the leftovers of a killed process ({error.strerror})") from None
    marker = root / MARKER
    if not marker.exists():
        return False
    then = {_FLAGS["more_rigs"]: [], **_options(read_json(marker), marker)}  # older data sets have one rig
    now = _options(_described(settings, as_zip), marker)
    changed = [
        f"{flag} {_written(then.get(flag))} -> {_written(now.get(flag))}"
        for flag in {**now, **then}
        if then.get(flag) != now.get(flag)
    ]
    if changed:
        raise InputError(
            f"{root}: was made with other options (then -> now): {', '.join(changed)}; choose another --root, or "
            "replace it with --force instead of --reuse"
        )
    return True


def _described(settings: SetSettings, as_zip: bool) -> dict[str, Any]:
    return {**asdict(settings), "zip": as_zip}


def _options(note: Any, marker: Path) -> dict[str, Any]:
    """Return the settings in a note by the names of their flags."""
    if not isinstance(note, dict) or not isinstance(note.get("world"), dict):
        raise InputError(f"{marker}: not the settings of a data set")
    settings = {**note, **note["world"]}
    del settings["world"]
    return {
        _FLAGS.get(name, "--" + name.replace("_", "-")): list(value) if isinstance(value, tuple) else value
        for name, value in settings.items()
    }


def _written(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "unknown" if value is None else str(value).lower()


def make_dataset(
    root: Path, settings: SetSettings, workers: int = 1, as_zip: bool = False, force: bool = False
) -> dict[str, int]:
    """Make a data set in the layout of Human3.6M and MPII.

    Args:
        root: folder to make; appears when it is complete.
        settings: content; equal settings give equal files for any number of workers.
        workers: processes; 1 works in this process.
        as_zip: images.zip instead of folders of images.
        force: replace an existing synthetic data set.

    Returns:
        Number of training groups, validation groups and single images.

    Raises:
        InputError: invalid settings, `root` is taken, or the disk refuses.
    """
    settings.check()
    recordings = [
        _RecordingTask(settings, subject, action, subaction)
        for subject in sorted(set(settings.subjects))
        for action in sorted(set(settings.actions))
        for subaction in SUBACTIONS
    ]
    num_single = settings.mpii_train + settings.mpii_valid
    singles = [
        _SingleImagesTask(settings, start, min(start + IMAGES_PER_PLACE, num_single))
        for start in range(0, num_single, IMAGES_PER_PLACE)
    ]
    total = sum(len(task.image_ids) for task in recordings) * settings.world.num_views + num_single
    with new_dataset_folder(root, force, MARKER) as folder, tqdm(total=total, unit="image", disable=None) as bar:
        results = map_processes(_render, [*recordings, *singles], workers)
        counts = _store_recordings(folder / "h36m", recordings, results, as_zip, bar.update)
        _store_single_images(folder / "mpii", settings.mpii_train, singles, results, as_zip, bar.update)
        write_json(folder / MARKER, _described(settings, as_zip), indent=None)
    return {**counts, "single images": num_single}


def _store_recordings(
    folder: Path,
    tasks: Sequence[_RecordingTask],
    results: Iterator[_RenderedRecording],
    as_zip: bool,
    done: Callable[[int], Any],
) -> dict[str, int]:
    """Write images and annotations of the recordings; return the number of groups per subset."""
    records: dict[str, list] = {"train": [], "validation": []}
    groups = dict.fromkeys(records, 0)
    with open_images(folder, as_zip) as images:
        for number, (task, rendered) in enumerate(zip(tasks, results, strict=False)):
            world = _world(task.world, task.subject)
            labels = (task.image_ids, rendered.joints_world, rendered.occluded)
            first_video_id = number * world.settings.num_views
            new = recording_records(world, task.action, task.subaction, *labels, first_video_id)
            _add_images(images, new, rendered.images)
            records[task.subset] += new
            groups[task.subset] += len(task.image_ids)
            done(len(new))
    for subset, rows in records.items():
        if rows:
            whole = uncrop(rows, (tasks[0].settings.world.image_size,) * 2)
            write_pickle(folder / "annot" / f"h36m_{subset}.pkl", rows)
            write_pickle(folder / "annot" / f"h36m_{subset}_uncrop.pkl", whole)
    return {f"{subset} groups": count for subset, count in groups.items()}


def _add_images(images: ImageStore, records: Sequence[dict[str, Any]], encoded: Sequence[bytes]) -> None:
    for record, data in zip(records, encoded, strict=True):
        images.add(record["image"], data)


def _store_single_images(
    folder: Path,
    num_train: int,
    tasks: Sequence[_SingleImagesTask],
    results: Iterator[list[tuple[bytes, dict[str, Any]]]],
    as_zip: bool,
    done: Callable[[int], Any],
) -> None:
    """Write single images and their annotations; the first `num_train` are for training."""
    records = []
    with open_images(folder, as_zip) as images:
        for _, rendered in zip(tasks, results, strict=True):
            new = [record for _, record in rendered]
            _add_images(images, new, [data for data, _ in rendered])
            records += new
            done(len(new))
    for name, rows in (("train", records[:num_train]), ("valid", records[num_train:]), ("trainval", records)):
        if rows:
            write_json(folder / "annot" / f"{name}.json", rows, indent=None)
