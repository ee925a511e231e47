"""Videos of Human3.6M -> images, clip by clip, in several processes; goes on where it was killed."""

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

from lib.dataset.records import Clip
from lib.utils.checks import InputError
from lib.utils.files import make_directory
from lib.utils.growing_zip import GrowingZip
from lib.utils.image_store import open_images
from lib.utils.journal import Journal
from lib.utils.parallel import map_processes
from lib.utils.video import VideoReader

PARTS = ".parts"  # below h36m/: images of clips that are being extracted


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
        clip: names the images.
        video: the file.
        num_frames: frames to look at, from the first one; the settings' step chooses among them.
        settings: how.
        parts: folder for the finished images, below a folder of the clip's own.
    """

    clip: Clip
    video: Path
    num_frames: int
    settings: ImageSettings
    parts: Path

    @property
    def image_ids(self) -> range:
        """Numbers of the frames that become images, from 1."""
        return range(1, self.num_frames + 1, self.settings.step)

    @property
    def folder(self) -> Path:
        """Where extract() leaves images/ or images.zip."""
        return self.parts / self.clip.stem


@dataclass(frozen=True)
class Extracted:
    """What became of a clip.

    Attributes:
        width, height: of its images, px.
        error: what is wrong with the video; "" = nothing.
    """

    width: int = 0
    height: int = 0
    error: str = ""


def extract(task: ClipTask) -> Extracted:
    """Decode a video and store its images below task.folder; what a killed process left there is replaced."""
    shutil.rmtree(task.folder, ignore_errors=True)
    quality = [cv2.IMWRITE_JPEG_QUALITY, task.settings.jpeg_quality]
    expected = iter(task.image_ids)
    try:
        with VideoReader(task.video) as video, open_images(task.folder, task.settings.as_zip) as images:
            for number, picture in video.frames(0, task.num_frames, task.settings.step):
                image_id = next(expected)
                if number + 1 != image_id:
                    return Extracted(error=f"{task.video}: lacks frame {image_id}; the next one it has is {number + 1}")
                images.add(task.clip.image_name(image_id), cv2.imencode(".jpg", picture, quality)[1].tobytes())
            size = (video.width, video.height)
    except InputError as error:
        return Extracted(error=str(error))
    except OSError as error:  # of the disk: no other clip would fare better
        raise InputError(f"{task.folder}: cannot be written ({error.strerror})") from None
    image_id = next(expected, None)
    if image_id is not None:
        return Extracted(error=f"{task.video}: ends before frame {image_id}, though it states more of them")
    return Extracted(*size)


class ImageWriter:
    """Puts extracted clips in place, one after the other, and notes each in the journal."""

    def __init__(self, folder: Path, settings: ImageSettings, journal: Journal) -> None:
        """
        Args:
            folder: ROOT/h36m.
            settings: how videos become images.
            journal: clip's stem -> {"width", "height", "num_frames", "zip"}; its clips are in place already.
        """
        self._folder, self._settings, self._journal = folder, settings, journal
        self._archive: GrowingZip | None = None

    def __enter__(self) -> ImageWriter:
        if self._settings.as_zip and not (self._folder / "images.zip").exists():
            groups = [(self._members(stem, entry), entry["zip"]) for stem, entry in self._journal.entries.items()]
            self._archive = GrowingZip(self._folder / "images.zip", groups)
        return self

    def _members(self, stem: str, entry: dict[str, Any]) -> list[str]:
        """Return the names of a finished clip's images in the archive."""
        clip, image_ids = Clip.from_stem(stem), range(1, entry["num_frames"] + 1, self._settings.step)
        return [f"images/{clip.image_name(image_id)}" for image_id in image_ids]

    def __exit__(self, *exception: object) -> None:
        if self._archive is not None:
            self._archive.__exit__(*exception)

    def place(self, task: ClipTask, result: Extracted) -> None:
        """Move a clip's images to their place; an InputError says why the disk refuses."""
        entry: dict[str, Any] = {"width": result.width, "height": result.height, "num_frames": task.num_frames}
        try:
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

    def finish(self) -> None:
        """Complete images.zip."""
        if self._archive is not None:
            self._archive.finish()


def write_images(
    folder: Path, tasks: Sequence[ClipTask], settings: ImageSettings, journal: Journal, workers: int,
    keep_going: bool, done: Callable[[int], Any],
) -> dict[Clip, str]:
    """Extract the clips that are not in place yet.

    Args:
        folder: ROOT/h36m.
        tasks: the clips.
        settings: how videos become images.
        journal: of finished clips.
        workers: processes.
        keep_going: complete images.zip also when videos are damaged.
        done: called with the number of images of each finished clip.

    Returns:
        Clip -> what is wrong with its video; the others are in place.

    Raises:
        InputError: the disk refuses, or images.zip is complete and cannot take new clips.
    """
    todo = [task for task in tasks if not _in_place(folder, task, journal)]
    done(sum(len(task.image_ids) for task in tasks) - sum(len(task.image_ids) for task in todo))
    if todo and settings.as_zip and (folder / "images.zip").exists():
        raise InputError(f"{folder / 'images.zip'}: is complete and lacks {todo[0].clip.stem}; remove it and "
                         f"{journal.path} to make it anew, or use another --root")  # fmt: skip
    errors = {}
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder / PARTS, ignore_errors=True)
        writer = stack.enter_context(ImageWriter(folder, settings, journal))
        for task, result in zip(todo, map_processes(extract, todo, workers), strict=True):
            if result.error:
                errors[task.clip] = result.error
            else:
                writer.place(task, result)
            done(len(task.image_ids))
        if keep_going or not errors:
            writer.finish()
    return errors


def _in_place(folder: Path, task: ClipTask, journal: Journal) -> bool:
    entry = journal.entries.get(task.clip.stem)
    if entry is None or not (task.settings.as_zip or (folder / "images" / task.clip.stem).is_dir()):
        return False
    if entry["num_frames"] < task.num_frames:
        raise InputError(f"{journal.path}: {task.clip.stem} was made of {entry['num_frames']} frames, now there are "
                         f"{task.num_frames}; use another --root for the new files")  # fmt: skip
    return True
