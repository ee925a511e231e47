from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.followed_person import People, coded_images
from cvf_tests.scenes import make_rig
from cvf_tests.walk import walking

from lib.core.own_cameras.person_tracking import PersonTracker
from lib.multiviews.cameras import Cameras
from lib.utils.joints import H36M_17
from lib.utils.transforms import transform_points

VIEWS = 4
FRAMES = 16
OTHER = np.array([900.0, 300.0, 0.0])  # the second person's place, mm from the first


@pytest.fixture
def cameras():
    return make_rig(VIEWS, np.random.default_rng(3))


@pytest.fixture
def pose_world():
    return walking(FRAMES, np.random.default_rng(4))


def follow(people: People, cameras: Cameras, first: int = 0):
    """Search in frame `first` and follow from there."""
    tracker = PersonTracker(people, people.detect, cameras)
    assert tracker.search(coded_images(first, VIEWS))
    return [tracker(coded_images(frame, VIEWS)) for frame in range(first, FRAMES)]


def test_person_tracker_crops_show_the_person(cameras, pose_world):
    people = People(pose_world[None], cameras)
    found = follow(people, cameras)
    assert all(one.is_located for one in found)
    locations = np.stack([one.locations for one in found])
    assert np.abs(locations[..., :2] - people.joints[0]).max() < 3
    for frame, matrices in enumerate(people.calls):
        joints = transform_points(people.joints[0, frame], matrices)  # crop px
        assert ((joints > 0) & (joints < 256)).all()
        np.testing.assert_allclose(joints[:, 0], 128, atol=12)
        up = joints[:, H36M_17.index("neck")] - joints[:, 0]
        assert (np.abs(up[:, 0]) < 0.2 * -up[:, 1]).all()


def test_person_tracker_turned_camera_gives_upright_crops(cameras, pose_world):
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    rotation = cameras.R.copy()
    rotation[1] = quarter @ rotation[1]
    turned = Cameras(rotation, cameras.T, cameras.f, cameras.c, cameras.k, cameras.p)
    people = People(pose_world[None], turned)
    assert all(one.is_located for one in follow(people, turned))
    joints = transform_points(people.joints[0, -1, 1], people.calls[-1][1])
    assert joints[H36M_17.index("neck"), 1] < joints[0, 1] - 40


def test_person_tracker_hidden_person_is_not_exchanged(cameras, pose_world):
    """In half of the views the other person hides this one for some frames."""
    people = People(np.stack([pose_world, pose_world + OTHER]), cameras)
    people.hidden[1, 0] = True  # alone when the search begins
    people.hidden[0, 5:11, :2] = True
    found = follow(people, cameras)
    assert all(one.is_located for one in found)
    for frame in (8, 15):
        error = np.linalg.norm(found[frame].locations[2:, :, :2] - people.joints[0, frame, 2:], axis=-1)
        assert error.max() < 3
    assert np.abs(found[15].locations[:2, :, :2] - people.joints[0, 15, :2]).max() < 3


def test_person_tracker_lost_person_is_searched_again(cameras, pose_world):
    away = pose_world.copy()
    away[14:] += [2500.0, 0, 0]  # too far to be followed
    people = People(away[None], cameras)
    people.hidden[0, 2:14] = True
    located = [one.is_located for one in follow(people, cameras)]
    assert located == [True] * 2 + [False] * 12 + [True] * 2


def test_person_tracker_search_without_people_finds_nobody(cameras, pose_world):
    people = People(pose_world[None], cameras)
    people.hidden[0, 0] = True
    tracker = PersonTracker(people, people.detect, cameras)
    assert not tracker.search(coded_images(0, VIEWS))
    people.hidden[0, 0, 2] = False  # one view does not place a person
    assert not tracker.search(coded_images(0, VIEWS))
