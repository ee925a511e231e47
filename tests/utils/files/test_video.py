"""The test videos show the number of each frame as stripes."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from lib.utils.errors import InputError
from lib.utils.files.video import VideoReader

WIDTH = 192
HEIGHT = 96
NUM_BITS = 8


def numbered(number: int) -> np.ndarray:
    bits = [(number >> bit) & 1 for bit in range(NUM_BITS)]
    return np.repeat(np.uint8([[[255 * bit] * 3 for bit in bits]]), WIDTH // NUM_BITS, 1).repeat(HEIGHT, 0)


def number_in(image: np.ndarray) -> int:
    columns = image[HEIGHT // 2, WIDTH // NUM_BITS // 2 :: WIDTH // NUM_BITS, 1] > 127
    return int(sum(int(bit) << place for place, bit in enumerate(columns)))


@pytest.fixture
def film(tmp_path):
    """film(60) writes a video of 60 numbered frames at 50 per second with OpenCV."""

    def make(num_frames: int):
        path = tmp_path / "film.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 50, (WIDTH, HEIGHT))
        for number in range(num_frames):
            writer.write(numbered(number))
        writer.release()
        return path

    return make


def test_frames_have_their_number(film):
    with VideoReader(film(60)) as video:
        assert (video.num_frames, video.width, video.height) == (60, WIDTH, HEIGHT)
        assert video.frames_per_second == 50
        found = [(number, number_in(image)) for number, image in video.frames()]
    assert found == [(number, number) for number in range(60)]


@pytest.mark.parametrize(("start", "stop", "step"), [(0, None, 7), (3, 40, 5), (59, None, 1), (60, None, 1), (5, 5, 1)])
def test_frames_range_with_step(film, start, stop, step):
    with VideoReader(film(60)) as video:
        found = [(number, number_in(image)) for number, image in video.frames(start, stop, step)]
    assert found == [(number, number) for number in range(60)[start:stop:step]]


def test_frames_equal_opencv(film):
    path = film(5)
    reader = cv2.VideoCapture(str(path))
    with VideoReader(path) as video:
        for _, image in video.frames():
            assert image.shape == (HEIGHT, WIDTH, 3)
            assert np.abs(image.astype(int) - reader.read()[1]).max() <= 3


def write_at(path, times, base):
    """Write numbered frames at times in units of 1/base s."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=base)
        stream.width = WIDTH
        stream.height = HEIGHT
        stream.pix_fmt = "yuv420p"
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="bgr24")
            frame.pts = time
            frame.time_base = Fraction(1, base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_frames_missing_frame_leaves_a_gap_in_the_numbers(tmp_path):
    times = [0, 1, 2, 5, 6, 7, 8, 9, 10]
    with VideoReader(write_at(tmp_path / "gap.mp4", times, 50)) as video:
        assert video.num_frames == len(times)
        found = [(number, number_in(image)) for number, image in video.frames()]
    assert found == [(time, order) for order, time in enumerate(times)]


def test_frames_variable_rate_is_refused(tmp_path):
    times = np.cumsum(np.random.default_rng(0).integers(20, 60, 40)).tolist()
    with VideoReader(write_at(tmp_path / "phone.mp4", times, 1000)) as video:
        with pytest.raises(InputError, match=r"phone\.mp4: frames are not evenly spaced"):
            list(video.frames())
        assert video.num_frames == 40


def test_video_reader_damaged_files_are_refused(tmp_path, film):
    with pytest.raises(InputError, match=r"none\.mp4: no such video"):
        VideoReader(tmp_path / "none.mp4")
    data = film(60).read_bytes()
    path = tmp_path / "cut.mp4"
    for content in (b"", b"no video", data[: len(data) // 2]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"cut\.mp4: not a video, or truncated"):
            VideoReader(path)
    for share in (0.25, 0.75):
        middle = bytearray(data)
        start = int(share * len(data))
        middle[start : start + 1024] = bytes(range(256)) * 4
        path.write_bytes(middle)
        reasons = r"cut\.mp4: (damaged|the frame at|not a video)"
        with pytest.raises(InputError, match=reasons), VideoReader(path) as video:
            list(video.frames())
