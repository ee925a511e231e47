"""Joint motion by optical flow, for comparison with the motion of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lib.core.data_check.group_sequence import GroupSequence, lagged
from lib.utils.errors import InputError
from lib.utils.files.image_store import read_image

MIN_STEP_PX = 0.5  # joints that move less between images are ignored
MIN_STEPS = 60  # joint motions needed for a judgment
_FLOW = {"winSize": (21, 21), "maxLevel": 3}


@dataclass(frozen=True)
class Tracks:
    """Joint motion between successive images of one view, of all windows."""

    moved: np.ndarray  # (N, J, 2) motion in the images, px; NaN where tracking failed
    labeled: np.ndarray  # (N, J, 2) motion of the labels, px
    piece: np.ndarray  # (N,) number of the window

    @classmethod
    def joined(cls, parts: Sequence[Tracks]) -> Tracks:
        """Concatenate windows."""
        moved, labeled = (np.concatenate([getattr(part, name) for part in parts]) for name in ("moved", "labeled"))
        return cls(moved, labeled, np.repeat(np.arange(len(parts)), [len(part.moved) for part in parts]))

    def _counting(self) -> np.ndarray:
        return np.isfinite(self.moved).all(-1) & (np.linalg.norm(self.labeled, axis=-1) > MIN_STEP_PX)

    def usual_px(self) -> float:
        """Return the median motion of the tracked labels, px; 0 if there are too few."""
        length = np.linalg.norm(self.labeled, axis=-1)[self._counting()]
        return float(np.median(length)) if len(length) >= MIN_STEPS else 0.0

    def unexplained(self) -> float | None:
        """Return the share of the labels' motion that the images do not show; None if too little moves.

        Motions are cut at twice the usual one, which limits the weight of lost tracks.
        """
        limit = 2 * self.usual_px()
        counting = self._counting()
        if not limit:
            return None
        length = np.linalg.norm(self.labeled[counting], axis=-1)
        rest = np.linalg.norm((self.moved - self.labeled)[counting], axis=-1)
        return float(np.minimum(rest, limit).mean() / np.minimum(length, limit).mean())

    def best_lag(self) -> tuple[int, float, float]:
        """Find the time shift (groups) that explains the images better than no shift.

        A shift leaves frames out, so it is compared with no shift on the same motions in the images.

        Returns:
            The shift, 0 for none; the decrease of the unexplained share; the unexplained share with the shift.
        """
        limit = 2 * self.usual_px()
        best = (0, 0.0, np.inf)
        if not limit:
            return best
        usual = np.minimum(np.linalg.norm(self.labeled, axis=-1), limit).mean()
        for lag, early, late in lagged(self.piece):
            with_lag = np.linalg.norm(self.moved[early] - self.labeled[late], axis=-1)
            without = np.linalg.norm(self.moved[early] - self.labeled[early], axis=-1)
            known = np.isfinite(with_lag)
            if 2 * len(early) < len(self.piece) or known.sum() < MIN_STEPS:
                continue
            rest = np.minimum(with_lag[known], limit).mean() / usual
            gain = np.minimum(without[known], limit).mean() / usual - rest
            if gain > best[1]:
                best = (lag, float(gain), float(rest))
        return best


def read_gray(window: GroupSequence, view: int, data_format: str) -> np.ndarray:
    """Read the images of a view, (T, h, w) uint8.

    Raises:
        InputError: an image is missing or damaged, or they differ in size.
    """
    annotations = window.annotations
    names = [annotations.image_name(row) for row in window.rows[:, view]]
    images = [read_image(annotations.images_dir, name, data_format) for name in names]
    if len({image.shape for image in images}) > 1:
        raise InputError(f"{names[0]}: the images of its recording differ in size")
    return np.stack([cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in images])


def track(joints_img: np.ndarray, visible: np.ndarray, images: np.ndarray) -> Tracks:
    """Track the joints of a view.

    Args:
        joints_img: (T, J, 2) labels, px of `images`.
        visible: (T, J) bool.
        images: (T, h, w) uint8, gray.
    """
    size = np.array(images.shape[:0:-1])  # width, height
    moved = np.full((len(images) - 1, joints_img.shape[1], 2), np.nan)
    inside = ((joints_img >= 0) & (joints_img <= size - 1)).all(-1) & visible
    for step in range(len(moved)):
        chosen = np.flatnonzero(inside[step])
        repeated = np.array_equal(images[step], images[step + 1])  # shows no motion
        if len(chosen) and not repeated:
            start = joints_img[step, chosen].astype(np.float32)[:, None]
            first, second = (np.ascontiguousarray(images[index]) for index in (step, step + 1))
            end, found, _ = cv2.calcOpticalFlowPyrLK(first, second, start, None, **_FLOW)
            good = found[:, 0] == 1
            moved[step, chosen[good]] = (end - start)[good, 0]
    return Tracks(moved, np.diff(joints_img, axis=0), np.zeros(len(moved), int))
