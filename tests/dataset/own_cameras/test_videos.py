from __future__ import annotations

import cv2
import numpy as np
import pytest
from cvf_tests.rig_files import number_in, write_video

from lib.dataset.own_cameras.calibration_file import load_rig
from lib.dataset.own_cameras.videos import Videos, frame_table, open_videos, read_frames
from lib.utils.errors import InputError


@pytest.fixture
def folder(tmp_path):
    write_video(tmp_path / "left.mp4", 40, rate=30)
    write_video(tmp_path / "the_right_one.avi.mp4", 70, rate=60)
    return tmp_path


def test_open_videos_differences_in_length_and_rate(folder):
    videos = open_videos(folder, ["left", "right"])
    assert videos.num_frames.tolist() == [40, 70]
    assert videos.rates.tolist() == [30, 60]
    lengths, rates = videos.differences()
    assert "left.mp4 40" in lengths
    assert "60" in rates


def test_read_frames_of_different_rate_and_offset(folder):
    """The second video has twice the rate and began 3 frames late."""
    videos = open_videos(folder, ["left", "right"])
    table = frame_table(videos.num_frames, videos.rates, np.array([0, 3]))
    images = list(read_frames(videos, table))
    seen = [[number_in(image) for image in pair] for pair in images]
    assert seen == table.tolist() == [[i, 2 * i + 3] for i in range(34)]


def test_frame_table_early_view_starts_later(folder):
    table = frame_table(np.array([10, 10]), np.array([30, 30]), np.array([0, -4]))
    assert table.tolist() == [[i + 4, i] for i in range(6)]


def test_frame_table_follows_the_true_rates():
    """30 and 29.97 frames per second are half a frame apart after 500 frames, six frames after 200 s."""
    rates = np.array([30.0, 30000 / 1001])
    table = frame_table(np.array([6000, 5994]), rates)
    times = table / rates
    assert np.abs(times[:, 0] - times[:, 1]).max() <= 0.5 / 29.97 + 1e-9
    assert table[-1].tolist() == [5999, 5993]
    short = frame_table(np.array([400, 400]), rates)
    assert short.tolist() == [[i, i] for i in range(400)]


def test_frame_table_drift():
    table = frame_table(np.array([1000, 1000]), np.array([30, 30]), np.array([0, 2]), np.array([0, 0.01]))
    np.testing.assert_array_equal(table[:, 1], np.round(table[:, 0] * 1.01 + 2))


def test_frame_table_of_chosen_numbers():
    table = frame_table(np.array([2000, 2000]), np.array([30, 30]), np.array([0, 3]), numbers=np.array([900, 1500]))
    assert table.tolist() == [[897, 900], [900, 903], [1497, 1500], [1500, 1503]]


def test_differences_print_exact_rates(tmp_path):
    paths = (tmp_path / "a.mp4", tmp_path / "b.mp4")
    videos = Videos(paths, np.array([6000, 5994]), np.array([30.0, 30000 / 1001]), np.full((2, 2), 64))
    assert videos.differences()[-1] == "videos differ in frames per second: a.mp4 30, b.mp4 29.97003"
    short = Videos(paths, np.array([400, 400]), videos.rates, videos.image_wh)
    assert short.differences() == []


@pytest.mark.parametrize("suffix", [".MTS", ".ts", ".wmv", ".m2ts"])
def test_open_videos_other_suffixes(tmp_path, suffix):
    write_video(tmp_path / "left.mp4", 5)
    for name in ("left", "right"):
        (tmp_path / f"{name}{suffix}").write_bytes((tmp_path / "left.mp4").read_bytes())
        (tmp_path / f"._{name}{suffix}").write_bytes(b"macOS")
    (tmp_path / "left.mp4").unlink()
    assert open_videos(tmp_path, ["left", "right"]).num_frames.tolist() == [5, 5]


def test_open_videos_folders_of_images(tmp_path):
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        for number in range(3):
            image = np.full((6, 8, 3), 80 * number, np.uint8)
            cv2.imwrite(str(tmp_path / name / f"{name}_{number:06d}.png"), image)
    videos = open_videos(tmp_path, ["left", "right"], rate=50.0)
    assert (videos.num_frames.tolist(), videos.rates.tolist()) == ([3, 3], [50.0, 50.0])
    images = list(read_frames(videos, np.array([[0, 0], [2, 1]])))
    assert [[image[0, 0, 0] for image in pair] for pair in images] == [[0, 0], [160, 80]]


def test_open_videos_nothing_known_says_what_is_there(tmp_path):
    for number in range(8):
        (tmp_path / f"cam{number}.braw").write_bytes(b"")
    with pytest.raises(InputError, match=r"expected one video per camera \(\.mp4 .* received cam0.braw, .* and 3 more"):
        open_videos(tmp_path, ["cam0", "cam1"])


def test_frame_table_without_common_frame():
    with pytest.raises(InputError, match="no frame in common"):
        frame_table(np.array([10, 10]), np.array([30, 30]), np.array([0, 12]))


def test_check_sizes_other_than_calibrated(folder, toml):
    videos = open_videos(folder, ["left", "right"])
    with pytest.raises(InputError, match="expected 200 x 160 px, as calibrated for camera left, received 64 x 32"):
        videos.check_sizes(load_rig(toml))


def test_open_videos_missing_video_or_folder(folder):
    with pytest.raises(InputError, match="'top'"):
        open_videos(folder, ["left", "top"])
    with pytest.raises(InputError, match="no such folder"):
        open_videos(folder / "none", ["left"])


def test_read_frames_beyond_the_end(folder):
    videos = open_videos(folder, ["left", "right"])
    with pytest.raises(InputError, match="ends before frame 45"):
        list(read_frames(videos, np.array([[0, 0], [45, 1]])))
