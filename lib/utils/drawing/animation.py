"""Pictures as an animation, GIF or MP4; needs no program beside the Python packages."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from lib.utils.errors import InputError
from lib.utils.files.atomic import atomic_path

CUBE_LEVELS = 5  # of each channel: colours of a GIF that the first frame may not have


def save_animation(path: str | os.PathLike, pictures: Iterable[np.ndarray], frames_per_second: float) -> int:
    """Write pictures of one size as an animation, atomically, in the format of the suffix (.gif or .mp4).

    Args:
        path: the file.
        pictures: (h, w, 3) uint8 BGR each; they are taken one at a time.
        frames_per_second: speed. A GIF keeps it to 1/100 s per frame, 50 frames/s at most.

    Returns:
        Number of frames.

    Raises:
        InputError: no pictures, unknown suffix, a speed that is not positive, no codec, or the disk refuses.
    """
    writers = {".gif": _write_gif, ".mp4": _write_mp4}
    suffix = Path(path).suffix.lower()
    if suffix not in writers:
        raise InputError(f"{path}: animations are written as .gif or .mp4")
    if not frames_per_second > 0:
        raise InputError(f"{path}: expected a positive number of frames per second, received {frames_per_second}")
    pictures = iter(pictures)
    first = next(pictures, None)
    if first is None:
        raise InputError(f"{path}: no pictures to animate")
    with atomic_path(path) as temporary:
        return writers[suffix](temporary, chain([first], pictures), frames_per_second, str(path))


def _write_gif(temporary: Path, pictures: Iterator[np.ndarray], frames_per_second: float, name: str) -> int:
    """One palette for all frames, so that nothing flickers; no dithering, which keeps the file small."""
    duration_ms = max(2, round(100 / frames_per_second)) * 10
    first = Image.fromarray(next(pictures)[..., ::-1])
    palette = _palette(first)
    count = 1

    def rest() -> Iterator[Image.Image]:
        nonlocal count
        for picture in pictures:
            count += 1
            yield Image.fromarray(picture[..., ::-1]).quantize(palette=palette, dither=Image.Dither.NONE)

    start = first.quantize(palette=palette, dither=Image.Dither.NONE)
    start.save(temporary, save_all=True, append_images=rest(), duration=duration_ms, loop=0)
    return count


def _palette(picture: Image.Image) -> Image.Image:
    """Half of the 256 colours from a picture, half evenly over all colours."""
    levels = np.linspace(0, 255, CUBE_LEVELS).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    num_own = 256 - len(cube)
    own = picture.quantize(num_own, Image.Quantize.MEDIANCUT).getpalette()[: 3 * num_own]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*own, *cube.ravel().tolist()])
    return palette


def _write_mp4(temporary: Path, pictures: Iterator[np.ndarray], frames_per_second: float, name: str) -> int:
    first = next(pictures)
    height, width = (size - size % 2 for size in first.shape[:2])  # the codec wants even sizes
    writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), frames_per_second, (width, height))
    if not writer.isOpened():
        raise InputError(f"{name}: this OpenCV cannot write MP4; choose .gif")
    count = 0
    for picture in chain([first], pictures):
        writer.write(np.ascontiguousarray(picture[:height, :width]))
        count += 1
    writer.release()
    written = cv2.VideoCapture(str(temporary))  # OpenCV does not tell a full disk
    found = int(written.get(cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
    written.release()
    if found != count:
        raise InputError(f"{name}: cannot be written ({found} of {count} frames arrived; is the disk full?)")
    return count
