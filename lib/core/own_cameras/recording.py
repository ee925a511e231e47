"""What a user with own cameras has: calibration, videos, detections; read, put in time, checked. Imports no torch."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.dataset.own_cameras.blazepose import detect_people
from lib.dataset.own_cameras.calibration_file import Rig, load_rig
from lib.dataset.own_cameras.detections import Detections, load_detections
from lib.dataset.own_cameras.videos import Videos, frame_table, open_videos
from lib.multiviews.body import H36M_BODY
from lib.multiviews.cameras import Cameras
from lib.multiviews.recording.calibration_check import RigCheck, check_rig
from lib.multiviews.recording.person_association import choose_person
from lib.multiviews.recording.robust_poses import (
    RobustPoses,
    RobustSettings,
    person_sizes,
    robust_poses,
    sizes_over_time,
)
from lib.multiviews.recording.synchronization import TimeOffsets, estimate_offsets
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17

logger = logging.getLogger(__name__)

FLIP_PAIRS = tuple(tuple(H36M_17.indices(pair)) for pair in H36M_17.flip_pairs)
_OTHERWISE = "; or name detections with --detections, or a network with --cfg and --checkpoint"
DEFAULT_RATE = 30.0  # frames per second where there are no videos to tell it


@dataclass(frozen=True)
class Capture:
    """A recording with V cameras: F instants that all of them show.

    Attributes:
        rig: the cameras.
        num_frames: (V,) frames of each view that can be used.
        rates: (V,) frames per second of each view.
        table: (F, V) frame of each view that shows each instant.
        points: (F, V, 17, 3) detections of the person: x, y in px and confidence, NaN = not seen; None = there are no
            detections.
        videos: None = there are none.
        offsets: by how many frames the views are late, as estimated; None = not estimated.
        notes: what a user should know of the recording.
    """

    rig: Rig
    num_frames: np.ndarray
    rates: np.ndarray
    table: np.ndarray
    points: np.ndarray | None = None
    videos: Videos | None = None
    offsets: TimeOffsets | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def rate(self) -> float:
        """Instants per second: the lowest rate."""
        return float(self.rates.min())

    @property
    def reference(self) -> int:
        """The view whose frames number the instants: the first of the slowest, which shows each in another frame."""
        return int(self.rates.argmin())

    @property
    def frame_numbers(self) -> np.ndarray:
        """The instants' numbers: (F,) frames of the reference view's video, counted from 0."""
        return self.table[:, self.reference]

    @property
    def time_s(self) -> np.ndarray:
        """(F,) s from the beginning of the reference view's video."""
        return self.frame_numbers / self.rate

    def title(self, instant: int) -> str:
        """Say which frame an instant is, and when."""
        return f"frame {self.frame_numbers[instant]}, {self.time_s[instant]:.2f} s"

    @property
    def cameras(self) -> Cameras:
        """The cameras with leading axes (F, V)."""
        return self.rig.over_frames(len(self))

    def positions(self, start: int, stop: int, flag: str) -> tuple[int, int]:
        """Return where the frames start to stop - 1 lie among the instants: the first, and the one after the last.

        Raises:
            InputError: there are no such frames; the flag is named in the message.
        """
        first = int(self.frame_numbers[0])
        end = int(self.frame_numbers[-1]) + 1
        if not first <= start < stop <= end:
            name = self.rig.names[self.reference]
            raise InputError(
                f"{flag}: expected START below STOP within {first} {end}, frames of {name} that all "
                f"views show; received {start} {stop}"
            )
        return start - first, stop - first

    def frames(self, start: int, stop: int) -> Capture:
        """Return the instants of the frames start to stop - 1.

        Raises:
            InputError: there are no such frames.
        """
        chosen = slice(*self.positions(start, stop, "--frames"))
        return replace(self, table=self.table[chosen], points=None if self.points is None else self.points[chosen])

    def check(self) -> RigCheck:
        """Check the cameras by the detections."""
        points = self._points()[..., :2]
        return check_rig(points, self.cameras, sizes_over_time(points, self.rig.names), FLIP_PAIRS)

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
    first_frame: int = 0,
    synchronise: bool = False,
    rate: float = DEFAULT_RATE,
) -> Capture:
    """Read a recording.

    Args:
        cameras: TOML file of the cameras.
        videos: folder with a video per camera; None = none, then there is nothing to look at.
        detections: folder or file of 2D detections; None = none.
        unit: of the calibration's translations.
        views: names of the cameras to use; () = all.
        point_set: the detector's points; None = found by their number.
        first_frame: the number that the detector gave to a video's first frame.
        synchronise: as for with_detections().
        rate: frames per second where there are no videos.

    Raises:
        InputError: something is missing or does not fit, the unit for example; neither videos nor detections; nothing
            to synchronise by.
    """
    rig = load_rig(cameras, unit)
    rig = rig.select(views) if views else rig
    rig.check_unit()
    if videos is None and detections is None:
        raise InputError("expected videos, detections or both")
    if synchronise and detections is None:
        raise InputError("--synchronise estimates offsets from detections: name them with --detections")
    opened = None if videos is None else open_videos(videos, rig.names)
    found = None if detections is None else load_detections(detections, rig.names, point_set, first_frame)
    notes = []
    if opened is not None:
        opened.check_sizes(rig)
        notes = opened.differences()
        num_frames, rates = opened.num_frames, opened.rates
    else:
        num_frames = np.full(len(rig), len(found.points))
        rates = np.full(len(rig), rate)
    capture = Capture(rig, num_frames, rates, frame_table(num_frames, rates), videos=opened)
    capture = _noted(capture, *notes)
    return capture if found is None else with_detections(capture, found, synchronise)


def with_detections(capture: Capture, detections: Detections, synchronise: bool = False) -> Capture:
    """Return a recording with the person of some detections, and the offsets in time that they show.

    Args:
        capture: the whole recording.
        detections: of its views, numbered as its frames.
        synchronise: correct the offsets between the views, in whole frames; those in the result are what is left.

    Raises:
        InputError: detections of frames that the videos do not have; offsets that cannot be estimated.
    """
    capture = _with_offsets(_with_points(_as_long_as(capture, detections), detections))
    return _in_time(capture, detections) if synchronise else capture


def detect(capture: Capture, synchronise: bool = False) -> Capture:
    """Return the recording with what the optional detector sees in its videos; otherwise as with_detections().

    Raises:
        InputError: no videos, or the detector is not installed.
    """
    if capture.videos is None:
        raise InputError("the detector needs the videos: --videos")
    return with_detections(capture, detect_people(capture.videos, capture.rig.names, _OTHERWISE), synchronise)


def _noted(capture: Capture, *notes: str) -> Capture:
    for note in notes:
        logger.warning("%s", note)
    return replace(capture, notes=(*capture.notes, *notes))


def _as_long_as(capture: Capture, detections: Detections) -> Capture:
    """Compare the numbers of the detections with the frames of the videos: the instants end where one of them does."""
    seen = np.isfinite(detections.points).any((2, 3, 4))  # (F, V)
    first = int(seen.any(1).argmax())
    length = len(seen)
    last = np.where(seen.any(0), length - 1 - seen[::-1].argmax(0), -1)
    beyond = np.flatnonzero(last >= capture.num_frames)
    if len(beyond) or length > capture.num_frames.max():
        view = int(beyond[0]) if len(beyond) else int(capture.num_frames.argmax())
        raise InputError(
            f"view {capture.rig.names[view]}: detections of frames {int(seen[:, view].argmax())} to "
            f"{last[view] if len(beyond) else length - 1}, but the video has frames 0 to "
            f"{capture.num_frames[view] - 1}; if the detector does not count from 0, say so with "
            "--first-frame"
        )
    if first == 1:
        capture = _noted(capture, "nobody is seen in frame 0; if the detector counts from 1, say --first-frame 1")
    if length < capture.num_frames.max():
        capture = _noted(capture, f"detections end after {length} frames, the videos after {capture.num_frames.max()}")
        num_frames = np.minimum(capture.num_frames, length)
        capture = replace(capture, num_frames=num_frames, table=frame_table(num_frames, capture.rates))
    return capture


def _in_time(capture: Capture, detections: Detections) -> Capture:
    """Correct the offsets that were estimated, in whole frames."""
    if capture.offsets is None:
        raise InputError(f"--synchronise: {len(capture)} frames are too few to estimate offsets from")
    names, known = np.array(capture.rig.names), np.isfinite(capture.offsets.frames)
    if known.sum() < 2:
        raise InputError(
            "--synchronise: no offset can be estimated: the person hardly moves, or along the lines of "
            "sight, or the cameras do not fit (which the report without --synchronise says)"
        )
    late = capture.offsets.whole() * capture.rates / capture.rates.min()
    table = frame_table(capture.num_frames, capture.rates, late)
    listed = ", ".join(f"{name} {frames:+g}" for name, frames in zip(names, late, strict=True) if frames)
    notes = [f"corrected, frames late: {listed}" if listed else "no view is late by a frame: nothing to synchronise"]
    if not known.all():
        notes.append(f"no offset can be estimated for {', '.join(names[~known])}, left as recorded")
    return _with_offsets(_with_points(_noted(replace(capture, table=table), *notes), detections))


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
    side = np.median(sizes_over_time(capture.points[..., :2], capture.rig.names), 0)
    offsets = estimate_offsets(capture.points[..., :2], capture.rig.cameras, side, FLIP_PAIRS)
    return replace(capture, offsets=offsets)
