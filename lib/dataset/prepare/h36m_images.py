"""Videos and pose files of Human3.6M -> images and labels, clip by clip, in several processes.

Goes on where it was killed: what is finished stands in a journal, with all that the annotation needs, so that the
downloads of a finished recording may be removed.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib.dataset.prepare.h36m_files import ClipFiles, read_joints
from lib.dataset.storage.record_writer import Clip
from lib.multiviews.cameras import Cameras, project_camera
from lib.utils.errors import InputError
from lib.utils.files.atomic import make_directory
from lib.utils.files.growing_zip import GrowingZip
from lib.utils.files.image_store import open_images
from lib.utils.files.journal import Journal
from lib.utils.files.video import VideoReader
from lib.utils.parallel.process_map import map_processes

PARTS = ".parts"  # below h36m/: clips that are being extracted; labels of the finished ones
LABELS = "prepared"


@dataclass(frozen=True)
class ImageSettings:
    """How videos become images.

    Attributes:
        step: distance of the frames; frames 1, 1 + step, ... are taken.
        jpeg_quality: 1..100.
        as_zip: one images.zip (stored) instead of folders.
    """

    step: int = 1
    jpeg_quality: int = 95
    as_zip: bool = False


@dataclass(frozen=True)
class ClipTask:
    """A clip to extract.

    Attributes:
        files: its video and poses.
        camera: camera dictionary of the annotation.
        num_frames: frames to look at, from the first one; the settings' step chooses among them.
        lengths: frames of the video, and poses.
        settings: how.
        parts: folder for what is finished, below a folder of the clip's own.
    """

    files: ClipFiles
    camera: dict[str, np.ndarray]
    num_frames: int
    lengths: tuple[int, int]
    settings: ImageSettings
    parts: Path

    @property
    def clip(self) -> Clip:
        """Names the images."""
        return self.files.clip

    @property
    def image_ids(self) -> range:
        """Numbers of the frames that become images, from 1."""
        return range(1, self.num_frames + 1, self.settings.step)

    @property
    def folder(self) -> Path:
        """Where extract() leaves images/ or images.zip, and labels.npz."""
        return self.parts / self.clip.stem


@dataclass(frozen=True)
class Extracted:
    """What became of a clip.

    Attributes:
        width, height: of its images, px.
        distance: largest distance between the 2D joints and the projected 3D joints, px.
        error: what is wrong with a file; "" = nothing.
    """

    width: int = 0
    height: int = 0
    distance: float = 0.0
    error: str = ""


def extract(task: ClipTask) -> Extracted:
    """Store images and labels of a clip below task.folder; what a killed process left there is replaced.

    Raises:
        InputError: the disk refuses; no other clip would fare better.
    """
    shutil.rmtree(task.folder, ignore_errors=True)
    try:
        width, height, error = _extract_images(task)
        return Extracted(error=error) if error else Extracted(width, height, _extract_labels(task))
    except InputError as error:
        return Extracted(error=str(error))
    except OSError as error:
        raise InputError(f"{task.folder}: cannot be written ({error.strerror})") from None


def _extract_images(task: ClipTask) -> tuple[int, int, str]:
    """Return width and height of the images, px, and what is wrong with the video."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, task.settings.jpeg_quality]
    expected = iter(task.image_ids)
    path = task.files.video
    with VideoReader(path) as video, open_images(task.folder, task.settings.as_zip) as images:
        for number, picture in video.frames(0, task.num_frames, task.settings.step):
            image_id = next(expected)
            if number + 1 != image_id:
                return 0, 0, f"{path}: lacks frame {image_id}; the next one it has is {number + 1}"
            images.add(task.clip.image_name(image_id), cv2.imencode(".jpg", picture, quality)[1].tobytes())
        size = (video.width, video.height)
    image_id = next(expected, None)
    return *size, "" if image_id is None else f"{path}: ends before frame {image_id}, though it states more of them"


def _extract_labels(task: ClipTask) -> float:
    """Store the joints of the frames that became images; returns how far the 2D files are from the 3D files, px."""
    files = task.files
    frames = slice(0, task.num_frames, task.settings.step)
    joints = {"joints_img": read_joints(files.points, 2)[frames], "joints_cam": read_joints(files.pose, 3)[frames]}
    if files.universal is not None:
        joints["universal_cam"] = read_joints(files.universal, 3)[frames]
    np.savez(task.folder / "labels.npz", **joints, **{f"camera_{key}": value for key, value in task.camera.items()})
    projected, _ = project_camera(joints["joints_cam"], Cameras.from_records([task.camera])[0])
    return float(np.linalg.norm(projected - joints["joints_img"], axis=-1).max())


class ClipWriter:
    """Puts extracted clips in place, one after the other, and notes each in the journal.

    At the end of its block images.zip is complete, whatever ended it.
    """

    def __init__(self, folder: Path, settings: ImageSettings, journal: Journal) -> None:
        """
        Args:
            folder: ROOT/h36m.
            settings: how videos become images.
            journal: clip's stem -> {"width", "height", "num_frames", "lengths", "distance", "zip"}; its clips are in
                place already.
        """
        self._folder, self._settings, self._journal = folder, settings, journal
        self._archive: GrowingZip | None = None

    def __enter__(self) -> ClipWriter:
        if self._settings.as_zip:
            groups = [(self._members(stem, entry), entry["zip"]) for stem, entry in self._journal.entries.items()]
            self._archive = GrowingZip(self._folder / "images.zip", groups)
        return self

    def _members(self, stem: str, entry: dict[str, Any]) -> list[str]:
        """Return the names of a finished clip's images in the archive."""
        clip = Clip.from_stem(stem)
        image_ids = range(1, entry["num_frames"] + 1, self._settings.step)
        return [f"images/{clip.image_name(image_id)}" for image_id in image_ids]

    def __exit__(self, *exception: object) -> None:
        if self._archive is not None:
            self._archive.__exit__(*exception)

    def place(self, task: ClipTask, result: Extracted) -> None:
        """Move what was extracted to its place; an InputError says why the disk refuses."""
        entry: dict[str, Any] = {
            "width": result.width,
            "height": result.height,
            "num_frames": task.num_frames,
            "lengths": task.lengths,
            "distance": result.distance,
        }
        try:
            os.replace(task.folder / "labels.npz", make_directory(self._folder / LABELS) / f"{task.clip.stem}.npz")
            if self._archive is not None:
                with zipfile.ZipFile(task.folder / "images.zip") as part:
                    entry["zip"] = self._archive.append((name, part.read(name)) for name in part.namelist())
            else:
                final = make_directory(self._folder / "images") / task.clip.stem
                shutil.rmtree(final, ignore_errors=True)  # placed by a run that was killed before it noted it
                os.replace(task.folder / "images" / task.clip.stem, final)
        except OSError as error:
            raise InputError(f"{task.folder}: cannot be put in place ({error.strerror or error})") from None
        self._journal.add(task.clip.stem, entry)
        shutil.rmtree(task.folder, ignore_errors=True)


def write_clips(
    folder: Path,
    tasks: Sequence[ClipTask],
    settings: ImageSettings,
    journal: Journal,
    workers: int,
    done: Callable[[int], Any],
) -> dict[Clip, str]:
    """Extract clips.

    Args:
        folder: ROOT/h36m.
        tasks: the clips, of which none is in the journal.
        settings: how videos become images.
        journal: of finished clips.
        workers: processes.
        done: called with the number of images of each finished clip.

    Returns:
        Clip -> what is wrong with its files; the others are in place.

    Raises:
        InputError: the disk refuses.
    """
    if not tasks and (not settings.as_zip or (folder / "images.zip").exists()):
        return {}
    errors = {}
    with ExitStack() as stack:
        writer = stack.enter_context(ClipWriter(folder, settings, journal))
        stack.callback(shutil.rmtree, folder / PARTS, ignore_errors=True)  # first: makes room on a full disk
        for task, result in zip(tasks, map_processes(extract, tasks, workers), strict=True):
            if result.error:
                errors[task.clip] = result.error
            else:
                writer.place(task, result)
            done(len(task.image_ids))
    return errors
