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


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_frames_are_turned_as_opencv_turns_them(tmp_path, degrees):
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.set_display_rotation(degrees)
        image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
        image[: HEIGHT // 4, : WIDTH // 4] = 220
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    expected = cv2.VideoCapture(str(path)).read()[1]
    with VideoReader(path) as video:
        assert (
            (video.width, video.height)
            == expected.shape[1::-1]
            == ((HEIGHT, WIDTH) if degrees % 180 else (WIDTH, HEIGHT))
        )
        images = [image for _, image in video.frames()]
    assert len(images) == 3
    assert all(np.abs(image.astype(int) - expected).max() <= 3 for image in images)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize("rate", [Fraction(30), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(2998, 100)])
def test_frames_per_second_is_exact(tmp_path, suffix, rate):
    path = tmp_path / f"film.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for number in range(90):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), number, np.uint8), format="bgr24")
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with VideoReader(path) as video:
        assert float(video.frames_per_second) == pytest.approx(float(rate), rel=1e-9)
        assert [number for number, _ in video.frames()] == list(range(90))


def test_frames_per_second_follows_the_time_stamps(tmp_path):
    """A clock that runs 0.1 % slow, and jitter of a few milliseconds, on a grid of 1 ms."""
    times = np.round(np.arange(120) * 1000 / 29.97 + np.random.default_rng(0).uniform(-5, 5, 120)).astype(int)
    times[[0, -1]] = 0, 3971
    with VideoReader(write_at(tmp_path / "phone.mp4", times.tolist(), 1000)) as video:
        assert float(video.frames_per_second) == pytest.approx(119 / 3.971, rel=1e-6)
        assert [number for number, _ in video.frames()] == list(range(120))


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
