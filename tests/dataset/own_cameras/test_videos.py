from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.rig_files import number_in, write_video

from lib.dataset.own_cameras.calibration_file import load_rig
from lib.dataset.own_cameras.videos import frame_table, open_videos, read_instants
from lib.utils.errors import InputError


@pytest.fixture
def films(tmp_path):
    write_video(tmp_path / "left.mp4", 40, rate=30)
    write_video(tmp_path / "the_right_one.avi.mp4", 70, rate=60)
    return tmp_path


def test_lengths_and_rates_are_told(films):
    videos = open_videos(films, ["left", "right"])
    assert videos.num_frames.tolist() == [40, 70]
    assert videos.rates.tolist() == [30, 60]
    lengths, rates = videos.differences()
    assert "left.mp4 40" in lengths
    assert "60" in rates


def test_frames_of_one_instant(films):
    """Twice the rate: every other frame; the second video began 3 frames late."""
    videos = open_videos(films, ["left", "right"])
    table = frame_table(videos.num_frames, videos.rates, np.array([0, 3]))
    pictures = list(read_instants(videos, table))
    seen = [[number_in(picture) for picture in pair] for pair in pictures]
    assert seen == table.tolist() == [[i, 2 * i + 3] for i in range(34)]


def test_a_view_that_is_early_starts_later(films):
    table = frame_table(np.array([10, 10]), np.array([30, 30]), np.array([0, -4]))
    assert table.tolist() == [[i + 4, i] for i in range(6)]
    table = frame_table(np.array([10, 10]), np.array([30, 30.001]))
    assert table.tolist() == [[i, i] for i in range(10)]


def test_no_instant_in_common():
    with pytest.raises(InputError, match="no instant in common"):
        frame_table(np.array([10, 10]), np.array([30, 30]), np.array([0, 12]))


def test_size_of_the_calibration(films, toml):
    videos = open_videos(films, ["left", "right"])
    with pytest.raises(InputError, match="64 x 32 px, camera left was calibrated for 200 x 160"):
        videos.check_sizes(load_rig(toml))


def test_missing_videos(films):
    with pytest.raises(InputError, match="'top'"):
        open_videos(films, ["left", "top"])
    with pytest.raises(InputError, match="no such folder"):
        open_videos(films / "none", ["left"])


def test_a_frame_that_is_not_there(films):
    videos = open_videos(films, ["left", "right"])
    with pytest.raises(InputError, match="ends before frame 45"):
        list(read_instants(videos, np.array([[0, 0], [45, 1]])))
