"""How the recordings of a data set are named, and by which of them its results are listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

ALL = "all"  # the row of all sequences
# Human3.6M, as its own metadata names them; the released code's list is shifted from 7 on and gives per-action results
# wrong names.
ACTION_NAMES = {
    2: "Directions",
    3: "Discussion",
    4: "Eating",
    5: "Greeting",
    6: "Phoning",
    7: "Posing",
    8: "Purchases",
    9: "Sitting",
    10: "SittingDown",
    11: "Smoking",
    12: "TakingPhoto",
    13: "Waiting",
    14: "Walking",
    15: "WalkingDog",
    16: "WalkingTogether",
}
TOTALCAPTURE_ACTIONS = {1: "ROM", 2: "Walking", 3: "Acting", 4: "Running", 5: "Freestyle"}


# sequence, or ALL -> subjects -> (F,) bool, which frames
Parts = Mapping[str, Mapping[str, np.ndarray]]


def action_name(action: int, names: Mapping[int, str] = ACTION_NAMES) -> str:
    """Return the name of an action id, or the id itself where it has none."""
    return names.get(int(action), f"action {int(action)}")


@dataclass(frozen=True)
class EvaluationProtocol:
    """Names of a data set's recordings, and what its results are split into.

    Attributes:
        action_names: id -> name.
        sequences: name -> (action, sub-action) of the recordings that are evaluated one by one; {} = results are
            listed by action and not split.
        seen_subjects: subjects of the training set, whose results stand apart from those of the others.
    """

    action_names: Mapping[int, str]
    sequences: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    seen_subjects: tuple[int, ...] = ()

    def recording_name(self, action: int, subaction: int) -> str:
        """Return the name of a recording, e.g. "Walking 2"."""
        return f"{action_name(action, self.action_names)} {int(subaction)}"

    def listed_actions(self, actions: np.ndarray, subactions: np.ndarray) -> np.ndarray:
        """Return what per-action results list frames under.

        Args:
            actions, subactions: (F,) ids.

        Returns:
            (F,) names of recordings where they are evaluated one by one, otherwise the ids of the actions.
        """
        if not self.sequences:
            return actions
        return np.array([self.recording_name(*ids) for ids in zip(actions, subactions, strict=True)])

    def parts(self, subjects: np.ndarray, actions: np.ndarray, subactions: np.ndarray) -> Parts:
        """Split frames by sequence, and each sequence by whether its subject was trained on.

        Args:
            subjects, actions, subactions: (F,) ids.

        Returns:
            Which frames: the sequences and ALL, each for seen, unseen and all subjects; {} where nothing is split.
        """
        if not self.sequences:
            return {}
        everything = np.ones(len(subjects), bool)
        seen = np.isin(subjects, self.seen_subjects)
        columns = {"seen subjects": seen, "unseen subjects": ~seen, "all subjects": everything}
        rows = {name: (actions == ids[0]) & (subactions == ids[1]) for name, ids in self.sequences.items()}
        return {
            row: {column: inside & who for column, who in columns.items()}
            for row, inside in {**rows, ALL: everything}.items()
        }


HUMAN36M = EvaluationProtocol(ACTION_NAMES)
