"""What a user with own cameras has: calibration, videos, detections; read, put in time, checked. Imports no torch."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.dataset.own.blazepose import detect_people
from lib.dataset.own.detections import Detections, load_detections
from lib.dataset.own.rig import Rig, load_rig
from lib.dataset.own.videos import Videos, frame_table, open_videos
from lib.multiviews.body import H36M_BODY
from lib.multiviews.cameras import Cameras
from lib.multiviews.people import choose_person
from lib.multiviews.rig_check import RigCheck, check_rig
from lib.multiviews.robust_poses import RobustPoses, RobustSettings, person_sizes, robust_poses, sizes_over_time
from lib.multiviews.time_offset import TimeOffsets, estimate_offsets
from lib.utils.checks import InputError
from lib.utils.joints import H36M_17

logger = logging.getLogger(__name__)

FLIP_PAIRS = tuple(tuple(H36M_17.indices(pair)) for pair in H36M_17.flip_pairs)
DEFAULT_RATE = 30.0  # frames per second where there are no videos to tell it


@dataclass(frozen=True)
class Capture:
    """A recording with V cameras: F instants that all of them show.

    Attributes:
        rig: the cameras.
        rate: instants per second.
        table: (F, V) frame of each view that shows each instant.
        points: (F, V, 17, 3) detections of the person: x, y in px and confidence, NaN = not seen; None = there are no
            detections.
        videos: None = there are none.
        offsets: by how many frames the views are late, as estimated; None = not estimated.
        notes: what a user should know of the recording.
    """

    rig: Rig
    rate: float
    table: np.ndarray
    points: np.ndarray | None
    videos: Videos | None = None
    offsets: TimeOffsets | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def cameras(self) -> Cameras:
        """The cameras with leading axes (F, V)."""
        return self.rig.over_frames(len(self))

    def frames(self, start: int, stop: int | None = None) -> Capture:
        """Return the instants start to stop - 1.

        Raises:
            InputError: there are no such instants.
        """
        chosen = slice(start, stop)
        if start < 0 or not len(self.table[chosen]):
            raise InputError(f"frames {start} to {stop}: the recording has {len(self)}")
        return replace(self, table=self.table[chosen], points=None if self.points is None else self.points[chosen])

    def check(self) -> RigCheck:
        """Check the cameras by the detections."""
        points = self._points()[..., :2]
        return check_rig(points, self.cameras, sizes_over_time(points), FLIP_PAIRS)

    def poses(self, settings: RobustSettings | None = None) -> RobustPoses:
        """Return the 3D poses that the detections agree on; None = the settings' defaults."""
        return robust_poses(self._points(), self.cameras, H36M_BODY, FLIP_PAIRS, settings or RobustSettings())

    def _points(self) -> np.ndarray:
        if self.points is None:
            raise InputError("there are no detections; name them with --detections")
        return self.points


def load_capture(
    cameras: str | os.PathLike,
    videos: str | os.PathLike | None = None,
    detections: str | os.PathLike | None = None,
    *,
    unit: str = "m",
    views: Sequence[str] = (),
    point_set: str | None = None,
    synchronise: bool = False,
    rate: float | None = None,
) -> Capture:
    """Read a recording.

    Args:
        cameras: TOML file of the cameras.
        videos: folder with a video per camera; None = none, then there is nothing to look at.
        detections: folder or file of 2D detections; None = none.
        unit: of the calibration's translations.
        views: names of the cameras to use; () = all.
        point_set: the detector's points; None = found by their number.
        synchronise: correct the estimated offsets between the views, in whole frames.
        rate: frames per second where there are no videos; None = DEFAULT_RATE.

    Raises:
        InputError: something is missing or does not fit; neither videos nor detections; too few frames to synchronise.
    """
    rig = load_rig(cameras, unit)
    rig = rig.select(views) if views else rig
    if videos is None and detections is None:
        raise InputError("expected videos, detections or both")
    opened = None if videos is None else open_videos(videos, rig.names)
    found = None if detections is None else load_detections(detections, rig.names, point_set)
    notes = []
    if opened is not None:
        opened.check_sizes(rig)
        notes += opened.differences()
    num_frames = opened.num_frames if opened is not None else np.full(len(rig), len(found.points))
    if found is not None and len(found.points) < num_frames.max():
        notes.append(f"detections end after {len(found.points)} frames, the videos after {num_frames.max()}")
        num_frames = np.minimum(num_frames, len(found.points))
    rates = opened.rates if opened is not None else np.full(len(rig), DEFAULT_RATE if rate is None else rate)
    capture = Capture(rig, float(rates.min()), frame_table(num_frames, rates), None, opened)
    if found is not None:
        capture = with_detections(capture, found)
        if synchronise:
            if capture.offsets is None:
                raise InputError(f"--synchronise: {len(capture)} frames are too few to estimate offsets from")
            offsets = capture.offsets.whole() * rates / rates.min()
            table = frame_table(num_frames, rates, offsets)
            capture = _with_points(replace(capture, table=table), found)
            notes.append(f"offsets of {offsets.tolist()} frames were corrected")
    for note in notes:
        logger.warning("%s", note)
    return replace(capture, notes=tuple(notes))


def with_detections(capture: Capture, detections: Detections) -> Capture:
    """Return the recording with the person of some detections, and the offsets in time that they show."""
    return _with_offsets(_with_points(capture, detections))


def detect(capture: Capture) -> Capture:
    """Return the recording with what the optional detector sees in its videos.

    Raises:
        InputError: no videos, or the detector is not installed.
    """
    if capture.videos is None:
        raise InputError("the detector needs the videos: --videos")
    return with_detections(capture, detect_people(capture.videos, capture.rig.names))


def _with_points(capture: Capture, detections: Detections) -> Capture:
    """Choose the one person whom the views agree on."""
    views = np.arange(len(capture.rig))
    people = detections.points[capture.table, views]  # (F, V, P, 17, 3)
    if people.shape[2] == 1:
        return replace(capture, points=people[:, :, 0])
    points_img = people[..., :2]
    chosen = choose_person(points_img, capture.cameras, person_sizes(points_img), FLIP_PAIRS)
    points = np.take_along_axis(people, chosen.clip(0)[..., None, None, None], 2)[:, :, 0]
    return replace(capture, points=np.where((chosen >= 0)[..., None, None], points, np.nan))


def _with_offsets(capture: Capture) -> Capture:
    if len(capture) < 3:
        return capture
    side = np.median(sizes_over_time(capture.points[..., :2]), 0)
    offsets = estimate_offsets(capture.points[..., :2], capture.rig.cameras, side, FLIP_PAIRS)
    return replace(capture, offsets=offsets)
