from __future__ import annotations

import argparse
import sys
from dataclasses import replace

import numpy as np
import pytest
from cvf_tests.own_recording import RATE, SWAPPED, WRONG, make_recording

from lib.core.own_cameras import recording as capture_module
from lib.core.own_cameras.arguments import add_recording, read_recording
from lib.core.own_cameras.fit_tables import pose_statistics, require_poses, warn
from lib.core.own_cameras.recording import detect, load_capture, with_detections
from lib.dataset.own_cameras.detections import Detections, load_detections
from lib.dataset.own_cameras.videos import frame_table
from lib.multiviews.body import H36M_BODY
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17

LIMBS = {name: {"mean": 400.0} for name in H36M_BODY.limb_names}


def test_five_lines_give_the_poses(recording):
    capture = load_capture(recording.cameras, recording.videos, recording.detections)
    poses = capture.poses()
    assert (len(capture), capture.rate, capture.rig.names) == (20, RATE, ("front", "left", "back", "right"))
    assert np.median(np.linalg.norm(poses.pose_world - recording.pose_world, axis=-1)) < 10
    assert np.argwhere(poses.exchanged.all(-1)).tolist() == [[frame, 1] for frame in range(20)[SWAPPED]]
    assert poses.rejected[WRONG]
    assert capture.check().off == ()


@pytest.mark.parametrize("names", [("front", "left"), ("right", "front", "left")])
def test_some_views(recording, names):
    capture = load_capture(recording.cameras, recording.videos, recording.detections, views=names)
    error = np.linalg.norm(capture.poses().pose_world - recording.pose_world, axis=-1)
    assert capture.rig.names == names
    assert np.median(error) < 12


def test_a_camera_that_was_moved_is_named(recording, tmp_path):
    text = recording.cameras.read_text()
    line = next(line for line in text.split("[back]")[1].splitlines() if line.startswith("translation"))
    x, *rest = (float(value) for value in line.split("[")[1].rstrip("]").split(","))
    moved = tmp_path / "moved.toml"
    moved.write_text(text.replace(line, f"translation = {[x + 0.3, *rest]}"))
    for names, expected in (
        (("front", "left", "back", "right"), (2,)),
        (("front", "back", "left"), (1,)),
        (("front", "back"), None),
    ):
        check = load_capture(moved, None, recording.detections, views=names).check()
        assert check.off == expected
    assert check.pairs[0, 1] > 0.03


def test_views_that_are_late_are_put_right_when_asked(recording, tmp_path):
    long = make_recording(tmp_path, num_frames=90)
    found = load_detections(long.detections, long.rig.names)
    points = found.points.copy()
    points[4:, 2] = found.points[:-4, 2]  # shows at t + 4 what happens at t
    points[:4, 2] = found.points[0, 2]
    Detections(found.view_names, points).save(tmp_path / "late.npz")
    capture = load_capture(long.cameras, None, tmp_path / "late.npz")
    assert capture.offsets.frames[2] == pytest.approx(4, abs=0.5)
    assert len(capture) == 90
    right = load_capture(long.cameras, None, tmp_path / "late.npz", synchronise=True)
    assert right.table.tolist() == [[t, t, t + 4, t] for t in range(86)]
    np.testing.assert_array_equal(right.points[:, 2], found.points[:86, 2, 0])
    assert right.notes == ("corrected, frames late: back +4",)
    assert np.abs(right.offsets.frames).max() < 0.5  # what is left
    early = load_capture(long.cameras, None, tmp_path / "late.npz", views=("back", "front", "left"), synchronise=True)
    assert (early.frame_numbers[0], early.frame_numbers[-1]) == (4, 89)  # as in the video of the first camera
    assert early.time_s[0] == pytest.approx(4 / RATE)
    some = early.frames(10, 20)
    assert some.table.tolist() == [[t + 4, t, t] for t in range(6, 16)]
    assert some.title(0) == "frame 10, 0.33 s"
    assert early.positions(10, 20, "--validation") == (6, 16)
    with pytest.raises(InputError, match="--validation: expected START below STOP within 4 90, frames of back"):
        early.positions(3, 20, "--validation")


def test_views_whose_offset_nobody_knows_are_named(tmp_path):
    """The first view shows something else: the others are put in time all the same."""
    long = make_recording(tmp_path, num_frames=90)
    found = load_detections(long.detections, long.rig.names)
    points = found.points.copy()
    points[4:, 2] = found.points[:-4, 2]
    points[:, 0, ..., :2] = np.random.default_rng(0).uniform(50, 150, points[:, 0, ..., :2].shape)
    Detections(found.view_names, points).save(tmp_path / "late.npz")
    capture = load_capture(long.cameras, None, tmp_path / "late.npz", synchronise=True)
    assert capture.notes == (
        "corrected, frames late: back +4",
        "no offset can be estimated for front, left as recorded",
    )
    still = Detections(found.view_names, np.repeat(found.points[:1], 90, 0))
    still.save(tmp_path / "still.npz")
    with pytest.raises(InputError, match="no offset can be estimated: the person hardly moves"):
        load_capture(long.cameras, None, tmp_path / "still.npz", synchronise=True)


def test_what_the_detector_sees_is_synchronised_too(tmp_path, monkeypatch):
    long = make_recording(tmp_path, num_frames=90)
    found = load_detections(long.detections, long.rig.names)
    points = found.points.copy()
    points[4:, 2], points[:4, 2] = found.points[:-4, 2], found.points[0, 2]
    monkeypatch.setattr(capture_module, "detect_people", lambda videos, names, _: Detections(names, points))
    parser = argparse.ArgumentParser()
    add_recording(parser)
    args = parser.parse_args([*long.flags()[:4], "--synchronise", "--frames", "10", "60"])
    capture, _ = read_recording(args, look=True)
    assert capture.table.tolist() == [[t, t, t + 4, t] for t in range(10, 60)]
    with pytest.raises(InputError, match="--synchronise estimates offsets from detections"):
        read_recording(args)


def test_detections_of_frames_that_the_videos_do_not_have(recording, tmp_path):
    found = load_detections(recording.detections, recording.rig.names)
    late = np.concatenate([np.full_like(found.points[:1], np.nan), found.points])  # counted from 1
    Detections(found.view_names, late).save(tmp_path / "from_1.npz")
    text = "view front: detections of frames 1 to 20, but the video has frames 0 to 19; .*--first-frame"
    with pytest.raises(InputError, match=text):
        load_capture(recording.cameras, recording.videos, tmp_path / "from_1.npz")
    capture = load_capture(recording.cameras, recording.videos, tmp_path / "from_1.npz", first_frame=1)
    np.testing.assert_array_equal(capture.points, load_capture(recording.cameras, None, recording.detections).points)
    whole = load_capture(recording.cameras, recording.videos)
    shorter = replace(whole, num_frames=np.array([20, 20, 20, 15]))
    empty = found.points.copy()
    empty[:, 3] = np.nan  # the detector saw nobody there: no frame is wrong
    with pytest.raises(InputError, match="view right: no frame shows half"):
        with_detections(shorter, Detections(found.view_names, empty))
    alone = load_capture(recording.cameras, None, tmp_path / "from_1.npz")
    assert alone.notes == ("nobody is seen in frame 0; if the detector counts from 1, say --first-frame 1",)


def test_detections_without_hips(recording, tmp_path):
    found = load_detections(recording.detections, recording.rig.names)
    hidden = found.points.copy()
    hidden[..., H36M_17.indices(["root", "belly", "rhip", "lhip"]), :] = np.nan
    Detections(found.view_names, hidden).save(tmp_path / "no_hips.npz")
    capture = load_capture(recording.cameras, None, tmp_path / "no_hips.npz")
    poses = capture.poses()
    assert np.linalg.norm(poses.places - recording.pose_world[:, 0], axis=-1).max() < 400  # the box is of 2 m
    statistics = pose_statistics(poses, capture)
    assert np.isnan(statistics["limbs"]["rhip-rkne"]["mean"])
    assert warn(statistics, capture.check(), capture.rig.names) == []


def test_detections_may_end_before_the_videos(recording, tmp_path):
    found = load_detections(recording.detections, recording.rig.names)
    Detections(found.view_names, found.points[:12]).save(tmp_path / "short.npz")
    capture = load_capture(recording.cameras, recording.videos, tmp_path / "short.npz")
    assert len(capture) == 12
    assert capture.notes == ("detections end after 12 frames, the videos after 20",)
    assert capture.frames(3, 7).table[:, 0].tolist() == [3, 4, 5, 6]
    for start, stop in ((12, 15), (10, 13), (5, 5)):
        with pytest.raises(InputError, match="--frames: expected START below STOP within 0 12, frames of front"):
            capture.frames(start, stop)


def test_the_slowest_camera_numbers_the_instants(recording):
    whole = load_capture(recording.cameras, recording.videos)
    rates = np.array([60.0, 30, 60, 30])
    mixed = replace(whole, rates=rates, table=frame_table(np.array([20, 10, 20, 10]), rates))
    assert (mixed.reference, mixed.rate) == (1, 30.0)
    assert mixed.frame_numbers.tolist() == list(range(10))
    assert mixed.frames(4, 6).table.tolist() == [[8, 4, 8, 4], [10, 5, 10, 5]]


def test_nothing_to_look_at(recording, monkeypatch):
    with pytest.raises(InputError, match="videos, detections or both"):
        load_capture(recording.cameras)
    capture = load_capture(recording.cameras, recording.videos)
    with pytest.raises(InputError, match="no detections"):
        capture.poses()
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(InputError, match="pip install mediapipe"):
        detect(capture)


def test_what_is_wrong_is_warned_of(recording):
    capture = load_capture(recording.cameras, None, recording.detections)
    statistics = pose_statistics(capture.poses(), capture)
    assert warn(statistics, capture.check(), capture.rig.names) == []
    small = {name: {"mean": 150.0} for name in LIMBS}
    (text,) = warn({**statistics, "limbs": small}, capture.check(), capture.rig.names)
    assert "legs are 300 mm long: a child, or the scale of the calibration is wrong" in text
    (text,) = warn({**statistics, "kept_share": 0.2, "limbs": LIMBS}, capture.check(), capture.rig.names)
    assert "20 % of the joints" in text


@pytest.mark.parametrize(
    ("factor", "unit", "message"),
    [
        (1000, "m", "--unit m: the cameras would stand .* m apart at most; --unit mm fits"),
        (1, "mm", "--unit mm: the cameras would stand 0.0.* m apart at most; --unit m fits"),
        (100, "m", "--unit m: the person's legs would be .* m long; --unit cm fits"),
        (100, "mm", "--unit mm: the person's legs would be .* m long; --unit cm fits"),
    ],
)
def test_the_unit_that_fits_is_named(recording, tmp_path, factor, unit, message):
    tables = [line.split(" = ") for line in recording.cameras.read_text().splitlines()]
    lines = [
        f"translation = {[factor * float(value) for value in words[1].strip('[]').split(',')]}"
        if words[0] == "translation"
        else " = ".join(words)
        for words in tables
    ]
    (tmp_path / "Calib.toml").write_text("\n".join(lines))
    legless = load_detections(recording.detections, recording.rig.names).points.copy()
    legless[..., H36M_17.indices(["rkne", "lkne", "rank", "lank"]), :] = np.nan
    Detections(recording.rig.names, legless).save(tmp_path / "legless.npz")

    def judge(detections):
        capture = load_capture(tmp_path / "Calib.toml", None, detections, unit=unit)
        require_poses(capture.poses(), capture.check(), capture.rig)

    for detections in (recording.detections, tmp_path / "legless.npz"):
        with pytest.raises(InputError, match=message):
            judge(detections)


def test_too_few_frames_to_synchronise(recording, tmp_path):
    found = load_detections(recording.detections, recording.rig.names)
    Detections(found.view_names, found.points[:2]).save(tmp_path / "short.npz")
    assert len(load_capture(recording.cameras, None, tmp_path / "short.npz")) == 2
    with pytest.raises(InputError, match="--synchronise: 2 frames are too few"):
        load_capture(recording.cameras, None, tmp_path / "short.npz", synchronise=True)
