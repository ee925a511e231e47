from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from lib.core.own_cameras import recording_figures as pictures
from lib.core.own_cameras.fit_tables import ranges
from lib.core.own_cameras.recording import load_capture
from lib.core.own_cameras.recording_figures import CELL_PX, save_label_sheet, save_video, upright
from lib.utils.errors import InputError


def test_video_of_all_frames(recording, tmp_path):
    capture = load_capture(recording.cameras, recording.videos, recording.detections).frames(0, 6)
    pose = recording.pose_world[:6].copy()
    pose[2, 5] = np.nan
    assert save_video(tmp_path / "poses.mp4", capture, pose) == 6
    video = cv2.VideoCapture(str(tmp_path / "poses.mp4"))
    assert (video.get(cv2.CAP_PROP_FRAME_COUNT), video.get(cv2.CAP_PROP_FPS)) == (6, 30)
    without = load_capture(recording.cameras, None, recording.detections)
    with pytest.raises(InputError, match="needs the videos"):
        save_video(tmp_path / "none.mp4", without, recording.pose_world)


def test_cameras_and_frames_are_named_in_the_video_and_on_the_sheet(recording, tmp_path, monkeypatch):
    whole = load_capture(recording.cameras, recording.videos, recording.detections)
    capture = whole.frames(6, 9)
    late = replace(capture, table=capture.table + [0, 0, 1, 0])
    frames, labels = [], []
    monkeypatch.setattr(pictures, "draw_frames", lambda posed, *_: map(picture_of, posed))
    monkeypatch.setattr(pictures, "labeled", lambda cell, text: labels.append(text) or cell)

    def picture_of(posed):
        frames.append(posed)
        return posed.images[0]

    save_video(tmp_path / "poses.mp4", capture, recording.pose_world[6:9], ["a", "b", "c"])
    assert [frame.title for frame in frames] == ["frame 6, 0.20 s, a", "frame 7, 0.23 s, b", "frame 8, 0.27 s, c"]
    assert frames[0].names == ("front", "left", "back", "right")
    save_label_sheet(tmp_path / "sheet.png", late, capture.poses(), [2])
    assert labels == [
        "front, frame 8, 0.27 s",
        "left, frame 8, 0.27 s, exchanged: hip, kne, ank, sho, elb, wri",
        "back, frame 8, 0.27 s, its own frame 9",
        "right, frame 8, 0.27 s",
    ]


def test_sheet_has_a_row_per_instant(recording, tmp_path):
    capture = load_capture(recording.cameras, recording.videos, recording.detections)
    save_label_sheet(tmp_path / "sheet.png", capture, capture.poses(), [5, 9])
    height, width, _ = cv2.imread(str(tmp_path / "sheet.png")).shape
    assert (height // CELL_PX, width // CELL_PX) == (2, 4)


def test_sheet_of_poses_that_cannot_be_drawn(recording, tmp_path):
    capture = load_capture(recording.cameras, recording.videos, recording.detections)
    poses = capture.poses()
    nothing = replace(
        poses,
        pose_world=np.full_like(poses.pose_world, np.nan),
        agrees=np.zeros_like(poses.agrees),
        points_img=poses.points_img + np.where(np.arange(4)[:, None, None] == 1, 1e12, 0.0),
    )
    save_label_sheet(tmp_path / "sheet.png", capture, nothing, [5])
    assert cv2.imread(str(tmp_path / "sheet.png")) is not None


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_person_stands_upright(recording, axis, sign):
    turn = np.roll(np.eye(3), axis + 1, 0) * np.array([1, 1, sign])
    if np.linalg.det(turn) < 0:
        turn = turn * np.array([-1, 1, 1])
    pose = recording.pose_world @ turn.T
    rotation = upright(pose)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    heights = (pose @ rotation.T)[..., 2]
    expected = recording.pose_world[..., 2]
    np.testing.assert_allclose(heights, expected, atol=1e-6)


def test_ranges():
    assert ranges([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"
    assert ranges([]) == ""
