"""Check of the images against the motion of the labels.

It needs only images and 2D labels, so it also finds faults of the images alone: shifted in time, mirrored, or
of another camera.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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


def check_motion(windows: Sequence[GroupSequence], data_format: str) -> Section:
    """Compare the motion in the images of find_windows() with the motion of the labels, per view."""
    section = Section("Images against labels in motion")
    if not windows:
        section.not_judged(f"no recording has {SETTINGS.min_window} groups in a row")
        return section
    readable, tracks = [], []
    for window in tqdm(windows, desc="motion", unit="window", disable=None, leave=False):
        try:
            images = (read_gray(window, view, data_format) for view in range(window.num_views))
            tracks.append([track(window, view, gray) for view, gray in enumerate(images)])
            readable.append(window)
        except InputError as error:
            section.add(NOTE, f"a window was left out: {error}")
    if not readable:
        section.not_judged("no window could be read")
        return section
    table = []
    for view, camera in enumerate(windows[0].camera_names):
        joined = Tracks.joined([parts[view] for parts in tracks])
        table.append([camera, joined.usual_px(), *_judge(section, readable, view, joined, data_format)])
    header = ["", "motion of the labels (px)", "explained by the images (%)", "best shift (groups)"]
    section.body = markdown_table(header, table, 0)
    return section


def _judge(
    section: Section, windows: Sequence[GroupSequence], view: int, tracks: Tracks, data_format: str
) -> tuple[float | None, int | None]:
    """Add the findings of a view; return the explained share of the motion (%) and the best shift."""
    camera = windows[0].camera_names[view]
    gap = windows[0].frame_gap
    plain = tracks.unexplained()
    if plain is None:
        section.not_judged(f"{camera}: the person hardly moves, or no joint can be tracked in the images")
        return None, None
    lag, gain, rest = tracks.best_lag()
    share = 100 * (1 - plain)
    others = dict(_other_images(windows, view, data_format)) if plain > SETTINGS.followed else {}
    name = min(others, key=others.get, default="")
    if name and others[name] < min(SETTINGS.followed, plain - SETTINGS.clearly, rest):
        section.add(ERROR, f"{camera}: {name}")
        return share, None
    if rest < SETTINGS.followed and gain > SETTINGS.clearly_lag:
        section.add(
            ERROR, f"{camera}: its images show the pose {frames_apart(lag, gap)} than its labels: shifted in time"
        )
        return share, lag
    if plain <= SETTINGS.followed:
        return share, 0
    if tracks.usual_px() > SETTINGS.trackable_px:
        section.not_judged(f"{camera}: successive images are too far apart ({gap} frames) for tracking")
    else:
        section.add(
            ERROR if plain > SETTINGS.unrelated else WARNING,
            f"{camera}: the images do not move as the labels do, neither mirrored, shifted by up to {MAX_LAG} groups, "
            "nor as another camera's: they show something else, or cannot be tracked",
        )
    return share, None


def _other_images(windows: Sequence[GroupSequence], view: int, data_format: str) -> Iterator[tuple[str, float]]:
    """Yield the unexplained share with mirrored images, and with the images of each other camera."""

    def images(camera: int) -> list[np.ndarray]:
        return [read_gray(window, camera, data_format) for window in windows]

    def unexplained(images: Sequence[np.ndarray], axes: tuple[int, ...] = ()) -> float | None:
        parts = [track(window, view, gray, axes) for window, gray in zip(windows, images, strict=True)]
        return Tracks.joined(parts).unexplained()

    ways = {"left and right": (0,), "top and bottom": (1,), "both ways (turned by 180 degrees)": (0, 1)}
    same = images(view)
    shares = {f"its images are mirrored against the labels, {way}": unexplained(same, ways[way]) for way in ways}
    for other, camera in enumerate(windows[0].camera_names):
        if other != view:
            text = f"the images of {camera} fit its labels: the cameras' images were swapped"
            shares[text] = unexplained(images(other))
    yield from ((text, share) for text, share in shares.items() if share is not None)
