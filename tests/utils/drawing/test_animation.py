from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from lib.utils.drawing.animation import save_animation
from lib.utils.errors import InputError

GRAYS = (10, 80, 150, 220)


def images(height: int = 48, width: int = 64) -> Iterator[np.ndarray]:
    """Increasingly light gray images with a blue square (BGR)."""
    for gray in GRAYS:
        image = np.full((height, width, 3), gray, np.uint8)
        image[8:24, 8:24] = (255, 0, 0)
        yield image


def frames_of(path: Path) -> list[np.ndarray]:
    """Decode an animation into BGR frames."""
    if path.suffix == ".gif":
        with Image.open(path) as image:
            frames = []
            for number in range(image.n_frames):
                image.seek(number)
                frames.append(np.asarray(image.convert("RGB"))[..., ::-1])
            return frames
    video = cv2.VideoCapture(str(path))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1])
    return frames


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_save_animation_frames_are_readable(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"walk{suffix}"
    assert save_animation(path, images(), 10.0) == 4
    frames = frames_of(path)
    assert len(frames) == 4
    for frame, gray in zip(frames, GRAYS, strict=True):
        assert frame.shape == (48, 64, 3)
        np.testing.assert_allclose(frame[32:, 32:].mean((0, 1)), gray, atol=6 if suffix == ".mp4" else 32)
        np.testing.assert_allclose(frame[12:20, 12:20].mean((0, 1)), (255, 0, 0), atol=30)  # blue, not red
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_save_animation_speed(tmp_path: Path) -> None:
    save_animation(tmp_path / "a.gif", images(), 20.0)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info["duration"] == 50  # ms
        assert image.info["loop"] == 0  # forever
    save_animation(tmp_path / "a.mp4", images(), 20.0)
    assert cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FPS) == pytest.approx(20.0)


def test_save_animation_odd_size_is_cut_in_mp4_only(tmp_path: Path) -> None:
    for suffix, shape in ((".mp4", (46, 62, 3)), (".gif", (47, 63, 3))):
        save_animation(tmp_path / f"odd{suffix}", images(47, 63), 5)
        assert frames_of(tmp_path / f"odd{suffix}")[0].shape == shape


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_save_animation_error_while_drawing_keeps_the_old_file(suffix: str, tmp_path: Path) -> None:
    def failing() -> Iterator[np.ndarray]:
        yield from images()
        raise InputError("no such image")

    path = tmp_path / f"walk{suffix}"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match="no such image"):
        save_animation(path, failing(), 10.0)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_save_animation_invalid_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ending in \.gif or \.mp4"):
        save_animation(tmp_path / "walk.avi", images(), 10.0)
    with pytest.raises(InputError, match="no images"):
        save_animation(tmp_path / "walk.gif", iter([]), 10.0)
    for speed in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="positive number of frames per second"):
            save_animation(tmp_path / "walk.gif", images(), speed)
    assert not list(tmp_path.iterdir())


def test_save_animation_mp4_is_h264_for_browsers(tmp_path: Path) -> None:
    save_animation(tmp_path / "walk.mp4", images(47, 63), 10.0)
    with av.open(str(tmp_path / "walk.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.width, stream.height, stream.frames) == (62, 46, 4)
    content = (tmp_path / "walk.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # playback starts before the download ends


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (av.codec.codec.UnknownCodecError("libx264"), r"no H\.264 encoder; choose \.gif"),
        (av.error.OSError(28, "No space left on device"), "cannot be written .*No space left"),
    ],
)
def test_save_animation_mp4_write_errors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, message: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(av, "open", fail)
    with pytest.raises(InputError, match=message):
        save_animation(tmp_path / "walk.mp4", images(), 10.0)
    assert not list(tmp_path.iterdir())
