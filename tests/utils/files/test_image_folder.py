from __future__ import annotations

import cv2
import numpy as np
import pytest

from lib.utils.errors import InputError
from lib.utils.files.image_folder import ImageFolderReader, image_names, open_frames
from lib.utils.files.video import VideoReader


def write_images(folder, names, wh=(8, 6)):
    folder.mkdir()
    for number, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((wh[1], wh[0], 3), 10 * number, np.uint8))


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    write_images(tmp_path / "cam01", ["cam01_9.png", "cam01_10.png", "cam01_12.png"])
    (tmp_path / "cam01/._cam01_9.png").write_bytes(b"macOS")
    (tmp_path / "cam01/notes.txt").write_text("")
    assert len(image_names(tmp_path / "cam01")) == 3
    with open_frames(tmp_path / "cam01") as images:
        assert (images.num_frames, images.width, images.height) == (4, 8, 6)
        assert [(number, image[0, 0, 0]) for number, image in images.frames()] == [(0, 0), (1, 10), (3, 20)]
        assert [number for number, _ in images.frames(1, 3)] == [1]


def test_frames_follow_the_orientation_flag(tmp_path):
    (tmp_path / "cam01").mkdir()
    tiff = b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"  # orientation 6: turn by 90 degrees
    jpeg = cv2.imencode(".jpg", np.zeros((6, 8, 3), np.uint8))[1].tobytes()
    exif = b"\xff\xe1" + (len(tiff) + 2).to_bytes(2, "big") + tiff
    (tmp_path / "cam01/0.jpg").write_bytes(jpeg[:2] + exif + jpeg[2:])
    images = ImageFolderReader(tmp_path / "cam01")
    assert (images.width, images.height) == (6, 8)
    assert next(images.frames())[1].shape == (8, 6, 3)


def test_image_folder_invalid_names_and_sizes(tmp_path):
    write_images(tmp_path / "twice", ["a_1.png", "b_1.png"])
    write_images(tmp_path / "nameless", ["first.png"])
    write_images(tmp_path / "empty", [])
    write_images(tmp_path / "mixed", ["0.png"])
    cv2.imwrite(str(tmp_path / "mixed/1.png"), np.zeros((9, 9, 3), np.uint8))
    for name, message in (
        ("twice", r"a_1\.png and b_1\.png have the same number"),
        ("nameless", r"no frame number in the name 'first\.png'"),
        ("empty", r"no images \(\.jpg"),
        ("mixed", r"1\.png: expected 8 x 6 px, as the first image"),
    ):
        with pytest.raises(InputError, match=message):
            list(ImageFolderReader(tmp_path / name).frames())


def test_open_frames_of_a_file_is_a_video(tmp_path):
    with pytest.raises(InputError, match="no such video"):
        open_frames(tmp_path / "film.mp4")
    assert VideoReader is not ImageFolderReader
