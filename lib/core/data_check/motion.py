"""Check of the images against the motion of the labels.

It needs only images and 2D labels, so it also finds faults of the images alone: shifted in time, turned, mirrored, or
of another camera.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from tqdm import tqdm

from lib.core.data_check.findings import ERROR, NOTE, WARNING, Section
from lib.core.data_check.group_sequence import MAX_LAG, GroupSequence, frames_apart
from lib.core.data_check.optical_flow import Tracks, read_gray, track
from lib.utils.errors import InputError
from lib.utils.tables import markdown_table


@dataclass(frozen=True)
class MotionSettings:
    """Windows and limits; shares are of the labels' motion that the images do not show."""

    window: int = 40  # groups per window
    min_window: int = 8
    followed: float = 0.85  # below, the images follow the labels
    unrelated: float = 0.95  # above, images and labels are unrelated
    trackable_px: float = 10.0  # usual motion between images up to which tracking is reliable
    clearly: float = 0.15  # by which another explanation must be better
    clearly_lag: float = 0.02  # the same for a time shift, where most of the motion is alike


SETTINGS = MotionSettings()

# fault of the images -> how it is undone; images are (T, h, w)
_FAULTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mirrored against the labels, left and right": lambda images: images[:, :, ::-1],
    "mirrored against the labels, top and bottom": lambda images: images[:, ::-1],
    "turned against the labels by 180 degrees": lambda images: images[:, ::-1, ::-1],
    "turned against the labels by 90 degrees, clockwise": lambda images: np.rot90(images, 1, (1, 2)),
    "turned against the labels by 90 degrees, counterclockwise": lambda images: np.rot90(images, -1, (1, 2)),
    "transposed, x and y exchanged": lambda images: images.transpose(0, 2, 1),
    "turned against the labels by 90 degrees and mirrored": lambda images: images.transpose(0, 2, 1)[:, ::-1, ::-1],
}


@dataclass(frozen=True)
class MotionWindow:
    """T successive frames of V views.

    Attributes:
        joints_img: (T, V, J, 2) labels, px.
        visible: (T, V, J) bool.
        camera_names: V names.
        frame_gap: distance of successive frames.
        read: view -> (T, h, w) uint8, gray images.
    """

    joints_img: np.ndarray
    visible: np.ndarray
    camera_names: Sequence[str]
    frame_gap: int
    read: Callable[[int], np.ndarray]

    @classmethod
    def of_groups(cls, groups: GroupSequence, data_format: str) -> MotionWindow:
        """Return a window of successive groups of a data set; read() may raise an InputError."""
        gray = partial(read_gray, groups, data_format=data_format)
        return cls(groups.joints_img, groups.visible, groups.camera_names, groups.frame_gap, gray)

    def track(self, view: int, images: np.ndarray) -> Tracks:
        """Track the labels of a view through images (T, h, w)."""
        return track(self.joints_img[:, view], self.visible[:, view], images)


def find_windows(groups: GroupSequence, count: int) -> list[GroupSequence]:
    """Choose up to `count` windows of successive groups from different subjects, recordings and places in them."""
    piece = groups.piece
    starts = np.flatnonzero(np.diff(piece, prepend=-1))
    lengths = np.diff(np.append(starts, len(piece)))
    order = np.argsort(-np.minimum(lengths, SETTINGS.window), kind="stable")
    subject = groups.recording[starts, 0]
    usable = [index for index in order.tolist() if lengths[index] >= SETTINGS.min_window]
    firsts = [index for place, index in enumerate(usable) if subject[index] not in subject[usable[:place]]]
    chosen = [*firsts, *(index for index in usable if index not in firsts)][:count]
    windows = []
    for number in range(min(count, 3 * len(chosen))):  # few pieces: several windows of each
        turn, which = divmod(number, len(chosen))
        index = chosen[which]
        spare = max(0, int(lengths[index]) - SETTINGS.window)
        if turn and spare < 2 * SETTINGS.window:
            continue  # it would hold the images of an earlier window
        # Beginning, middle or end: a fault that begins within the recording shows only after it.
        start = starts[index] + spare * ((which + turn) % 3) // 2
        windows.append(groups.take(np.arange(start, start + min(lengths[index], SETTINGS.window))))
    return windows


def check_motion(windows: Sequence[MotionWindow]) -> Section:
    """Compare the motion in the images with the motion of the labels, per view."""
    section = Section("Images against labels in motion")
    if not windows:
        section.not_judged(f"no recording has {SETTINGS.min_window} groups in a row")
        return section
    readable, tracks = [], []
    for window in tqdm(windows, desc="motion", unit="window", disable=None, leave=False):
        try:
            tracks.append([window.track(view, window.read(view)) for view in range(len(window.camera_names))])
            readable.append(window)
        except InputError as error:
            section.add(NOTE, f"a window was left out: {error}")
    if not readable:
        section.not_judged("no window could be read")
        return section
    table = []
    for view, camera in enumerate(windows[0].camera_names):
        joined = Tracks.joined([parts[view] for parts in tracks])
        table.append([camera, joined.usual_px(), *_judge(section, readable, view, joined)])
    header = ["", "motion of the labels (px)", "explained by the images (%)", "best shift (frames)"]
    section.body = markdown_table(header, table, 0)
    return section


def _judge(
    section: Section, windows: Sequence[MotionWindow], view: int, tracks: Tracks
) -> tuple[float | None, int | None]:
    """Add the findings of a view; return the explained share of the motion (%) and the best shift (frames)."""
    camera = windows[0].camera_names[view]
    gap = windows[0].frame_gap
    measured = tracks.unexplained()
    plain = 1.0 if measured is None else measured  # None: perhaps the labels lie outside of the images
    share = None if measured is None else 100 * (1 - measured)
    lag, gain, rest = tracks.best_lag()
    others = dict(_other_images(windows, view)) if plain > SETTINGS.followed else {}
    name = min(others, key=others.get, default="")
    if name and others[name] < min(SETTINGS.followed, plain - SETTINGS.clearly, rest):
        section.add(ERROR, f"{camera}: {name}")
        return share, None
    if measured is None:
        section.not_judged(f"{camera}: the person hardly moves, or no joint can be tracked in the images")
        return None, None
    if rest < SETTINGS.followed and gain > SETTINGS.clearly_lag:
        section.add(
            ERROR, f"{camera}: its images show the pose {frames_apart(lag, gap)} than its labels: shifted in time"
        )
        return share, lag * max(gap, 1)
    if plain <= SETTINGS.followed:
        return share, 0
    if tracks.usual_px() > SETTINGS.trackable_px:
        section.not_judged(f"{camera}: successive images are too far apart ({gap} frames) for tracking")
    else:
        section.add(
            ERROR if plain > SETTINGS.unrelated else WARNING,
            f"{camera}: the images do not move as the labels do, neither turned, mirrored, shifted by up to "
            f"{MAX_LAG * max(gap, 1)} frames, nor as another camera's: they show something else, or cannot be tracked",
        )
    return share, None


def _other_images(windows: Sequence[MotionWindow], view: int) -> Iterator[tuple[str, float]]:
    """Yield the unexplained share with turned and mirrored images, and with the images of each other camera."""

    def unexplained(images: Sequence[np.ndarray]) -> float | None:
        return Tracks.joined(
            [window.track(view, gray) for window, gray in zip(windows, images, strict=True)]
        ).unexplained()

    own = [window.read(view) for window in windows]
    shares = {f"its images are {fault}": unexplained([undo(gray) for gray in own]) for fault, undo in _FAULTS.items()}
    for other, camera in enumerate(windows[0].camera_names):
        if other != view:
            text = f"the images of {camera} fit its labels: the cameras' images were swapped"
            shares[text] = unexplained([window.read(other) for window in windows])
    yield from ((text, share) for text, share in shares.items() if share is not None)
