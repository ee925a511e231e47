"""Images and labels of Human3.6M's clips, from videos and pose files.

A clip is finished when its labels, prepared/<clip>.npz, exist: they are moved into place last. An interrupted
preparation therefore resumes at the first unfinished clip. The labels hold everything that the annotation needs, so the
downloads of finished recordings can be deleted.
"""

import contextlib
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from lib.dataset.prepare.h36m_files import ClipFiles, read_joints
from lib.dataset.storage.record_writer import Clip
from lib.multiviews.cameras import Cameras, project_camera
from lib.utils.errors import InputError, brief
from lib.utils.files.atomic import make_directory
from lib.utils.files.image_store import open_images
from lib.utils.files.video import VideoReader
from lib.utils.parallel.process_map import map_processes

LABELS = "prepared"  # folder below h36m/ with the labels of finished clips and, until they are packed, their images.zip
_WORK = ".parts"  # folder below h36m/ with unfinished clips


@dataclass(frozen=True)
class ImageSettings:
    """Conversion of videos to images.

    Attributes:
        step: distance between frames; frames 1, 1 + step, ... are taken.
        jpeg_quality: 1 to 100.
        as_zip: write one images.zip (stored) instead of folders.
    """

    step: int = 1
    jpeg_quality: int = 95
    as_zip: bool = False


@dataclass(frozen=True)
class ClipTask:
    """A clip to prepare.

    Attributes:
        files: video and pose files.
        camera: camera dictionary of the annotation.
        num_frames: number of frames that all cameras have; `settings.step` selects among them.
        lengths: number of video frames, number of poses.
        settings: conversion of the video.
        folder: ROOT/h36m.
    """

    files: ClipFiles
    camera: dict[str, np.ndarray]
    num_frames: int
    lengths: tuple[int, int]
    settings: ImageSettings
    folder: Path

    @property
    def clip(self) -> Clip:
        """The clip, which names the images."""
        return self.files.clip

    @property
    def image_ids(self) -> range:
        """Numbers of the frames to store, from 1."""
        return range(1, self.num_frames + 1, self.settings.step)

    @property
    def work(self) -> Path:
        """Folder of the unfinished clip."""
        return self.folder / _WORK / self.clip.stem


@dataclass(frozen=True)
class FinishedClip:
    """A clip whose images and labels are in place.

    Attributes:
        clip: subject, action, sub-action and camera.
        image_ids: (F,) numbers of the stored frames, from 1.
        image_wh: (width, height) of the images, px.
        lengths: number of video frames, number of poses.
        distance_px: largest distance between the 2D joints and the projected 3D joints, px.
    """

    clip: Clip
    image_ids: np.ndarray
    image_wh: tuple[int, int]
    lengths: tuple[int, int]
    distance_px: float


def prepare_clips(
    folder: Path, tasks: Sequence[ClipTask], workers: int, progress: Callable[[int], Any]
) -> dict[Clip, str]:
    """Prepare clips in several processes.

    Args:
        folder: ROOT/h36m.
        tasks: unfinished clips.
        workers: number of processes.
        progress: called with the number of images of each processed clip.

    Returns:
        Clip -> error in its files. All other clips are finished.

    Raises:
        InputError: a folder cannot be written.
    """
    errors = {}
    make_directory(folder / LABELS)
    try:
        for task, error in zip(tasks, map_processes(prepare_clip, tasks, workers), strict=True):
            if error:
                errors[task.clip] = error
            progress(len(task.image_ids))
    finally:
        shutil.rmtree(folder / _WORK, ignore_errors=True)
    return errors


def prepare_clip(task: ClipTask) -> str:
    """Write images and labels of a clip.

    Returns:
        The error in the clip's files, or "".

    Raises:
        InputError: the disk is full or not writable.
    """
    shutil.rmtree(task.work, ignore_errors=True)
    try:
        image_wh = _extract_images(task)
        _extract_labels(task, image_wh)
        _place(task)
    except InputError as error:
        return str(error)
    except OSError as error:
        raise InputError(f"{task.work}: cannot be written ({error.strerror or error})") from None
    return ""


def _extract_images(task: ClipTask) -> tuple[int, int]:
    """Write the images of a clip and return their (width, height), px."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, task.settings.jpeg_quality]
    expected = iter(task.image_ids)
    path = task.files.video
    with VideoReader(path) as video, open_images(task.work, task.settings.as_zip) as images:
        for number, image in video.frames(0, task.num_frames, task.settings.step):
            image_id = next(expected)
            if number + 1 != image_id:
                raise InputError(f"{path}: lacks frame {image_id}; the next one is {number + 1}")
            images.add(task.clip.image_name(image_id), cv2.imencode(".jpg", image, quality)[1].tobytes())
        image_wh = video.width, video.height
    if (image_id := next(expected, None)) is not None:
        raise InputError(f"{path}: ends before frame {image_id}, although its header states more frames")
    return image_wh


def _extract_labels(task: ClipTask, image_wh: tuple[int, int]) -> None:
    """Write the joints of the stored frames, the camera and the properties of the clip."""
    files = task.files
    frames = slice(0, task.num_frames, task.settings.step)
    joints = {"joints_img": read_joints(files.points, 2)[frames], "joints_cam": read_joints(files.pose, 3)[frames]}
    if files.universal is not None:
        joints["universal_cam"] = read_joints(files.universal, 3)[frames]
    projected, _ = project_camera(joints["joints_cam"], Cameras.from_records([task.camera])[0])
    np.savez(
        task.work / "labels.npz",
        **joints,
        **{f"camera_{key}": value for key, value in task.camera.items()},
        **asdict(task.settings),
        image_ids=np.array(task.image_ids),
        image_wh=image_wh,
        lengths=task.lengths,
        distance_px=np.linalg.norm(projected - joints["joints_img"], axis=-1).max(),
    )


def _place(task: ClipTask) -> None:
    labels = task.folder / LABELS / f"{task.clip.stem}.npz"
    if task.settings.as_zip:
        os.replace(task.work / "images.zip", labels.with_suffix(".zip"))
    else:
        images = make_directory(task.folder / "images") / task.clip.stem
        shutil.rmtree(images, ignore_errors=True)  # left by a process that was killed before it placed the labels
        os.replace(task.work / "images" / task.clip.stem, images)
    os.replace(task.work / "labels.npz", labels)


@contextlib.contextmanager
def open_labels(folder: Path, clip: Clip) -> Iterator[Mapping[str, np.ndarray]]:
    """Open the labels of a finished clip; arrays are read on access.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = folder / LABELS / f"{clip.stem}.npz"
    try:
        with np.load(path, allow_pickle=False) as labels:
            yield labels
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: missing or damaged ({brief(error)}); remove it to prepare the clip again") from None


def finished_clips(folder: Path, settings: ImageSettings) -> list[FinishedClip]:
    """Return the finished clips in their order.

    Args:
        folder: ROOT/h36m.
        settings: current conversion of videos.

    Raises:
        InputError: the labels of a clip are damaged or were made with other settings.
    """
    finished = []
    for path in sorted((folder / LABELS).glob("*.npz")):
        clip = Clip.from_stem(path.stem)
        with open_labels(folder, clip) as labels:
            for key, value in asdict(settings).items():
                if labels[key] != value:
                    raise InputError(
                        f"{path}: expected {key} {labels[key]} of an earlier call, received {value}; "
                        "use the same settings or another --root"
                    )
            image_wh, lengths = (tuple(labels[key].tolist()) for key in ("image_wh", "lengths"))
            finished.append(FinishedClip(clip, labels["image_ids"], image_wh, lengths, float(labels["distance_px"])))
    return finished


def pack_images(folder: Path, clips: Sequence[FinishedClip]) -> None:
    """Move the images of clips into images.zip, which appears when it is complete.

    Args:
        folder: ROOT/h36m.
        clips: all finished clips. Their images are in an archive per clip or in an earlier images.zip.

    Raises:
        InputError: images are missing or damaged, or the disk is full.
    """
    packed = folder / "images.zip"
    parts = {one.clip: folder / LABELS / f"{one.clip.stem}.zip" for one in clips}
    if packed.exists() and not any(part.exists() for part in parts.values()):
        return
    try:
        with contextlib.ExitStack() as stack:
            all_new = all(part.exists() for part in parts.values())
            earlier = None if all_new else stack.enter_context(zipfile.ZipFile(packed))
            store = stack.enter_context(open_images(folder, as_zip=True))
            for one in tqdm(clips, "images.zip", unit="clip", disable=None, leave=False):
                part = parts[one.clip]
                with zipfile.ZipFile(part) if part.exists() else contextlib.nullcontext(earlier) as images:
                    for image_id in one.image_ids.tolist():
                        name = one.clip.image_name(image_id)
                        store.add(name, images.read(f"images/{name}"))
    except (FileNotFoundError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{packed}: images are missing or damaged ({brief(error)}); remove the .npz file of their clip from "
            f"{folder / LABELS} to prepare the clip again"
        ) from None
    for part in parts.values():
        part.unlink(missing_ok=True)
