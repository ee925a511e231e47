"""A recording of calibrated cameras: load, associate the person, synchronize. Imports no torch."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.dataset.own_cameras.calibration_file import Rig, load_rig
from lib.dataset.own_cameras.detections import Detections, load_detections
from lib.dataset.own_cameras.name_matching import parse_aliases
from lib.dataset.own_cameras.videos import Videos, frame_table, open_videos
from lib.multiviews.cameras import Cameras
from lib.multiviews.recording.person_association import choose_person
from lib.multiviews.recording.robust_poses import person_sizes, sizes_over_time
from lib.multiviews.recording.synchronization import SyncOffsets, estimate_sync_offsets
from lib.utils.errors import InputError
from lib.utils.interactive.pose_page import spread
from lib.utils.joints import H36M_17

logger = logging.getLogger(__name__)

FLIP_PAIRS = tuple(tuple(H36M_17.indices(pair)) for pair in H36M_17.flip_pairs)
DEFAULT_RATE = 30.0  # frames per second without videos
_MAX_OUTSIDE = 0.2  # share of a view's detections outside its image; some detectors guess joints there
_EXCESS_FRAMES = 2  # detections after the end of a video that are left out; some programs decode a frame more
_HEATMAP_FRAMES = 24  # frames whose heatmaps are kept for the report; bounds their memory


@dataclass(frozen=True)
class FrameHeatmaps:
    """Heatmaps of the V views of one frame, to look at.

    Attributes:
        frame: index into the table of the recording.
        kinds: "single-view", "fused" or both -> (V, 17, H, W) float16.
        image_to_heatmap: (V, 2, 3).
    """

    frame: int
    kinds: Mapping[str, np.ndarray]
    image_to_heatmap: np.ndarray

    @classmethod
    def of(
        cls, frame: int, heatmaps: np.ndarray, single_view: np.ndarray | None, image_to_heatmap: np.ndarray
    ) -> FrameHeatmaps:
        """Keep the output of a network; single_view None = it does not fuse views."""
        maps = {"single-view": heatmaps} if single_view is None else {"single-view": single_view, "fused": heatmaps}
        return cls(frame, {kind: values.astype(np.float16) for kind, values in maps.items()}, image_to_heatmap)


def heatmap_frames(num_frames: int) -> list[int]:
    """Return the evenly spaced frames of a recording whose heatmaps are kept."""
    return spread(num_frames, _HEATMAP_FRAMES)


@dataclass(frozen=True)
class Recording:
    """F frames of V cameras.

    Attributes:
        rig: the cameras.
        num_frames: (V,) usable frames of each video.
        rates: (V,) frames per second of each video.
        table: (F, V) video frame of each view for each frame of the recording.
        videos: the videos; None = there are none.
        detections: people in all video frames; None = there are none.
        points: (F, V, 17, 3) joints of the person: x, y in px and confidence, NaN = not seen; None before associate().
        sync_offsets: estimated sync offsets of the views; None = not estimated.
        notes: remarks for the report.
        heatmaps: heatmaps of some frames, for the report; () = there is no network.
    """

    rig: Rig
    num_frames: np.ndarray
    rates: np.ndarray
    table: np.ndarray
    videos: Videos | None = None
    detections: Detections | None = None
    points: np.ndarray | None = None
    sync_offsets: SyncOffsets | None = None
    notes: tuple[str, ...] = ()
    heatmaps: tuple[FrameHeatmaps, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def rate(self) -> float:
        """Frames per second of the recording, the lowest rate of the views."""
        return float(self.rates.min())

    @property
    def reference(self) -> int:
        """View whose video numbers the frames: the first of the slowest, which shows a new image in each frame."""
        return int(self.rates.argmin())

    @property
    def frame_numbers(self) -> np.ndarray:
        """(F,) frame numbers of the reference view's video, from 0."""
        return self.table[:, self.reference]

    @property
    def is_continuous(self) -> bool:
        """Whether no frame number is left out."""
        return bool((np.diff(self.frame_numbers) == 1).all())

    @property
    def time_s(self) -> np.ndarray:
        """(F,) seconds from the beginning of the reference view's video."""
        return self.frame_numbers / self.rate

    @property
    def cameras(self) -> Cameras:
        """The cameras with leading axes (F, V)."""
        return self.rig.over_frames(len(self))

    def title(self, frame: int) -> str:
        """Return number and time of a frame (index into the table)."""
        return f"frame {self.frame_numbers[frame]}, {self.time_s[frame]:.2f} s"

    def positions(self, start: int, stop: int, flag: str) -> tuple[int, int]:
        """Convert the frame numbers start to stop - 1 to a range of indices into the table.

        Raises:
            InputError: the frames do not exist; the message names the flag.
        """
        first = int(self.frame_numbers[0])
        end = int(self.frame_numbers[-1]) + 1
        low, high = np.searchsorted(self.frame_numbers, (start, stop)).tolist()
        if not (first <= start < stop <= end and low < high):
            raise InputError(
                f"{flag}: expected START below STOP within {first} {end}, frames of {self.rig.names[self.reference]} "
                f"that all views show; received {start} {stop}"
            )
        return low, high

    def select_frames(self, start: int, stop: int) -> Recording:
        """Return the recording of the frame numbers start to stop - 1.

        Raises:
            InputError: the frames do not exist.
        """
        low, high = self.positions(start, stop, "--frames")
        return replace(
            self,
            table=self.table[low:high],
            points=None if self.points is None else self.points[low:high],
            heatmaps=tuple(replace(one, frame=one.frame - low) for one in self.heatmaps if low <= one.frame < high),
        )

    def without_view(self, view: int) -> Recording:
        """Return the recording of the other views, without detections."""
        keep = [other for other in range(len(self.rig)) if other != view]
        names = tuple(self.rig.names[other] for other in keep)
        rig = replace(self.rig, names=names, cameras=self.rig.cameras[keep], image_wh=self.rig.image_wh[keep])
        num_frames, rates = self.num_frames[keep], self.rates[keep]
        videos = self.videos
        if videos is not None:
            paths = tuple(videos.paths[other] for other in keep)
            videos = replace(videos, paths=paths, num_frames=num_frames, rates=rates, image_wh=videos.image_wh[keep])
        return Recording(rig, num_frames, rates, self.table[:, keep], videos)

    def table_with(self, offsets: np.ndarray | None = None, drift: np.ndarray | None = None) -> np.ndarray:
        """Return the table for sync offsets (V,), frames, and their drift (V,), frames per frame.

        It covers the frames from the first detection on; without videos only frames that have detections.

        Raises:
            InputError: the views have no frame in common.
        """
        numbers = _row_numbers(self.detections) if self.videos is None and self.detections is not None else None
        table = frame_table(self.num_frames, self.rates, offsets, drift, numbers)
        begun = table.max(1) >= (0 if self.detections is None else self.detections.numbers[0])
        if not begun.any():
            raise InputError(
                f"the views have no frame in common with the detections, from {self.detections.numbers[0]}"
            )
        return table[begun]

    def with_note(self, note: str) -> Recording:
        """Add a note, and log it."""
        logger.warning("%s", note)
        return replace(self, notes=(*self.notes, note))


def load_recording(
    cameras: str | os.PathLike,
    videos: str | os.PathLike | None = None,
    detections: str | os.PathLike | None = None,
    *,
    unit: str = "m",
    views: Sequence[str] = (),
    point_set: str | None = None,
    first_frame: int = 0,
    rate: float = DEFAULT_RATE,
    match: Sequence[str] = (),
) -> Recording:
    """Read calibration, videos and detections.

    Args:
        cameras: calibration file (TOML).
        videos: folder with one video per camera; None = none.
        detections: folder or file of 2D detections; None = none.
        unit: unit of the calibration's translations.
        views: names of the cameras to use; () = all.
        point_set: keypoint set of the detector; None = from the number of points.
        first_frame: the detector's number of a video's first frame.
        rate: frames per second without videos.
        match: CAMERA=FILE pairs, for files whose names do not tell their camera.

    Raises:
        InputError: a file is missing or does not fit, or there are neither videos nor detections.
    """
    rig = load_rig(cameras, unit, views)
    rig.check_unit()
    if videos is None and detections is None:
        raise InputError("expected videos, detections or both")
    aliases = {**rig.aliases, **parse_aliases(match, rig.names)}
    opened = None if videos is None else open_videos(videos, rig.names, aliases, rate)
    found = None if detections is None else load_detections(detections, rig.names, point_set, first_frame, aliases)
    if opened is not None:
        opened.check_sizes(rig)
        num_frames, rates = opened.num_frames, opened.rates
    else:
        num_frames, rates = np.full(len(rig), found.numbers[-1] + 1), np.full(len(rig), rate)
    numbers = _row_numbers(found) if opened is None else None
    recording = Recording(rig, num_frames, rates, frame_table(num_frames, rates, numbers=numbers), opened)
    for note in [*rig.notes, *([] if opened is None else opened.differences())]:
        recording = recording.with_note(note)
    return recording if found is None else with_detections(recording, found)


def _row_numbers(detections: Detections) -> np.ndarray:
    """Return the frame numbers of a recording without videos.

    A few frames without detections are rows, so that time passes evenly. If most numbers are missing, as between the
    image ids of a data set, only the frames with detections are.
    """
    numbers = detections.numbers
    span = int(numbers[-1] - numbers[0]) + 1
    return np.arange(numbers[0], numbers[-1] + 1) if span <= 2 * len(numbers) else numbers


def with_detections(recording: Recording, detections: Detections) -> Recording:
    """Add detections; the recording covers the frames that both videos and detections have.

    Raises:
        InputError: detections beyond the end of a video.
    """
    seen = np.isfinite(detections.points).any((2, 3, 4))  # (F, V)
    numbers, longest = detections.numbers, int(recording.num_frames.max())
    first, last = int(numbers[0]), np.where(seen.any(0), numbers[len(seen) - 1 - seen[::-1].argmax(0)], -1)
    excess = max(int((last - recording.num_frames).max()), int(numbers[-1]) - longest) + 1
    if excess > (_EXCESS_FRAMES if first == 0 else 0):
        over = last - recording.num_frames
        view = int(over.argmax() if over.max() >= 0 else recording.num_frames.argmax())
        raise InputError(
            f"view {recording.rig.names[view]}: expected detections of the video's frames 0 to "
            f"{recording.num_frames[view] - 1}, received frames {numbers[int(seen[:, view].argmax())]} to "
            f"{last[view] if over.max() >= 0 else numbers[-1]}; set --first-frame if the detector does not count from 0"
        )
    if excess > 0:
        recording = recording.with_note(f"detections of {excess} frame(s) after the end of a video are left out")
    if first == 1:
        recording = recording.with_note("no detection in frame 0; set --first-frame 1 if the detector counts from 1")
    elif first > 1:
        recording = recording.with_note(f"detections begin at frame {first}")
    length = int(numbers[-1]) + 1
    if length < longest:
        recording = recording.with_note(f"detections end after {length} frames, the videos after {longest}")
    for note in _outside_images(detections, recording.rig):
        recording = recording.with_note(note)
    num_frames = np.minimum(recording.num_frames, length)
    recording = replace(recording, num_frames=num_frames, detections=detections)
    recording = replace(recording, table=recording.table_with())
    if recording.is_continuous:
        return recording
    return recording.with_note(
        "most frame numbers have no detections: only the others are rows, and they are neither smoothed nor bridged"
    )


def _outside_images(detections: Detections, rig: Rig) -> list[str]:
    """Describe views whose calibrated image does not hold the detections, as if width and height were swapped."""
    x_y = detections.points[..., :2]  # (F, V, P, 17, 2)
    seen = np.isfinite(x_y).all(-1)
    outside = seen & ((x_y < -0.5) | (x_y > rig.image_wh[:, None, None] - 0.5)).any(-1)
    share = outside.sum((0, 2, 3)) / seen.sum((0, 2, 3)).clip(1)
    return [
        f"view {name}: {100 * part:.0f} % of the detections are outside its calibrated image of {width} x {height} px; "
        "check 'size' and the video that the detector has seen"
        for name, part, (width, height) in zip(rig.names, share, rig.image_wh.tolist(), strict=True)
        if part > _MAX_OUTSIDE and width and height
    ]


def associate(recording: Recording) -> Recording:
    """Choose the one person that the views agree on, and set `points`.

    Raises:
        InputError: there are no detections.
    """
    if recording.detections is None:
        raise InputError("there are no detections; name them with --detections")
    people = recording.detections.of_frames(recording.table)  # (F, V, P, 17, 3)
    points_img = people[..., :2]
    if people.shape[2] == 1:
        return _with_points(recording, people[:, :, 0])
    chosen = choose_person(points_img, recording.cameras, person_sizes(points_img), FLIP_PAIRS)
    points = np.take_along_axis(people, chosen.clip(0)[..., None, None, None], 2)[:, :, 0]
    return _with_points(recording, np.where((chosen >= 0)[..., None, None], points, np.nan))


def _with_points(recording: Recording, points: np.ndarray) -> Recording:
    """Set the person's joints (F, V, 17, 3); notes name views and joints that are never seen."""
    seen = np.isfinite(points).all(-1)
    unseen = [name for name, view in zip(recording.rig.names, seen.any((0, 2)), strict=True) if not view]
    missing = [name for name, joint in zip(H36M_17.names, seen.any((0, 1)), strict=True) if not joint]
    if seen.any():
        for kind, listed in (("views that never see the person", unseen), ("joints that are never detected", missing)):
            text = f"{kind}: {', '.join(listed)}; the rest is estimated"
            recording = recording.with_note(text) if listed and text not in recording.notes else recording
    return replace(recording, points=points)


def synchronize(recording: Recording, correct: bool = False) -> Recording:
    """Estimate the sync offsets between the views from the associated person.

    Args:
        recording: result of associate(), all frames.
        correct: correct offsets and drift to whole frames, associate again, and keep the remaining offsets.

    Raises:
        InputError: `correct`, and the offsets cannot be estimated.
    """
    recording = _with_sync_offsets(recording)
    if not correct:
        return recording
    if recording.sync_offsets is None:
        raise InputError(f"--synchronize: expected at least 3 frames in a row, received {len(recording)} frames")
    names, known = np.array(recording.rig.names), np.isfinite(recording.sync_offsets.frames)
    if known.sum() < 2:
        raise InputError(
            "--synchronize: no offset can be estimated: the person hardly moves, or moves along the lines of sight, or "
            "the cameras do not fit (run without --synchronize for the camera check)"
        )
    found, pace = recording.sync_offsets, recording.rates / recording.rates.min()  # pace: video / recording frames
    # The offsets hold at the first frame of the recording, the ones of the table at frame 0.
    begin = np.nan_to_num(found.frames) - found.drift * recording.frame_numbers[0]
    offsets, drift = np.where(found.drift == 0, found.whole(), begin) * pace, found.drift * pace
    table = recording.table_with(offsets, drift)
    listed = ", ".join(
        f"{name} {frames:+.4g}" + (f" and {100 * growth:+.3f} % drift" if growth else "")
        for name, frames, growth in zip(names, offsets, drift, strict=True)
        if frames or growth
    )
    recording = replace(recording, table=table).with_note(
        f"corrected sync offsets, frames: {listed}"
        if listed
        else "no view is late by a whole frame: nothing to correct"
    )
    if not known.all():
        recording = recording.with_note(f"no sync offset for {', '.join(names[~known])}, left as recorded")
    return _with_sync_offsets(associate(recording))


def _with_sync_offsets(recording: Recording) -> Recording:
    if len(recording) < 3 or np.median(np.diff(recording.frame_numbers)) > 1:
        return recording
    points_img = recording.points[..., :2]
    size = np.median(sizes_over_time(points_img), 0)
    offsets = estimate_sync_offsets(points_img, recording.rig.cameras, size, FLIP_PAIRS)
    return replace(recording, sync_offsets=offsets)
