"""Actions of the data sets, and evaluation protocols: how results are listed and split."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

ALL = "all"  # row of all sequences
# Action names of Human3.6M's metadata. The original code's list is shifted from 7 on, so its per-action results have
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
# sequence, or ALL -> subjects -> (F,) bool mask of frames
Parts = Mapping[str, Mapping[str, np.ndarray]]


def action_name(action: int, names: Mapping[int, str] = ACTION_NAMES) -> str:
    """Return the name of an action, or "action <id>" if it has none."""
    return names.get(int(action), f"action {int(action)}")


@dataclass(frozen=True)
class EvaluationProtocol:
    """Names of a data set's recordings, and the split of its results.

    Attributes:
        action_names: id -> name.
        sequences: name -> (action, subaction) of recordings that are evaluated separately. If empty, results are listed
            by action and not split.
        seen_subjects: subjects of the training set; their results are listed separately.
    """

    action_names: Mapping[int, str]
    sequences: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    seen_subjects: tuple[int, ...] = ()

    def recording_name(self, action: int, subaction: int) -> str:
        """Return the name of a recording, e.g. "Walking 2"."""
        return f"{action_name(action, self.action_names)} {int(subaction)}"

    def listed_actions(self, actions: np.ndarray, subactions: np.ndarray) -> np.ndarray:
        """Return what per-action results list frames (F,) under: action ids, or names of recordings."""
        if not self.sequences:
            return actions
        return np.array([self.recording_name(*ids) for ids in zip(actions, subactions, strict=True)])

    def parts(self, subjects: np.ndarray, actions: np.ndarray, subactions: np.ndarray) -> Parts:
        """Split frames (F,) by sequence, and by seen, unseen and all subjects; {} if results are not split."""
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
