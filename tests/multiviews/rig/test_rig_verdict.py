from __future__ import annotations

from dataclasses import replace

import numpy as np
from cvf_tests.scenes import FLIP_PAIRS
from cvf_tests.walk import BODY
from cvf_tests.wrong_rig import SIDE, bumped, filmed_walk

from lib.multiviews.rig.rig_verdict import NOT_TRUSTED, REFINED, RIGHT, judge_rig

NAMES = ("a", "b", "c")
WH = np.full((3, 2), SIDE)


def judged(points, cameras):
    return judge_rig(points, cameras, WH, NAMES, BODY, FLIP_PAIRS)


def test_judge_rig_leaves_a_right_rig():
    walk = filmed_walk(num_frames=150)
    verdict = judged(walk.points, walk.state.cameras)
    assert verdict.kind == RIGHT, verdict.reasons
    assert verdict.notes == ()


def test_judge_rig_names_the_bumped_camera():
    walk = filmed_walk(num_frames=150, offsets=(0.0, 0.0, 2.0))
    verdict = judged(walk.points, bumped(walk.state.cameras, 1))
    assert verdict.kind == REFINED, verdict.reasons
    assert any(note.startswith("b moved") for note in verdict.notes)
    assert any(note.startswith(("c: late by +2.", "c: late by +1.9")) for note in verdict.notes)


def test_judge_rig_names_a_wrong_principal_point():
    walk = filmed_walk(num_frames=150)
    cameras = walk.state.cameras
    c = cameras.c.copy()
    c[2] += 80.0
    verdict = judged(walk.points, replace(cameras, c=c))
    assert verdict.kind == NOT_TRUSTED
    assert any(reason.startswith("c: the principal point") for reason in verdict.reasons), verdict.reasons


def test_judge_rig_refuses_a_person_who_hardly_moves():
    walk = filmed_walk(num_frames=8)
    verdict = judged(walk.points, bumped(walk.state.cameras, 1))
    assert verdict.kind == NOT_TRUSTED
    assert "do not determine" in verdict.reasons[0]
    assert "the person must walk through the volume" in verdict.notes[-1]
