"""Every action is plausible motion: constant bones, smooth, within limits, on the floor, and what its name says."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from lib.dataset.protocol import ACTION_NAMES
from lib.dataset.synthetic.motion.actions import ACTIONS, perform_action
from lib.dataset.synthetic.motion.locomotion import FREE_RADIUS_MM
from lib.dataset.synthetic.motion.motion_builder import Act
from lib.dataset.synthetic.person import make_subject
from lib.utils.joints import H36M_17

RATE = 50.0
LIMBS = [
    ("root", "rhip"),
    ("rhip", "rkne"),
    ("rkne", "rank"),
    ("root", "lhip"),
    ("lhip", "lkne"),
    ("lkne", "lank"),
    ("root", "belly"),
    ("belly", "neck"),
    ("neck", "nose"),
    ("nose", "head"),
    ("neck", "lsho"),
    ("lsho", "lelb"),
    ("lelb", "lwri"),
    ("neck", "rsho"),
    ("rsho", "relb"),
    ("relb", "rwri"),
]
RECORDINGS = [(action, subaction) for action in ACTIONS for subaction in (1, 2)]


@functools.cache
def _act(action: int, subaction: int, subject: int = 1, seconds: float = 24.0) -> Act:
    times = np.arange(0, seconds, 1 / RATE)
    return perform_action(action, subaction, make_subject(subject, 0).shape, np.random.default_rng(action), times)


def _lengths(act: Act) -> np.ndarray:
    return np.stack([np.linalg.norm(act.pose.joint(a) - act.pose.joint(b), axis=1) for a, b in LIMBS], 1)


def _hinge_deg(act: Act, *names: str) -> np.ndarray:
    first, middle, last = (act.pose.joint(name) for name in names)
    a, b = first - middle, last - middle
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


@pytest.mark.parametrize("recording", RECORDINGS)
def test_perform_action_constant_bones_and_smooth_motion(recording):
    act = _act(*recording)
    lengths = _lengths(act)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), atol=1e-6)
    joints = act.pose.joints
    assert np.isfinite(joints).all()
    speed = np.linalg.norm(np.diff(joints, axis=0), axis=-1) * RATE
    acceleration = np.linalg.norm(np.diff(joints, 2, axis=0), axis=-1) * RATE**2
    assert speed.max() < 9_000  # mm/s; a fast hand
    assert acceleration.max() < 260_000  # mm/s2; a jump of 100 mm between frames would be 250 000 twice


@pytest.mark.parametrize("recording", RECORDINGS)
def test_perform_action_stays_on_the_floor_and_within_joint_limits(recording):
    act = _act(*recording)
    joints = act.pose.joints
    assert np.linalg.norm(joints[:, 0, :2], axis=1).max() < FREE_RADIUS_MM + 250
    assert joints[..., 2].min() > 20
    ankles = np.minimum(act.pose.joint("rank")[:, 2], act.pose.joint("lank")[:, 2])
    assert ankles.max() < 260  # one foot is always near the floor
    for side in "rl":
        for limb in (("hip", "kne", "ank"), ("sho", "elb", "wri")):
            assert _hinge_deg(act, *(side + part for part in limb)).min() > 25


@pytest.mark.parametrize("recording", RECORDINGS)
def test_perform_action_knees_bend_forward(recording):
    pose = _act(*recording).pose
    for side in "rl":
        hip, knee, ankle = (pose.joint(side + part) for part in ("hip", "kne", "ank"))
        bend = np.einsum("fi,fi->f", knee - 0.5 * (hip + ankle), pose.pelvis[..., 0] + 0.6 * np.array([0, 0, 1.0]))
        assert bend.min() > -25


def test_perform_action_limb_lengths_differ_between_subjects():
    first = _lengths(_act(2, 1))[0]
    second = _lengths(_act(2, 1, subject=8))[0]
    assert np.abs(first - second).max() > 20


def test_perform_action_frames_are_independent_of_other_frames():
    shape = make_subject(1, 0).shape
    for action in ACTIONS:
        whole = perform_action(action, 1, shape, np.random.default_rng(7), np.arange(0, 10, 0.5))
        some = perform_action(action, 1, shape, np.random.default_rng(7), np.array([1.5, 8.0]))
        np.testing.assert_allclose(some.pose.joints, whole.pose.joints[[3, 16]], atol=1e-6)


def _distance(act: Act, wrist: str, joint: str) -> np.ndarray:
    return np.linalg.norm(act.pose.joint(wrist) - act.pose.joint(joint), axis=1)


def test_perform_action_matches_the_name_of_the_action():
    names = {name: action for action, name in ACTION_NAMES.items()}
    height = {name: _act(action, 1).pose.joints[:, 0, 2] for name, action in names.items()}
    path = {name: np.ptp(_act(action, 1).pose.joints[:, 0, :2], axis=0).max() for name, action in names.items()}
    assert height["Sitting"].max() < 650 < height["Directions"].min()
    assert height["SittingDown"].min() < 650
    assert height["SittingDown"].max() > 800
    assert _act(names["SittingDown"], 2).pose.joints[:, 0, 2].min() < 250  # on the floor
    assert path["Walking"] > 1200 > path["Eating"]
    for name, joint, near in (("Eating", "nose", 220), ("Smoking", "nose", 220), ("Phoning", "head", 320)):
        act = _act(names[name], 1)
        nearest = np.minimum(_distance(act, "rwri", joint), _distance(act, "lwri", joint))
        assert nearest.min() < near
    photo = _act(names["TakingPhoto"], 1)
    both = np.maximum(_distance(photo, "rwri", "nose"), _distance(photo, "lwri", "nose"))
    assert np.median(both) < 400
    greeting = _act(names["Greeting"], 1).pose
    assert (greeting.joints[:, H36M_17.indices(["rwri", "lwri"]), 2].max(1) > greeting.joint("neck")[:, 2]).mean() > 0.2


def test_perform_action_walking_feet_do_not_slide():
    pose = _act(14, 1).pose
    for side in "rl":
        ankle = pose.joint(side + "ank")
        flat = np.flatnonzero(ankle[:, 2] < make_subject(1, 0).shape.ankle_height + 1)
        runs = np.split(flat, np.flatnonzero(np.diff(flat) > 1) + 1)
        slips = [np.linalg.norm(np.ptp(ankle[run, :2], axis=0)) for run in runs if len(run) > 5]
        assert len(slips) > 5
        assert max(slips) < 15
