"""Joints followed from image to image (optical flow), beside the motion of their labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lib.core.data_check.group_sequence import GroupSequence, lagged
from lib.utils.errors import InputError
from lib.utils.files.image_store import read_image

MIN_STEP_PX = 0.5  # joints that move less from image to image do not count
MIN_STEPS = 60  # joint motions needed for a judgement
_FLOW = {"winSize": (21, 21), "maxLevel": 3}


@dataclass(frozen=True)
class Tracks:
    """Steps from each image to the next, of one view and all windows.

    Attributes:
        moved: (N, J, 2) motion in the images, px; NaN where a joint cannot be followed.
        labelled: (N, J, 2) motion of the labels, px.
        piece: (N,) number of the window.
    """

    moved: np.ndarray
    labelled: np.ndarray
    piece: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Tracks]) -> Tracks:
        """Put windows together."""
        moved, labelled = (np.concatenate([getattr(part, name) for part in parts]) for name in ("moved", "labelled"))
        return cls(moved, labelled, np.concatenate([np.full(len(part.moved), i) for i, part in enumerate(parts)]))

    def usual_px(self) -> float:
        """Return the median motion of the labels that move and can be followed, px; 0 where too few do."""
        length = np.linalg.norm(self.labelled, axis=-1)[self._counting()]
        return float(np.median(length)) if len(length) >= MIN_STEPS else 0.0

    def _counting(self) -> np.ndarray:
        return np.isfinite(self.moved).all(-1) & (np.linalg.norm(self.labelled, axis=-1) > MIN_STEP_PX)

    def unexplained(self) -> float | None:
        """Return the share of the labels' motion that is left when that of the images is taken off; 0: they are alike.

        None where too little moves. Motions are cut at twice the usual one, so that lost tracks do not count too much.
        """
        limit = 2 * self.usual_px()
        counting = self._counting()
        if not limit:
            return None
        length = np.linalg.norm(self.labelled[counting], axis=-1)
        left = np.linalg.norm((self.moved - self.labelled)[counting], axis=-1)
        return float(np.minimum(left, limit).mean() / np.minimum(length, limit).mean())

    def best_lag(self) -> tuple[int, float, float]:
        """Find the shift in time (groups) of the images that explains most beyond what no shift explains.

        Each shift is compared with no shift on the same motions in the images: a shift leaves frames out, and what is
        left may hold more or less motion.

        Returns:
            The shift, 0 for none; by how much less is unexplained with it than without; what is unexplained with it.
        """
        limit = 2 * self.usual_px()
        best = (0, 0.0, np.inf)
        if not limit:
            return best
        usual = np.minimum(np.linalg.norm(self.labelled, axis=-1), limit).mean()
        for lag, early, late in lagged(self.piece):
            with_lag = np.linalg.norm(self.moved[early] - self.labelled[late], axis=-1)
            without = np.linalg.norm(self.moved[early] - self.labelled[early], axis=-1)
            known = np.isfinite(with_lag)
            if 2 * len(early) < len(self.piece) or known.sum() < MIN_STEPS:
                continue
            left = np.minimum(with_lag[known], limit).mean() / usual
            gain = np.minimum(without[known], limit).mean() / usual - left
            if gain > best[1]:
                best = (lag, float(gain), float(left))
        return best


def read_grey(window: GroupSequence, view: int, data_format: str) -> np.ndarray:
    """Read the images of a view, (T, h, w) uint8.

    Raises:
        InputError: an image is missing or damaged, or they differ in size.
    """
    annotations = window.annotations
    images = [
        read_image(annotations.images_dir, annotations.image_name(row), data_format) for row in window.groups[:, view]
    ]
    if len({image.shape for image in images}) > 1:
        name = annotations.image_name(window.groups[0, view])
        raise InputError(f"{name}: the images of its recording differ in size")
    return np.stack([cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in images])


def track(window: GroupSequence, view: int, images: np.ndarray, mirrored: Iterable[int] = ()) -> Tracks:
    """Follow the labelled joints of a view from each image to the next.

    Args:
        window: the groups.
        view: whose labels.
        images: (T, h, w) grey, in which they are followed.
        mirrored: axes (0 = x) along which the images are mirrored; the labels are mirrored with them.
    """
    joints, visible = window.joints_img[:, view], window.visible[:, view]
    size = np.array(images.shape[:0:-1])  # width, height
    sign = np.ones(2)
    for axis in mirrored:
        joints[..., axis] = size[axis] - 1 - joints[..., axis]
        sign[axis] = -1
    moved = np.full((len(images) - 1, joints.shape[1], 2), np.nan)
    inside = ((joints >= 0) & (joints <= size - 1)).all(-1) & visible
    for step in range(len(moved)):
        chosen = np.flatnonzero(inside[step])
        repeated = np.array_equal(images[step], images[step + 1])  # tells nothing of the motion
        if len(chosen) and not repeated:
            start = joints[step, chosen].astype(np.float32)[:, None]
            end, found, _ = cv2.calcOpticalFlowPyrLK(images[step], images[step + 1], start, None, **_FLOW)
            good = found[:, 0] == 1
            moved[step, chosen[good]] = (end - start)[good, 0]
    return Tracks(moved * sign, np.diff(joints, axis=0) * sign, np.zeros(len(moved), int))
