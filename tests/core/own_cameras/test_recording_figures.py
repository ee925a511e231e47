from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from cvf_tests.own_recording import load_synchronized, poses_of

from lib.core.own_cameras import recording_figures
from lib.core.own_cameras.recording import load_recording
from lib.core.own_cameras.recording_figures import CELL_PX, save_label_sheet, save_video
from lib.utils.errors import InputError
from lib.utils.files.video import VideoReader


def test_save_video_has_all_frames(files, tmp_path):
    recording = load_synchronized(files.cameras, files.videos, files.detections).select_frames(0, 6)
    pose = files.pose_world[:6].copy()
    pose[2, 5] = np.nan
    assert save_video(tmp_path / "poses.mp4", recording, pose) == 6
    with VideoReader(tmp_path / "poses.mp4") as video:
        assert (video.num_frames, video.frames_per_second) == (6, 30)
    without = load_recording(files.cameras, None, files.detections)
    with pytest.raises(InputError, match="needs the videos"):
        save_video(tmp_path / "none.mp4", without, files.pose_world)


def test_save_video_and_label_sheet_name_cameras_and_frames(files, tmp_path, monkeypatch):
    whole = load_synchronized(files.cameras, files.videos, files.detections)
    recording = whole.select_frames(6, 9)
    late = replace(recording, table=recording.table + [0, 0, 1, 0])
    frames, labels = [], []
    monkeypatch.setattr(recording_figures, "draw_frames", lambda posed, *_: map(first_image, posed))
    monkeypatch.setattr(recording_figures, "labeled", lambda cell, text: labels.append(text) or cell)

    def first_image(posed):
        frames.append(posed)
        return posed.images[0]

    save_video(tmp_path / "poses.mp4", recording, files.pose_world[6:9], ["a", "b", "c"])
    assert [frame.title for frame in frames] == ["frame 6, 0.20 s, a", "frame 7, 0.23 s, b", "frame 8, 0.27 s, c"]
    assert frames[0].names == ("front", "left", "back", "right")
    save_label_sheet(tmp_path / "sheet.png", late, poses_of(recording), [2])
    assert labels == [
        "front, frame 8, 0.27 s",
        "left, frame 8, 0.27 s, swapped: hip, kne, ank, sho, elb, wri",
        "back, frame 8, 0.27 s, video frame 9",
        "right, frame 8, 0.27 s",
    ]


def test_save_label_sheet_has_a_row_per_frame(files, tmp_path):
    recording = load_synchronized(files.cameras, files.videos, files.detections)
    save_label_sheet(tmp_path / "sheet.png", recording, poses_of(recording), [5, 9])
    height, width, _ = cv2.imread(str(tmp_path / "sheet.png")).shape
    assert (height // CELL_PX, width // CELL_PX) == (2, 4)


def test_save_label_sheet_without_known_joints(files, tmp_path):
    recording = load_synchronized(files.cameras, files.videos, files.detections)
    poses = poses_of(recording)
    nothing = replace(
        poses,
        pose_world=np.full_like(poses.pose_world, np.nan),
        agrees=np.zeros_like(poses.agrees),
        points_img=poses.points_img + np.where(np.arange(4)[:, None, None] == 1, 1e12, 0.0),
    )
    save_label_sheet(tmp_path / "sheet.png", recording, nothing, [5])
    assert cv2.imread(str(tmp_path / "sheet.png")) is not None
