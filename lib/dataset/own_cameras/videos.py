"""Videos of a rig, and their frames in sync."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.dataset.own_cameras.calibration_file import Rig, match_names
from lib.utils.errors import InputError
from lib.utils.files.video import VideoReader

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm", ".mpg", ".mpeg")
_SAME_RATE = 1e-3  # relative difference of rates that is ignored: one frame in a thousand


@dataclass(frozen=True)
class Videos:
    """V videos of one recording.

    Attributes:
        paths: V files.
        num_frames: (V,) number of frames.
        rates: (V,) frames per second.
        image_wh: (V, 2) width and height, px.
    """

    paths: tuple[Path, ...]
    num_frames: np.ndarray
    rates: np.ndarray
    image_wh: np.ndarray

    def differences(self) -> list[str]:
        """Describe differences in length and rate; [] = none."""
        texts = []
        for what, values in (("frames", self.num_frames), ("frames per second", self.rates)):
            if np.ptp(values) > _SAME_RATE * values.max():
                listed = ", ".join(f"{path.name} {value:g}" for path, value in zip(self.paths, values, strict=True))
                texts.append(f"videos differ in {what}: {listed}")
        return texts

    def check_sizes(self, rig: Rig) -> None:
        """Raise an InputError if the size of a video differs from the calibrated size."""
        for path, size, name, wanted in zip(self.paths, self.image_wh, rig.names, rig.image_wh, strict=True):
            if (size != wanted).any():
                raise InputError(
                    f"{path}: expected {wanted[0]} x {wanted[1]} px, as calibrated for camera {name}, received "
                    f"{size[0]} x {size[1]}; calibrate again, or scale size and matrix in the file"
                )


def open_videos(folder: str | os.PathLike, names: Sequence[str]) -> Videos:
    """Find and open the video of each camera.

    Args:
        folder: folder with one video per camera, e.g. cam01.mp4.
        names: names of the cameras.

    Raises:
        InputError: there is no such folder, a camera has no video, or a file is not a video.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of videos")
    files = [entry for entry in sorted(folder.iterdir()) if entry.suffix.lower() in SUFFIXES]
    paths = match_names(names, files, f"{folder}: videos")
    properties = []
    for path in paths:
        with VideoReader(path) as video:
            properties.append((video.num_frames, float(video.frames_per_second), video.width, video.height))
    table = np.array(properties)
    return Videos(tuple(paths), table[:, 0].astype(int), table[:, 1], table[:, 2:].astype(int))


def frame_table(num_frames: np.ndarray, rates: np.ndarray, offsets: np.ndarray | None = None) -> np.ndarray:
    """Return the video frame of each view for each frame of the recording.

    Args:
        num_frames: (V,) frames of each view.
        rates: (V,) frames per second; the recording has the lowest rate.
        offsets: (V,) sync offsets: a view shows at video frame i + offset what the others show at i; None = 0.

    Returns:
        (F, V) frame numbers, for the frames that all views show.

    Raises:
        InputError: there is no such frame.
    """
    rates = np.asarray(rates, np.float64)
    offsets = np.zeros(len(rates)) if offsets is None else np.asarray(offsets, np.float64)
    speed = np.where(rates - rates.min() > _SAME_RATE * rates, rates / rates.min(), 1.0)  # video / recording frames
    # Frames may be negative: the first frame of a video that begins late.
    low = int(np.floor((-offsets / speed).max()))
    high = int(np.ceil(((num_frames - offsets) / speed).min()))
    frames = np.arange(low - 1, high + 2)
    table = np.round(frames[:, None] * speed + offsets).astype(int)
    shown = ((table >= 0) & (table < num_frames)).all(1)
    if not shown.any():
        raise InputError(
            f"the views have no frame in common (frames {np.asarray(num_frames).tolist()}, offsets {offsets.tolist()})"
        )
    return table[shown]


def read_frames(videos: Videos, table: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Decode the views of a recording frame by frame.

    Args:
        videos: V videos.
        table: (F, V) video frames, ascending in each view.

    Yields:
        V images (h, w, 3) uint8 BGR.

    Raises:
        InputError: a video is damaged or lacks a frame.
    """
    views = [_read_view(path, numbers) for path, numbers in zip(videos.paths, table.T.tolist(), strict=True)]
    yield from map(list, zip(*views, strict=True))


def _read_view(path: Path, numbers: Sequence[int]) -> Iterator[np.ndarray]:
    with VideoReader(path) as video:
        frames = video.frames(numbers[0], numbers[-1] + 1)
        found, image = next(frames, (None, None))
        for wanted in numbers:
            while found is not None and found < wanted:
                found, image = next(frames, (None, None))
            if found is None:
                raise InputError(f"{path}: ends before frame {wanted}, although its header states more frames")
            if found > wanted:
                raise InputError(f"{path}: frame {wanted} is missing; the next one is {found}")
            yield image
