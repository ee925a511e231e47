"""How the recordings of a data set are named, and by which of them its results are listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lib.dataset.actions import ACTION_NAMES, action_name

ALL = "all"  # the row of all sequences

# sequence, or ALL -> subjects -> (F,) bool, which frames
Parts = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Protocol:
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


HUMAN36M = Protocol(ACTION_NAMES)
