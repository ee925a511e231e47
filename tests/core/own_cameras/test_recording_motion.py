from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.film import draw, texture
from cvf_tests.own_recording import SIDE, load_synchronized, make_recording

from lib.core.own_cameras import recording_motion
from lib.core.own_cameras.recording_motion import check_recording_motion
from lib.multiviews.cameras import project


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    files = make_recording(tmp_path_factory.mktemp("film"), num_frames=30)
    return load_synchronized(files.cameras, files.videos, files.detections), files


@pytest.fixture(scope="module")
def frames(recording):
    """Images (30, 4) that can be tracked: textured patches follow the joints in front of textured rooms."""
    rng = np.random.default_rng(2)
    _, files = recording
    joints, _ = project(files.pose_world[:, None], files.rig.over_frames(30))
    patches = np.stack([texture(rng, 13, 1.2) for _ in range(17)])
    rooms = [texture(rng, SIDE, 3.0) for _ in range(4)]
    return [[draw(rooms[view], patches, joints[frame, view]) for view in range(4)] for frame in range(30)]


@pytest.fixture
def findings(recording, frames, monkeypatch):
    """findings(change): errors and warnings if `change` is applied to the images of each frame."""

    def check(change):
        shown = [change(list(views)) for views in frames]
        monkeypatch.setattr(recording_motion, "read_frames", lambda videos, table: (shown[row[0]] for row in table))
        section = check_recording_motion(recording[0], recording[1].pose_world)
        assert section.unjudged == []
        return [finding.text for finding in section.findings]

    return check


def test_check_recording_motion_joints_on_the_person(findings):
    assert findings(lambda views: views) == []


def test_check_recording_motion_turned_view_is_named(findings):
    turned = findings(lambda views: [*views[:2], np.ascontiguousarray(views[2][::-1, ::-1]), views[3]])
    assert turned == ["back: its images are turned against the labels by 180 degrees"]


def test_check_recording_motion_exchanged_views_are_named(findings):
    assert findings(lambda views: [views[1], views[0], *views[2:]]) == [
        "front: the images of left fit its labels: the cameras' images were swapped",
        "left: the images of front fit its labels: the cameras' images were swapped",
    ]


def test_check_recording_motion_few_frames_are_not_judged(recording):
    short = recording[0].select_frames(0, 5)
    assert check_recording_motion(short, recording[1].pose_world[:5]).unjudged
