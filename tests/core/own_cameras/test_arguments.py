from __future__ import annotations

import argparse

import pytest
from cvf_tests.own_recording import make_recording

from lib.core.own_cameras.arguments import add_recording, load, select_frames
from lib.core.own_cameras.recording import associate, synchronize
from lib.dataset.own_cameras.detections import Detections, load_detections
from lib.utils.errors import InputError


def test_add_recording_former_spelling_is_accepted():
    parser = argparse.ArgumentParser()
    add_recording(parser)
    for words, expected in ((["--synchronise"], True), ([], False)):
        assert parser.parse_args(["--videos", "a", "--cameras", "b", *words]).synchronize is expected


def test_load_detections_are_synchronized(tmp_path):
    long = make_recording(tmp_path, num_frames=90)
    found = load_detections(long.detections, long.rig.names)
    points = found.points.copy()
    points[4:, 2] = found.points[:-4, 2]
    points[:4, 2] = found.points[0, 2]
    Detections(found.view_names, points).save(long.detections)
    parser = argparse.ArgumentParser()
    add_recording(parser)
    args = parser.parse_args([*long.flags(), "--synchronize", "--frames", "10", "60"])
    recording = select_frames(synchronize(associate(load(args)), args.synchronize), args)
    assert recording.table.tolist() == [[t, t, t + 4, t] for t in range(10, 60)]


def test_load_invalid_frames_are_refused_before_a_network_runs(files):
    parser = argparse.ArgumentParser()
    add_recording(parser)
    with pytest.raises(InputError, match="--frames: expected START below STOP within 0 20"):
        load(parser.parse_args([*files.flags()[:4], "--frames", "30", "40"]))
