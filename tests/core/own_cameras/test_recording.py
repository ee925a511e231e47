from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cvf_tests.own_recording import RATE, load_synchronized, make_recording, poses_of
from cvf_tests.walk import walking

from lib.core.own_cameras.recording import associate, load_recording, synchronize, with_detections
from lib.core.own_cameras.recording_poses import check_cameras
from lib.core.own_cameras.recording_tables import recording_tables
from lib.dataset.own_cameras.detections import Detections, load_detections
from lib.dataset.own_cameras.videos import frame_table
from lib.multiviews.cameras import project
from lib.utils.errors import InputError


def test_load_recording_has_videos_rate_and_names(files):
    recording = load_recording(files.cameras, files.videos, files.detections)
    assert (len(recording), recording.rate, recording.rig.names) == (20, RATE, ("front", "left", "back", "right"))


def delayed(folder, num_frames=90):
    """Files of a recording whose third view is late by 4 frames, and the original detections."""
    long = make_recording(folder, num_frames=num_frames)
    found = load_detections(long.detections, long.rig.names)
    points = found.points.copy()
    points[4:, 2] = found.points[:-4, 2]  # shows at t + 4 what happens at t
    points[:4, 2] = found.points[0, 2]
    Detections(found.view_names, points).save(folder / "late.npz")
    return long, found, points


def test_without_view_keeps_the_other_views(files):
    recording = load_recording(files.cameras, files.videos).select_frames(3, 9)
    rest = recording.without_view(1)
    names = [name for name in recording.rig.names if name != recording.rig.names[1]]
    assert list(rest.rig.names) == [path.stem for path in rest.videos.paths] == names
    np.testing.assert_array_equal(rest.rig.cameras.T, recording.rig.cameras.T[[0, 2, 3]])
    assert rest.frame_numbers.tolist() == list(range(3, 9))
    assert rest.table.shape == (6, 3)
    assert rest.cameras.T.shape == (6, 3, 3)


def test_synchronize_late_view_is_corrected_if_asked(tmp_path):
    long, found, _ = delayed(tmp_path)
    recording = load_synchronized(long.cameras, None, tmp_path / "late.npz")
    assert recording.sync_offsets.frames[2] == pytest.approx(4, abs=0.5)
    assert len(recording) == 90
    corrected = load_synchronized(long.cameras, None, tmp_path / "late.npz", correct=True)
    assert corrected.table.tolist() == [[t, t, t + 4, t] for t in range(86)]
    np.testing.assert_array_equal(corrected.points[:, 2], found.points[:86, 2, 0])
    assert corrected.notes == ("corrected sync offsets, frames: back +4",)
    assert np.abs(corrected.sync_offsets.frames).max() < 0.5  # remaining offsets


def test_synchronize_drift_is_corrected_if_asked(tmp_path):
    """The clock of the third view is 0.3 % fast: its frames come 2 to 6 frames late."""
    files, num_frames = make_recording(tmp_path), 1300
    fine = walking(4 * (num_frames + 20), np.random.default_rng(5), speed=0.25)  # quarters of a frame
    numbers = np.arange(num_frames)
    times = np.stack([numbers, numbers, (numbers - 2) / 1.003, numbers], 1)
    joints, _ = project(fine[np.round(4 * (times + 10)).astype(int)], files.rig.over_frames(num_frames))
    points = np.concatenate([joints, np.ones((*joints.shape[:3], 1))], -1)
    Detections(files.rig.names, points[:, :, None]).save(tmp_path / "drift.npz")
    recording = load_synchronized(files.cameras, None, tmp_path / "drift.npz")
    assert recording.sync_offsets.drift == pytest.approx([0, 0, 0.003, 0], rel=0.1)
    assert "drift (%)" in recording_tables(recording)
    corrected = load_synchronized(files.cameras, None, tmp_path / "drift.npz", correct=True)
    assert np.abs(corrected.table[:, 2] - (corrected.table[:, 0] * 1.003 + 2)).max() <= 1
    assert len(corrected) > 1290
    assert not corrected.sync_offsets.drift.any()
    assert np.abs(corrected.sync_offsets.frames).max() < 0.5


def test_select_frames_are_numbered_as_in_the_reference_video(tmp_path):
    long, _, _ = delayed(tmp_path)
    views = ("back", "front", "left")
    early = load_synchronized(long.cameras, None, tmp_path / "late.npz", views=views, correct=True)
    assert (early.frame_numbers[0], early.frame_numbers[-1]) == (4, 89)
    assert early.time_s[0] == pytest.approx(4 / RATE)
    selected = early.select_frames(10, 20)
    assert selected.table.tolist() == [[t + 4, t, t] for t in range(6, 16)]
    assert selected.title(0) == "frame 10, 0.33 s"
    assert early.positions(10, 20, "--validation") == (6, 16)
    with pytest.raises(InputError, match="--validation: expected START below STOP within 4 90, frames of back"):
        early.positions(3, 20, "--validation")


def test_synchronize_views_without_estimate_are_named(tmp_path):
    """The first view shows something else; the other views are synchronized."""
    long, found, points = delayed(tmp_path)
    points[:, 0, ..., :2] = np.random.default_rng(0).uniform(50, 150, points[:, 0, ..., :2].shape)
    Detections(found.view_names, points).save(tmp_path / "late.npz")
    recording = load_synchronized(long.cameras, None, tmp_path / "late.npz", correct=True)
    assert recording.notes == ("corrected sync offsets, frames: back +4", "no sync offset for front, left as recorded")


def test_synchronize_person_at_rest_is_refused(tmp_path):
    long, found, _ = delayed(tmp_path)
    Detections(found.view_names, np.repeat(found.points[:1], 90, 0)).save(tmp_path / "still.npz")
    with pytest.raises(InputError, match="no offset can be estimated: the person hardly moves"):
        load_synchronized(long.cameras, None, tmp_path / "still.npz", correct=True)


def test_synchronize_too_few_frames(files, tmp_path):
    found = load_detections(files.detections, files.rig.names)
    Detections(found.view_names, found.points[:2]).save(tmp_path / "short.npz")
    assert len(load_synchronized(files.cameras, None, tmp_path / "short.npz")) == 2
    with pytest.raises(InputError, match="--synchronize: expected at least 3 frames in a row, received 2"):
        load_synchronized(files.cameras, None, tmp_path / "short.npz", correct=True)


def test_with_detections_beyond_the_video_are_refused(files, tmp_path):
    found = load_detections(files.detections, files.rig.names)
    Detections(found.view_names, found.points, np.arange(1, 21)).save(tmp_path / "from_1.npz")
    text = "view front: expected detections of the video's frames 0 to 19, received frames 1 to 20; .*--first-frame"
    with pytest.raises(InputError, match=text):
        load_recording(files.cameras, files.videos, tmp_path / "from_1.npz")
    recording = associate(load_recording(files.cameras, files.videos, tmp_path / "from_1.npz", first_frame=1))
    expected = associate(load_recording(files.cameras, None, files.detections))
    np.testing.assert_array_equal(recording.points, expected.points)
    alone = load_recording(files.cameras, None, tmp_path / "from_1.npz")
    assert alone.notes == ("no detection in frame 0; set --first-frame 1 if the detector counts from 1",)


def test_with_detections_a_frame_more_than_the_video_is_left_out(files):
    recording = load_recording(files.cameras, files.videos)
    found = load_detections(files.detections, files.rig.names)
    for more in (1, 2):
        longer = Detections(found.view_names, np.concatenate([found.points, found.points[:more]]))
        cut = with_detections(recording, longer)
        assert len(cut) == 20
        assert cut.notes == (f"detections of {more} frame(s) after the end of a video are left out",)
    longer = Detections(found.view_names, np.concatenate([found.points, found.points[:3]]))
    with pytest.raises(InputError, match="received frames 0 to 22"):
        with_detections(recording, longer)


def test_load_recording_begins_at_the_first_number(files, tmp_path):
    found = load_detections(files.detections, files.rig.names)
    Detections(found.view_names, found.points, np.arange(500, 520)).save(tmp_path / "from_500.npz")
    recording = load_recording(files.cameras, None, tmp_path / "from_500.npz")
    assert recording.frame_numbers.tolist() == list(range(500, 520))
    assert recording.time_s[0] == pytest.approx(500 / RATE)
    Detections(found.view_names, found.points[:9], np.arange(11, 20)).save(tmp_path / "from_11.npz")
    recording = load_recording(files.cameras, files.videos, tmp_path / "from_11.npz")
    assert recording.frame_numbers.tolist() == list(range(11, 20))
    assert "detections begin at frame 11" in recording.notes


def test_load_recording_rows_only_for_numbers_that_occur(files, tmp_path):
    """COCO image ids as frame numbers, with gaps."""
    found = load_detections(files.detections, files.rig.names)
    numbers = 1_900_000 + np.append(np.arange(19), 900)
    Detections(found.view_names, found.points, numbers).save(tmp_path / "ids.npz")
    recording = synchronize(associate(load_recording(files.cameras, None, tmp_path / "ids.npz")))
    assert recording.frame_numbers.tolist() == numbers.tolist()
    np.testing.assert_allclose(recording.points, found.points[:, :, 0], atol=1e-4)
    assert len(recording.select_frames(1_900_010, 1_900_901)) == 10
    assert np.isfinite(recording.sync_offsets.frames).sum() >= 1
    assert recording.notes[-1].endswith("only the others are rows, and they are neither smoothed nor bridged")
    Detections(found.view_names, found.points, 10 * np.arange(20)).save(tmp_path / "ids.npz")
    steps = associate(load_recording(files.cameras, None, tmp_path / "ids.npz"))
    assert synchronize(steps).sync_offsets is None  # there is no motion from frame to frame
    with pytest.raises(InputError, match="at least 3 frames in a row"):
        synchronize(steps, correct=True)


def test_load_recording_match_names_videos_and_detections(files, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for number, name in enumerate(files.rig.names):
        (folder / f"GX0{number}.mp4").symlink_to(files.videos / f"{name}.mp4")
    with pytest.raises(InputError, match=r"--match front=GX00\.mp4"):
        load_recording(files.cameras, folder, files.detections)
    match = [f"{name}=GX0{number}.mp4" for number, name in enumerate(files.rig.names)]
    found = load_detections(files.detections, files.rig.names)
    Detections(tuple(f"GX0{number}" for number in range(4)), found.points).save(tmp_path / "found.npz")
    recording = load_recording(files.cameras, folder, tmp_path / "found.npz", match=match)
    assert [path.name for path in recording.videos.paths] == [f"GX0{number}.mp4" for number in range(4)]


def test_with_detections_empty_view_is_not_a_wrong_frame_number(files):
    shorter = replace(load_recording(files.cameras, files.videos), num_frames=np.array([20, 20, 20, 15]))
    found = load_detections(files.detections, files.rig.names)
    empty = found.points.copy()
    empty[:, 3] = np.nan
    recording = synchronize(associate(with_detections(shorter, Detections(found.view_names, empty))))
    assert recording.notes[-1] == "views that never see the person: right; the rest is estimated"
    poses = poses_of(recording)
    assert np.isfinite(poses.pose_world).all()
    assert check_cameras(recording).off == ()
    with pytest.raises(InputError, match="no frame of any view shows half"):
        synchronize(associate(with_detections(shorter, Detections(found.view_names, np.full_like(empty, np.nan)))))


def test_with_detections_may_end_before_the_videos(files, tmp_path):
    found = load_detections(files.detections, files.rig.names)
    Detections(found.view_names, found.points[:12]).save(tmp_path / "short.npz")
    recording = load_recording(files.cameras, files.videos, tmp_path / "short.npz")
    assert len(recording) == 12
    assert recording.notes == ("detections end after 12 frames, the videos after 20",)
    assert recording.select_frames(3, 7).table[:, 0].tolist() == [3, 4, 5, 6]
    for start, stop in ((12, 15), (10, 13), (5, 5)):
        with pytest.raises(InputError, match="--frames: expected START below STOP within 0 12, frames of front"):
            recording.select_frames(start, stop)


def test_frame_numbers_are_those_of_the_slowest_camera(files):
    rates = np.array([60.0, 30, 60, 30])
    table = frame_table(np.array([20, 10, 20, 10]), rates)
    mixed = replace(load_recording(files.cameras, files.videos), rates=rates, table=table)
    assert (mixed.reference, mixed.rate) == (1, 30.0)
    assert mixed.frame_numbers.tolist() == list(range(10))
    assert mixed.select_frames(4, 6).table.tolist() == [[8, 4, 8, 4], [10, 5, 10, 5]]


def test_with_detections_outside_the_calibrated_image_are_noted(files, tmp_path):
    path = tmp_path / "Calib.toml"
    first, rest = files.cameras.read_text().split("size = ", 1)
    path.write_text(f"{first}size = [200, 20] # {rest}")
    notes = load_recording(path, detections=files.detections).notes
    assert len(notes) == 1
    assert notes[0].startswith(f"view {files.rig.names[0]}: ")
    assert "of the detections are outside its calibrated image of 200 x 20 px" in notes[0]
    assert not load_recording(files.cameras, detections=files.detections).notes


def test_missing_inputs_are_refused(files):
    with pytest.raises(InputError, match="videos, detections or both"):
        load_recording(files.cameras)
    recording = load_recording(files.cameras, files.videos)
    with pytest.raises(InputError, match="no detections"):
        associate(recording)
