from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lib.utils.drawing.animation import save_animation
from lib.utils.errors import InputError

GREYS = (10, 80, 150, 220)


def pictures(height: int = 48, width: int = 64) -> Iterator[np.ndarray]:
    """Grey, ever lighter, with a blue square (BGR)."""
    for grey in GREYS:
        picture = np.full((height, width, 3), grey, np.uint8)
        picture[8:24, 8:24] = (255, 0, 0)
        yield picture


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
def test_all_frames_come_back(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"walk{suffix}"
    assert save_animation(path, pictures(), 10.0) == 4
    frames = frames_of(path)
    assert len(frames) == 4
    for frame, grey in zip(frames, GREYS, strict=True):
        assert frame.shape == (48, 64, 3)
        np.testing.assert_allclose(frame[32:, 32:].mean((0, 1)), grey, atol=6 if suffix == ".mp4" else 32)
        np.testing.assert_allclose(frame[12:20, 12:20].mean((0, 1)), (255, 0, 0), atol=30)  # blue, not red
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_speed(tmp_path: Path) -> None:
    save_animation(tmp_path / "a.gif", pictures(), 20.0)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info["duration"] == 50  # ms
        assert image.info["loop"] == 0  # forever
    save_animation(tmp_path / "a.mp4", pictures(), 20.0)
    assert cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FPS) == pytest.approx(20.0)


def test_odd_sizes_lose_a_row_in_mp4_only(tmp_path: Path) -> None:
    for suffix, shape in ((".mp4", (46, 62, 3)), (".gif", (47, 63, 3))):
        save_animation(tmp_path / f"odd{suffix}", pictures(47, 63), 5)
        assert frames_of(tmp_path / f"odd{suffix}")[0].shape == shape


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_an_error_while_drawing_leaves_the_old_file(suffix: str, tmp_path: Path) -> None:
    def failing() -> Iterator[np.ndarray]:
        yield from pictures()
        raise InputError("no such image")

    path = tmp_path / f"walk{suffix}"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match="no such image"):
        save_animation(path, failing(), 10.0)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_input_that_cannot_be_animated(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.gif or \.mp4"):
        save_animation(tmp_path / "walk.avi", pictures(), 10.0)
    with pytest.raises(InputError, match="no pictures"):
        save_animation(tmp_path / "walk.gif", iter([]), 10.0)
    for speed in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="positive number of frames per second"):
            save_animation(tmp_path / "walk.gif", pictures(), speed)
    assert not list(tmp_path.iterdir())


class _Writer:
    """A VideoWriter that has no codec, or writes nothing as on a full disk."""

    fourcc = staticmethod(cv2.VideoWriter.fourcc)
    opens = False

    def __init__(self, *_: object) -> None: ...

    def isOpened(self) -> bool:
        return self.opens

    def write(self, picture: np.ndarray) -> None: ...

    def release(self) -> None: ...


def test_mp4_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cv2, "VideoWriter", _Writer)
    with pytest.raises(InputError, match=r"cannot write MP4; choose \.gif"):
        save_animation(tmp_path / "walk.mp4", pictures(), 10.0)
    monkeypatch.setattr(_Writer, "opens", True)
    with pytest.raises(InputError, match="0 of 4 frames arrived"):
        save_animation(tmp_path / "walk.mp4", pictures(), 10.0)
    assert not list(tmp_path.iterdir())
