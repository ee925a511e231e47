from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.rig_files import number_in, write_video

from lib.dataset.own_cameras.calibration_file import load_rig
from lib.dataset.own_cameras.videos import frame_table, open_videos, read_frames
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
    table = frame_table(np.array([10, 10]), np.array([30, 30.001]))
    assert table.tolist() == [[i, i] for i in range(10)]


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
