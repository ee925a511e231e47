"""Groups of a multi-view data set in recording order: the input of the checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lib.dataset.annotations import Annotations
from lib.multiviews.body import HumanBody
from lib.multiviews.cameras import Cameras
from lib.utils.joints import UNION_20
from lib.utils.selection import evenly_spread

MAX_LAG = 10  # largest time shift of a view that is recognized, groups
BLOCK = 50  # groups that are judged together
CHUNK = 5000  # groups that are in memory at a time


def lagged(piece: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield pairs of groups at every lag up to MAX_LAG except 0, the smallest first.

    Args:
        piece: (G,) piece numbers of a GroupSequence.

    Yields:
        The lag, and (K,) indices early and late = early + lag of groups of the same piece, K > 0.
    """
    for size in range(1, MAX_LAG + 1):
        for lag in (size, -size):
            early = np.arange(max(0, -lag), len(piece) - max(0, lag))
            early = early[piece[early] == piece[early + lag]]
            if len(early):
                yield lag, early, early + lag


def block_medians(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the lower median of each block without NaN; NaN if a block holds nothing else.

    Args:
        values: (G, ...).
        starts: (B + 1,) from GroupSequence.block_starts().

    Returns:
        (B, ...).
    """
    place = starts[:-1, None] + np.arange(BLOCK)
    padded = values[np.minimum(place, len(values) - 1)]  # (B, BLOCK, ...)
    padded[place >= starts[1:, None]] = np.nan
    ordered = np.sort(padded, axis=1)  # NaN comes last
    middle = np.maximum(np.isfinite(ordered).sum(1, keepdims=True) - 1, 0) // 2
    return np.take_along_axis(ordered, middle, 1)[:, 0]


def frames_apart(lag: int, gap: int) -> str:
    """Describe a lag in groups that are `gap` frames apart, e.g. "10 frames later"."""
    more = " or more" if abs(lag) == MAX_LAG else ""
    return f"{abs(lag) * max(gap, 1)}{more} frames {'later' if lag > 0 else 'earlier'}"


@dataclass(frozen=True)
class GroupSequence:
    """Groups of a data set, ordered by recording and time."""

    annotations: Annotations  # all images
    rows: np.ndarray  # (G, V) rows of the annotations
    body: HumanBody  # skeleton of the data set's joints

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def ordered(cls, annotations: Annotations, rows: np.ndarray, body: HumanBody) -> GroupSequence:
        """Order groups by subject, action, sub-action and frame."""
        labels = annotations.labels3d
        first = rows[:, 0]
        order = np.lexsort([labels.frame[first], labels.subaction[first], labels.action[first], labels.subject[first]])
        return cls(annotations, rows[order], body)

    def spread(self, count: int) -> GroupSequence:
        """Return at most `count` groups, evenly spaced."""
        return self.take(evenly_spread(len(self), count))

    def take(self, chosen: np.ndarray) -> GroupSequence:
        """Return the groups of (K,) ascending indices."""
        return GroupSequence(self.annotations, self.rows[chosen], self.body)

    def block_starts(self) -> np.ndarray:
        """Return (B + 1,) starts of blocks of one recording, at most BLOCK groups long, and the number of groups."""
        number = self.recording_number
        place = np.arange(len(number)) - np.searchsorted(number, number)
        return np.append(np.flatnonzero(place % BLOCK == 0), len(number))

    def chunks(self) -> Iterator[GroupSequence]:
        """Yield the groups in parts that fit into memory."""
        for start in range(0, len(self), CHUNK):
            yield self.take(np.arange(start, min(start + CHUNK, len(self))))

    @property
    def num_views(self) -> int:
        """Views per group."""
        return self.rows.shape[1]

    @property
    def recording(self) -> np.ndarray:
        """(G, 3) subject, action, sub-action."""
        labels = self.annotations.labels3d
        first = self.rows[:, 0]
        return np.stack([labels.subject[first], labels.action[first], labels.subaction[first]], 1)

    @property
    def recording_number(self) -> np.ndarray:
        """(G,) ascending number of the recording, from 0."""
        return np.cumsum((np.diff(self.recording, axis=0, prepend=self.recording[:1]) != 0).any(1))

    @property
    def frame_gap(self) -> int:
        """Median distance of successive frames of a recording; 0 if no recording has two."""
        gaps = np.diff(self.frame)[np.diff(self.recording_number) == 0]
        return int(np.median(gaps)) if len(gaps) else 0

    @property
    def piece(self) -> np.ndarray:
        """(G,) number of the piece: groups of one recording that follow each other at the usual distance."""
        ends = (np.diff(self.recording_number) != 0) | (np.diff(self.frame) != self.frame_gap)
        return np.concatenate([[0], np.cumsum(ends)])

    @property
    def frame(self) -> np.ndarray:
        """(G,) frame numbers."""
        return self.annotations.labels3d.frame[self.rows[:, 0]]

    @property
    def camera_ids(self) -> list[int]:
        """Annotated numbers of the cameras."""
        return self.annotations.labels3d.camera_id[self.rows[0]].tolist()

    @property
    def camera_names(self) -> list[str]:
        """Names of the cameras in tables and findings."""
        return [f"camera {camera_id}" for camera_id in self.camera_ids]

    @property
    def cameras(self) -> Cameras:
        """Cameras with leading axes (G, V)."""
        labels = self.annotations.labels3d
        return labels.cameras[labels.camera_idx[self.rows]]

    @property
    def pose_cam(self) -> np.ndarray:
        """(G, V, J, 3) joints in the camera frames, mm."""
        return self.annotations.labels3d.pose_cam[self.rows].astype(np.float64)

    @property
    def joints_img(self) -> np.ndarray:
        """(G, V, J, 2) joints in the images, px, in the order of the data set's joints."""
        return self._data_set_joints(self.annotations.joints_img).astype(np.float64)

    @property
    def visible(self) -> np.ndarray:
        """(G, V, J) bool."""
        return self._data_set_joints(self.annotations.visible)

    def _data_set_joints(self, union: np.ndarray) -> np.ndarray:
        return union[self.rows][:, :, UNION_20.indices(self.annotations.joint_set.names)]

    def name(self, group: int) -> str:
        """Return the readable name of a group."""
        subject, *recording = self.recording[group].tolist()
        name = self.annotations.labels3d.protocol.recording_name(*recording)
        return f"S{subject} {name}, frame {self.frame[group]}"
