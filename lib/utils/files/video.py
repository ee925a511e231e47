"""Read numbered frames of a video."""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from lib.utils.errors import InputError

_VARIABLE_RATE = 1.9  # time base / mean rate from which frames are not evenly spaced


class VideoReader(contextlib.AbstractContextManager):
    """A video file, read sequentially.

    Attributes:
        num_frames: number of frames in the header or, if it is missing, number of packets.
        frames_per_second: rate of the time stamps.
        width, height: size of a frame, px.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        """
        Raises:
            InputError: the file is missing, truncated, or not a video.
        """
        self.path = os.fspath(path)
        try:
            self._container = av.open(self.path)
        except FileNotFoundError:
            raise InputError(f"{path}: no such video") from None
        except (av.FFmpegError, OSError, ValueError) as error:
            raise InputError(f"{path}: not a video, or truncated ({error})") from None
        if not self._container.streams.video:
            self.close()
            raise InputError(f"{path}: has no video stream")
        self._stream = self._container.streams.video[0]
        self.width = self._stream.codec_context.width
        self.height = self._stream.codec_context.height
        self.frames_per_second: Fraction = self._stream.base_rate or Fraction(25)
        self.num_frames = self._stream.frames or self._count_packets()

    def _count_packets(self) -> int:
        with av.open(self.path) as container:
            return sum(packet.size > 0 for packet in container.demux(video=0))

    def frames(self, start: int = 0, stop: int | None = None, step: int = 1) -> Iterator[tuple[int, np.ndarray]]:
        """Decode frames start, start + step, ... below stop (None = all). Can be called once.

        The number of a frame is its time since the first frame times the frame rate. A missing frame leaves a gap in
        the numbers and does not shift the others.

        Yields:
            Frame number from 0, and (height, width, 3) uint8 BGR.

        Raises:
            InputError: the video is damaged, or the frames are not evenly spaced in time.
        """
        mean_rate = self._stream.average_rate
        if mean_rate and self.frames_per_second > _VARIABLE_RATE * mean_rate:
            raise InputError(
                f"{self.path}: frames are not evenly spaced ({float(mean_rate):g} per second on average, "
                f"on a grid of {float(self.frames_per_second):g})"
            )
        first_time = None
        for frame in self._decode():
            if frame.pts is None or frame.time_base is None:
                raise InputError(f"{self.path}: frames have no time stamps")
            if frame.is_corrupt:
                raise InputError(f"{self.path}: the frame at {float(frame.pts * frame.time_base):.2f} s is damaged")
            time = frame.pts * frame.time_base
            first_time = time if first_time is None else first_time
            number = round((time - first_time) * self.frames_per_second)
            if stop is not None and number >= stop:
                return
            if number >= start and (number - start) % step == 0:
                yield number, frame.to_ndarray(format="bgr24")

    def _decode(self) -> Iterator[av.VideoFrame]:
        try:
            yield from self._container.decode(self._stream)
        except (av.FFmpegError, ValueError) as error:
            raise InputError(f"{self.path}: damaged ({error})") from None

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __exit__(self, *exception: object) -> None:
        self.close()
