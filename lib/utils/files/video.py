"""Read numbered frames of a video."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import numpy as np

from lib.utils.errors import InputError, brief

_VARIABLE_RATE = 1.9  # time base / mean rate from which frames are not evenly spaced
_UNEVEN = 0.5  # deviation from even spacing from which a frame is missing, frames


class VideoReader(contextlib.AbstractContextManager):
    """A video file, read sequentially.

    Frames are turned as the file says they are shown (a phone held upright), as OpenCV turns them.

    Attributes:
        num_frames: number of frames in the header or, if it is missing, number of packets.
        frames_per_second: rate of the time stamps.
        width, height: size of a frame as shown, px.
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
            raise InputError(f"{path}: not a video, or truncated ({brief(error)})") from None
        try:
            if not self._container.streams.video:
                raise InputError(f"{path}: has no video stream")
            self._stream = self._container.streams.video[0]
            times: Sequence[Fraction] = () if self._is_regular() else self._packet_times()
            self.num_frames = self._stream.frames or len(times)
            mean = self._stream.average_rate  # exact; the base rate is rounded to a usual one
            even = mean if self._is_regular() else _even_rate(times, mean)
            self._is_even = even is not None
            self.frames_per_second = even or self._stream.base_rate or Fraction(25)
            self._turns, self.width, self.height = self._shown()
        except BaseException:
            self.close()
            raise

    def _is_regular(self) -> bool:
        """Return whether the header has a number of frames and one rate."""
        mean, base, num_frames = self._stream.average_rate, self._stream.base_rate, self._stream.frames
        return bool(num_frames and base and mean) and abs(mean / base - 1) * num_frames <= _UNEVEN

    def _packet_times(self) -> list[Fraction]:
        """Return the time stamps of all frames in order, s; without decoding."""
        with av.open(self.path) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size > 0]
            times = [packet.pts if packet.pts is not None else packet.dts for packet in packets]
            base = container.streams.video[0].time_base
        if base is None or any(time is None for time in times):
            return [Fraction(0)] * len(times)
        return sorted(time * base for time in times)

    def _shown(self) -> tuple[int, int, int]:
        """Return the quarter turns, counterclockwise, and the width and height of a frame as shown."""
        with av.open(self.path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "NONE"  # one frame is enough
            try:
                turns = next((round(frame.rotation / 90) % 4 for frame in container.decode(stream)), 0)
            except (av.FFmpegError, ValueError) as error:
                raise InputError(f"{self.path}: damaged ({brief(error)})") from None
            size = stream.codec_context.width, stream.codec_context.height
        return (turns, *(size[::-1] if turns % 2 else size))

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
        if not self._is_even and mean_rate and self.frames_per_second > _VARIABLE_RATE * mean_rate:
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
                yield number, np.ascontiguousarray(np.rot90(frame.to_ndarray(format="bgr24"), self._turns))

    def _decode(self) -> Iterator[av.VideoFrame]:
        try:
            yield from self._container.decode(self._stream)
        except (av.FFmpegError, ValueError) as error:
            raise InputError(f"{self.path}: damaged ({brief(error)})") from None

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __exit__(self, *exception: object) -> None:
        self.close()


def _even_rate(times: Sequence[Fraction], stated: Fraction | None) -> Fraction | None:
    """Return the rate of evenly spaced time stamps, the stated one if it fits; None if the spacing is not even."""
    if len(times) < 3 or times[-1] <= times[0]:
        return None
    seconds = np.array([float(time - times[0]) for time in times])
    for rate in (stated, (len(times) - 1) / (times[-1] - times[0])):
        if rate and np.abs(seconds * float(rate) - np.arange(len(times))).max() < _UNEVEN:
            return rate
    return None
