from __future__ import annotations

import pytest

from lib.dataset.own_cameras.name_matching import key_of, match_names, parse_aliases
from lib.utils.errors import InputError

FREEMOCAP = [f"2025-01-01_calibration_camera_{number}" for number in range(4)]
ACCENT = "cam\u00e9ra"  # one character; macOS writes two


@pytest.mark.parametrize(
    ("names", "keys", "expected"),
    [
        (["a", "b"], ["b", "a", "b_old"], [1, 0]),
        (["cam1", "cam10"], ["cam10_json", "cam1_json"], [1, 0]),
        (["cam1", "cam2"], ["cam02_json", "cam01_json", "notes"], [1, 0]),
        (["left", "right"], ["the_right_one.avi", "leftcamera"], [1, 0]),
        (["int_cam01_img", "int_cam02_img"], ["cam02_json", "cam01_json"], [1, 0]),
        (["cam01.mp4", "cam02.mp4"], ["cam02", "cam01"], [1, 0]),
        (["cam.01", "cam.02"], ["cam.02", "cam.01"], [1, 0]),
        (FREEMOCAP, [f"2025-01-02_walk_camera_{number}_json" for number in (3, 1, 0, 2)], [2, 1, 3, 0]),
        (["0", "1"], ["2025-01-00_take_1", "2025-01-00_take_0"], [1, 0]),
        (["Cam_A", "Cam_B"], ["CAM_B", "cam_a"], [1, 0]),
        ([f"{ACCENT}1", f"{ACCENT}2"], ["came\u0301ra2", "came\u0301ra1"], [1, 0]),
    ],
)
def test_match_names_one_to_one(names, keys, expected):
    assert match_names(names, keys, "videos") == expected


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (["cam01", "cam02"], ["cam01_a", "cam01_b", "cam02_a"]),
        (["cam01", "cam02"], ["GX010123", "GX010124"]),
        (["cam_0", "cam_1"], ["cam1", "cam2"]),
        (["cam01", "cam02"], ["cam01"]),
        (["cam01", "cam02"], []),
        (["cam01", "cam02"], ["cam01", "cam01", "cam02"]),
    ],
)
def test_match_names_ambiguous_names_the_flag(names, keys):
    with pytest.raises(InputError, match=r"videos: expected one per camera, received no .*--match cam"):
        match_names(names, keys, "videos")


def test_match_names_error_lists_five_names():
    with pytest.raises(InputError) as caught:
        match_names(["cam1", "cam2"], [f"frame_{number:06d}" for number in range(240)], "videos")
    assert "frame_000000, frame_000001, frame_000002, frame_000003, frame_000004 and 235 more" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_match_names_pairs_of_other_names_are_told_in_full(caplog):
    caplog.set_level("INFO")
    match_names(FREEMOCAP[:2], ["2025-01-02_walk_camera_1_json", "2025-01-02_walk_camera_0_json"], "videos")
    assert caplog.messages == [
        f"videos, matched by name: {FREEMOCAP[0]} = 2025-01-02_walk_camera_0_json, "
        f"{FREEMOCAP[1]} = 2025-01-02_walk_camera_1_json"
    ]


def test_match_names_by_hand():
    names = ("cam01", "cam02")
    aliases = parse_aliases(["cam01=GX010124.MP4", "cam02=GX010123.MP4"], names)
    files = ["GX010123.MP4", "GX010124.MP4"]
    assert match_names(names, ["GX010123", "GX010124"], "videos", aliases, files) == [1, 0]
    # the detections are named after the videos
    assert match_names(names, ["GX010123_json", "GX010124_json"], "detections", aliases) == [1, 0]
    # the other camera is matched by its name
    one = parse_aliases(["cam01=GX010124.MP4"], names)
    assert match_names(names, ["cam02", "GX010124"], "videos", one, ["cam02.MP4", "GX010124.MP4"]) == [1, 0]
    twice = parse_aliases(["cam01=a.MP4", "cam02=a.MP4"], names)
    with pytest.raises(InputError, match=r"gives a\.MP4 to two cameras"):
        match_names(names, ["a", "b"], "videos", twice, ["a.MP4", "b.MP4"])


@pytest.mark.parametrize(
    ("pair", "message"),
    [("cam01", "expected CAMERA=FILE"), ("cam=x", "unknown camera 'cam'"), ("cam01=", "CAMERA=FILE")],
)
def test_parse_aliases_wrong_pairs(pair, message):
    with pytest.raises(InputError, match=message):
        parse_aliases([pair], ["cam01"])


def test_key_of_folder_has_no_suffix(tmp_path):
    (tmp_path / "cam.01").mkdir()
    assert key_of(tmp_path / "cam.01") == "cam.01"
    assert key_of(tmp_path / "cam.01.mp4") == "cam.01"
