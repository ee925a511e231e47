from __future__ import annotations

import argparse

import pytest
from cvf_tests.own_recording import make_recording

from lib.core.own_cameras import recording as recording_module
from lib.core.own_cameras.arguments import add_recording, load, select_frames
from lib.core.own_cameras.recording import associate, synchronize
from lib.dataset.own_cameras.detections import Detections, load_detections
from lib.utils.errors import InputError


def test_add_recording_former_spelling_is_accepted():
    parser = argparse.ArgumentParser()
    add_recording(parser)
    for words, expected in ((["--synchronise"], True), ([], False)):
        assert parser.parse_args(["--videos", "a", "--cameras", "b", *words]).synchronize is expected


def test_load_detector_result_is_synchronized(tmp_path, monkeypatch):
    long = make_recording(tmp_path, num_frames=90)
    found = load_detections(long.detections, long.rig.names)
    points = found.points.copy()
    points[4:, 2] = found.points[:-4, 2]
    points[:4, 2] = found.points[0, 2]
    monkeypatch.setattr(recording_module, "detect_people", lambda videos, names, _: Detections(names, points))
    parser = argparse.ArgumentParser()
    add_recording(parser)
    args = parser.parse_args([*long.flags()[:4], "--synchronize", "--frames", "10", "60"])
    recording = select_frames(synchronize(associate(load(args, detector=True)), args.synchronize), args)
    assert recording.table.tolist() == [[t, t, t + 4, t] for t in range(10, 60)]
    with pytest.raises(InputError, match="--synchronize estimates offsets from detections"):
        load(args)


def test_load_invalid_frames_are_refused_before_the_detector(files, monkeypatch):
    monkeypatch.setattr(recording_module, "detect_people", lambda *_: pytest.fail("the detector ran"))
    parser = argparse.ArgumentParser()
    add_recording(parser)
    with pytest.raises(InputError, match="--frames: expected START below STOP within 0 20"):
        load(parser.parse_args([*files.flags()[:4], "--frames", "30", "40"]), detector=True)
