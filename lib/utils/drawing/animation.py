"""Write images as an animation: GIF, or MP4 with H.264, which browsers play."""

import itertools
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from lib.utils.errors import InputError, brief
from lib.utils.files.atomic import atomic_path

_CUBE_LEVELS = 5  # levels per channel of the part of a GIF's palette that does not depend on the images
_CONTAINER_OPTIONS = {"movflags": "faststart"}  # playback starts before the download ends
_ENCODER_OPTIONS = {"crf": "18"}  # visually lossless


def save_animation(path: str | os.PathLike, images: Iterable[np.ndarray], frames_per_second: float) -> int:
    """Write images of one size as an animation, atomically, in the format of the suffix (.gif or .mp4).

    Args:
        path: file to write.
        images: (h, w, 3) uint8 BGR each, consumed one at a time. MP4 drops the last row or column of an odd size.
        frames_per_second: speed. A GIF rounds it to 1/100 s per frame, at most 50 frames per second.

    Returns:
        Number of frames.

    Raises:
        InputError: no images, an unknown suffix, a speed that is not positive, no H.264 encoder, or a write error.
    """
    writers = {".gif": _write_gif, ".mp4": _write_mp4}
    suffix = Path(path).suffix.lower()
    if suffix not in writers:
        raise InputError(f"{path}: expected a name ending in .gif or .mp4")
    if not frames_per_second > 0:
        raise InputError(f"{path}: expected a positive number of frames per second, received {frames_per_second}")
    images = iter(images)
    first = next(images, None)
    if first is None:
        raise InputError(f"{path}: no images to animate")
    counter = itertools.count()
    counted = (image for image, _ in zip(itertools.chain([first], images), counter))  # noqa: B905
    with atomic_path(path) as temporary:
        writers[suffix](temporary, counted, frames_per_second, str(path))
    return next(counter)


def _write_gif(temporary: Path, images: Iterator[np.ndarray], frames_per_second: float, name: str) -> None:
    """Use one palette for all frames against flicker, and no dithering, which enlarges the file."""
    frames = (Image.fromarray(image[..., ::-1]) for image in images)
    first = next(frames)
    palette = _palette(first)
    quantized = (
        frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in itertools.chain([first], frames)
    )
    duration_ms = max(2, round(100 / frames_per_second)) * 10
    next(quantized).save(temporary, save_all=True, append_images=quantized, duration=duration_ms, loop=0)


def _palette(image: Image.Image) -> Image.Image:
    """Return a palette with half of the 256 colors from an image, and half evenly spread over all colors."""
    levels = np.linspace(0, 255, _CUBE_LEVELS).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    num_own = 256 - len(cube)
    own = image.quantize(num_own, Image.Quantize.MEDIANCUT).getpalette()[: 3 * num_own]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*own, *cube.ravel().tolist()])
    return palette


def _write_mp4(temporary: Path, images: Iterator[np.ndarray], frames_per_second: float, name: str) -> None:
    first = next(images)
    height, width = (size - size % 2 for size in first.shape[:2])  # yuv420p needs even sizes
    try:
        with av.open(str(temporary), "w", format="mp4", options=_CONTAINER_OPTIONS) as container:
            stream = container.add_stream("libx264", rate=Fraction(frames_per_second).limit_denominator(10_000))
            stream.width = width
            stream.height = height
            stream.pix_fmt = "yuv420p"
            stream.options = _ENCODER_OPTIONS
            for image in itertools.chain([first], images):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="bgr24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except av.codec.codec.UnknownCodecError:
        raise InputError(f"{name}: this build of PyAV has no H.264 encoder; choose .gif") from None
    except av.FFmpegError as error:
        raise InputError(f"{name}: cannot be written ({brief(error)})") from None
