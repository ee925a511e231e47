"""Videos of a rig, and their frames in sync."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.dataset.own_cameras.calibration_file import Rig
from lib.dataset.own_cameras.name_matching import Aliases, key_of, match_names
from lib.utils.errors import InputError, some_names
from lib.utils.files import image_folder
from lib.utils.files.atomic import list_folder
from lib.utils.files.image_folder import image_names, open_frames

SUFFIXES = (
    *(".mp4", ".avi", ".mov", ".mkv", ".m4v", ".webm", ".mpg", ".mpeg"),
    *(".mts", ".m2ts", ".ts", ".wmv", ".asf", ".3gp", ".3g2", ".flv", ".ogv", ".mxf", ".vob"),
    *(".mjpeg", ".mjpg", ".insv", ".lrv", ".h264", ".264", ".h265", ".265", ".hevc"),
)
_FEW_FRAMES = 1e-3  # share of the frames by which videos of one recording usually differ
_VISIBLE_DRIFT = 0.5  # frames


@dataclass(frozen=True)
class Videos:
    """V videos of one recording.

    Attributes:
        paths: V video files, or folders of numbered images.
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
        drift = np.ptp(self.rates) / self.rates.max() * self.num_frames.max()  # frames, over the recording
        for what, values, differ in (
            ("frames", self.num_frames, np.ptp(self.num_frames) > _FEW_FRAMES * self.num_frames.max()),
            ("frames per second", self.rates, drift > _VISIBLE_DRIFT),
        ):
            if differ:
                pairs = [f"{path.name} {value:.7g}" for path, value in zip(self.paths, values, strict=True)]
                texts.append(f"videos differ in {what}: {', '.join(pairs)}")
        return texts

    def check_sizes(self, rig: Rig) -> None:
        """Raise an InputError if the size of a video differs from the calibrated size."""
        for path, size, name, wanted in zip(self.paths, self.image_wh, rig.names, rig.image_wh, strict=True):
            if (size != wanted).any():
                raise InputError(
                    f"{path}: expected {wanted[0]} x {wanted[1]} px, as calibrated for camera {name}, received "
                    f"{size[0]} x {size[1]}; calibrate again, or scale size and matrix in the file"
                )


def open_videos(
    folder: str | os.PathLike,
    names: Sequence[str],
    aliases: Aliases | None = None,
    rate: float = image_folder.DEFAULT_RATE,
) -> Videos:
    """Find and open the video, or the folder of images, of each camera.

    Args:
        folder: folder with one video per camera, e.g. cam01.mp4, or one folder of numbered images per camera.
        names: names of the cameras.
        aliases: names of files by camera, see match_names().
        rate: frames per second of images.

    Raises:
        InputError: there is no such folder, a camera has no video, or a file is not a video.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of videos")
    entries = [folder / name for name in list_folder(folder)]
    found = [entry for entry in entries if entry.suffix.lower() in SUFFIXES and not entry.is_dir()]
    found = found or [entry for entry in entries if entry.is_dir() and image_names(entry)]
    if not found:
        raise InputError(
            f"{folder}: expected one video per camera ({' '.join(SUFFIXES[:8])} ...) or one folder of images "
            f"({' '.join(image_folder.SUFFIXES[:3])} ...), received {some_names(entry.name for entry in entries)}"
        )
    keys, shown = [key_of(entry) for entry in found], [entry.name for entry in found]
    chosen = match_names(names, keys, f"{folder}: videos, or folders of images", aliases, shown)
    paths = [found[index] for index in chosen]
    properties = []
    for path in paths:
        with open_frames(path) as video:
            own_rate = rate if path.is_dir() else float(video.frames_per_second)
            properties.append((video.num_frames, own_rate, video.width, video.height))
    table = np.array(properties)
    return Videos(tuple(paths), table[:, 0].astype(int), table[:, 1], table[:, 2:].astype(int))


def frame_table(
    num_frames: np.ndarray,
    rates: np.ndarray,
    offsets: np.ndarray | None = None,
    drift: np.ndarray | None = None,
    numbers: np.ndarray | None = None,
) -> np.ndarray:
    """Return the video frame of each view for each frame of the recording.

    Args:
        num_frames: (V,) frames of each view.
        rates: (V,) frames per second; the recording has the lowest rate.
        offsets: (V,) sync offsets: a view shows at video frame i + offset what the others show at i; None = 0.
        drift: (V,) growth of the offsets per frame; None = 0.
        numbers: ascending video frames; only frames of the recording in which a view has one of them; None = all.

    Returns:
        (F, V) frame numbers, for the frames that all views show.

    Raises:
        InputError: there is no such frame.
    """
    rates = np.asarray(rates, np.float64)
    offsets = np.zeros(len(rates)) if offsets is None else np.asarray(offsets, np.float64)
    drift = np.zeros(len(rates)) if drift is None else np.asarray(drift, np.float64)
    speed = rates / rates.min() + drift  # video / recording frames
    if numbers is None:
        # Frames may be negative: the first frame of a video that begins late.
        low = int(np.floor((-offsets / speed).max()))
        high = int(np.ceil(((num_frames - offsets) / speed).min()))
        frames = np.arange(low - 1, high + 2)
    else:
        frames = np.unique(np.round((np.asarray(numbers)[:, None] - offsets) / speed))
    table = np.round(frames[:, None] * speed + offsets).astype(int)
    shown = ((table >= 0) & (table < num_frames)).all(1)
    if not shown.any():
        listed = ", ".join(f"{count}" for count in np.asarray(num_frames).tolist())
        raise InputError(
            f"the views have no frame in common (frames {listed}; offsets {', '.join(f'{one:g}' for one in offsets)})"
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
    with open_frames(path) as video:
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
