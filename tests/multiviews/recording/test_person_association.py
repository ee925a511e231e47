from __future__ import annotations

import numpy as np
from cvf_tests.scenes import FLIP_PAIRS
from cvf_tests.walk import film, swapped, walking

from lib.multiviews.keypoints.triangulate import triangulate
from lib.multiviews.recording import person_association
from lib.multiviews.recording.person_association import choose_person
from lib.multiviews.recording.robust_poses import person_sizes


def test_choose_person_visible_in_all_views_is_chosen():
    """One person in all views, one in two views only, and noise, in random slots."""
    rng = np.random.default_rng(4)
    one = walking(12, rng)
    two = walking(12, rng) + [1500, -1200, 0]
    (first, cameras), (second, _) = (film(pose, 4, np.random.default_rng(5)) for pose in (one, two))
    second[:, 2:] = np.nan
    ghost = first[:, :, ::-1] * [0.9, 1.1, 1] + rng.normal(0, 40, first.shape)
    first[4:8, 1] = swapped(first[4:8, 1])  # must have no effect
    first[9, 0] = np.nan  # missed once
    people = np.stack([first, second, ghost], 2)[..., :2]
    order = rng.permuted(np.tile([0, 1, 2], (12, 4, 1)), axis=-1)
    people = np.take_along_axis(people, order[..., None, None], 2)
    chosen = choose_person(people, cameras, person_sizes(people), FLIP_PAIRS)
    expected = (order == 0).argmax(-1)
    expected[9, 0] = -1
    np.testing.assert_array_equal(chosen, expected)


def test_choose_person_triangulates_once_per_frame(monkeypatch):
    calls = []
    monkeypatch.setattr(person_association, "triangulate", lambda *args: calls.append(0) or triangulate(*args))
    rng = np.random.default_rng(6)
    (first, cameras), (second, _) = (film(walking(3, rng) + place, 4, rng) for place in ([0, 0, 0], [1500, -1200, 0]))
    points = np.stack([first, second], 2)[..., :2]
    assert (choose_person(points, cameras, person_sizes(points), FLIP_PAIRS) >= 0).all()
    assert len(calls) == 3


def test_choose_person_motion_decides_between_equal_people():
    """Two people in several views; in one frame two views miss the person of the other frames."""
    rng = np.random.default_rng(6)
    one = walking(10, rng)
    two = walking(10, rng) + [1500, -1200, 0]
    (first, cameras), (second, _) = (film(pose, 4, np.random.default_rng(5)) for pose in (one, two))
    second[:, 3] = np.nan
    first[5, 2:] = np.nan
    people = np.stack([second, first], 2)[..., :2]
    chosen = choose_person(people, cameras, person_sizes(people), FLIP_PAIRS)
    expected = np.ones((10, 4), int)
    expected[5, 2:] = -1
    np.testing.assert_array_equal(chosen, expected)


def test_choose_person_single_person():
    pose = walking(3, np.random.default_rng(0))
    points, cameras = film(pose, 2, np.random.default_rng(0))
    points[1, 0] = np.nan
    people = points[:, :, None, :, :2]
    assert choose_person(people, cameras, person_sizes(people)).tolist() == [[0, 0], [-1, 0], [0, 0]]
    assert choose_person(np.repeat(people * np.nan, 2, 2), cameras, np.full((3, 2, 2), np.nan)).max() == -1
