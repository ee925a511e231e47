"""Names of recordings, and the parts that results are split into."""

from __future__ import annotations

import numpy as np

from lib.dataset.protocol import ACTION_NAMES, HUMAN36M, action_name
from lib.dataset.totalcapture import PROTOCOL

# Walking 2 of S1 and S5, Freestyle 3 of S4, Walking 1 of S2, of which there is no part
SUBJECTS, ACTIONS, SUBACTIONS = np.array([1, 5, 4, 2]), np.array([2, 2, 5, 2]), np.array([2, 2, 3, 1])


def test_listed_actions_and_parts_human36m():
    assert HUMAN36M.listed_actions(ACTIONS, SUBACTIONS) is ACTIONS
    assert HUMAN36M.parts(SUBJECTS, ACTIONS, SUBACTIONS) == {}
    assert HUMAN36M.recording_name(14, 1) == "Walking 1"
    assert HUMAN36M.recording_name(1, 2) == "action 1 2"


def test_listed_actions_total_capture():
    names = PROTOCOL.listed_actions(ACTIONS, SUBACTIONS)
    assert names.tolist() == ["Walking 2", "Walking 2", "Freestyle 3", "Walking 1"]


def test_parts_total_capture():
    parts = PROTOCOL.parts(SUBJECTS, ACTIONS, SUBACTIONS)
    frames = {
        (row, column): np.flatnonzero(chosen).tolist()
        for row, columns in parts.items()
        for column, chosen in columns.items()
    }
    assert list(parts) == ["W2", "FS3", "A3", "all"]
    assert frames == {
        ("W2", "seen subjects"): [0],
        ("W2", "unseen subjects"): [1],
        ("W2", "all subjects"): [0, 1],
        ("FS3", "seen subjects"): [],
        ("FS3", "unseen subjects"): [2],
        ("FS3", "all subjects"): [2],
        ("A3", "seen subjects"): [],
        ("A3", "unseen subjects"): [],
        ("A3", "all subjects"): [],
        ("all", "seen subjects"): [0, 3],
        ("all", "unseen subjects"): [1, 2],
        ("all", "all subjects"): [0, 1, 2, 3],
    }


def test_action_name_equals_data_set():
    assert len(ACTION_NAMES) == 15
    assert (ACTION_NAMES[7], ACTION_NAMES[12], ACTION_NAMES[14]) == ("Posing", "TakingPhoto", "Walking")
    assert action_name(np.int32(2)) == "Directions"
    assert action_name(1) == "action 1"
