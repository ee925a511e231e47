"""Do the images move as the labels say? Finds images that are shifted in time, mirrored, or of another camera.

The joints are tracked from each image to the next and the tracks compared with the labels' motion. Nothing but the
images and the 2D labels is needed, so it also finds what is wrong with the images alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from lib.core.data_check.findings import ERROR, NOTE, WARNING, Section
from lib.core.data_check.group_sequence import MAX_LAG, GroupSequence, frames_apart
from lib.core.data_check.optical_flow import Tracks, read_grey, track
from lib.utils.errors import InputError
from lib.utils.tables import markdown_table

WINDOW = 40  # groups of a window
MIN_WINDOW = 8
FOLLOWED = 0.85  # share of the motion that is left when the labels' motion is taken off; below, images follow labels
UNRELATED = 0.95  # above: images and labels have nothing to do with each other
TRACKABLE_PX = 10.0  # usual motion from image to image up to which a track is sure to hold
CLEARLY = 0.15  # by which another explanation must leave less
CLEARLY_LAG = 0.02  # the same for a shift in time, in which most of the motion is alike


def find_windows(views: GroupSequence, count: int) -> list[GroupSequence]:
    """Choose windows of consecutive groups: of different subjects, recordings and places in the recording.

    Args:
        views: groups ordered by recording and time.
        count: windows at most.
    """
    piece = views.piece
    starts = np.flatnonzero(np.diff(piece, prepend=-1))
    lengths = np.diff(np.append(starts, len(piece)))
    order = np.argsort(-np.minimum(lengths, WINDOW), kind="stable")
    subject = views.recording[starts, 0]
    usable = [index for index in order.tolist() if lengths[index] >= MIN_WINDOW]
    firsts = [index for place, index in enumerate(usable) if subject[index] not in subject[usable[:place]]]
    chosen = [*firsts, *(index for index in usable if index not in firsts)][:count]
    windows = []
    for number in range(min(count, 3 * len(chosen))):  # where there are few pieces, several windows of each
        turn, which = divmod(number, len(chosen))
        index = chosen[which]
        spare = max(0, int(lengths[index]) - WINDOW)
        if turn and spare < 2 * WINDOW:
            continue  # it would hold the images of an earlier one
        # The beginning, the middle or the end: what goes wrong on the way is seen only behind it.
        start = starts[index] + spare * ((which + turn) % 3) // 2
        windows.append(views.take(np.arange(start, start + min(lengths[index], WINDOW))))
    return windows


def check_motion(windows: list[GroupSequence], data_format: str) -> Section:
    """Compare the motion in the images with that of the labels, per view.

    Args:
        windows: of find_windows().
        data_format: "jpg" or "zip".
    """
    section = Section("Images against labels in motion")
    if not windows:
        section.not_judged(f"no recording has {MIN_WINDOW} groups in a row")
        return section
    readable, tracks = [], []
    for window in tqdm(windows, desc="motion", unit="window", disable=None, leave=False):
        try:
            tracks.append(
                [track(window, view, read_grey(window, view, data_format)) for view in range(window.num_views)]
            )
            readable.append(window)
        except InputError as error:
            section.add(NOTE, f"a window was left out: {error}")
    if not readable:
        section.not_judged("no window could be read")
        return section
    rows = []
    for view, camera_id in enumerate(windows[0].camera_ids):
        own = Tracks.joined([parts[view] for parts in tracks])
        rows.append([f"camera {camera_id}", own.usual_px(), *_judge(section, readable, view, own, data_format)])
    header = ["", "motion of the labels (px)", "explained by the images (%)", "best shift (groups)"]
    section.body = markdown_table(header, rows, 0)
    return section


def _judge(
    section: Section, windows: list[GroupSequence], view: int, tracks: Tracks, data_format: str
) -> tuple[float | None, int | None]:
    """Add what is wrong with a view; returns the share of the motion that is explained (%) and the best shift."""
    camera = f"camera {windows[0].camera_ids[view]}"
    gap = windows[0].frame_gap
    plain = tracks.unexplained()
    if plain is None:
        section.not_judged(f"{camera}: the person hardly moves, or nothing can be followed in the images")
        return None, None
    lag, gain, left = tracks.best_lag()
    share = 100 * (1 - plain)
    others = dict(_other_images(windows, view, data_format)) if plain > FOLLOWED else {}
    name = min(others, key=others.get, default="")
    if name and others[name] < min(FOLLOWED, plain - CLEARLY, left):
        section.add(ERROR, f"{camera}: {name}")
        return share, None
    if left < FOLLOWED and gain > CLEARLY_LAG:
        section.add(
            ERROR, f"{camera}: its images show the pose {frames_apart(lag, gap)} than its labels: shifted in time"
        )
        return share, lag
    if plain <= FOLLOWED:
        return share, 0
    if tracks.usual_px() > TRACKABLE_PX:
        section.not_judged(f"{camera}: successive images are too far apart ({gap} frames) to follow anything")
    else:
        level = ERROR if plain > UNRELATED else WARNING
        section.add(
            level,
            f"{camera}: the images do not move as the labels do, nor mirrored, shifted by up to "
            f"{MAX_LAG} groups, nor as another camera's: they show something else, or cannot be "
            "followed",
        )
    return share, None


def _other_images(windows: list[GroupSequence], view: int, data_format: str) -> Iterator[tuple[str, float]]:
    """Yield what is left of the motion if the images were mirrored, or those of another camera."""
    ways = {"left and right": (0,), "top and bottom": (1,), "both ways (turned by 180 degrees)": (0, 1)}
    own = [read_grey(window, view, data_format) for window in windows]
    for name, axes in ways.items():
        found = [track(window, view, images, axes) for window, images in zip(windows, own, strict=True)]
        left = Tracks.joined(found).unexplained()
        if left is not None:
            yield f"its images are mirrored against the labels, {name}", left
    for other, camera_id in enumerate(windows[0].camera_ids):
        if other != view:
            found = [track(window, view, read_grey(window, other, data_format)) for window in windows]
            left = Tracks.joined(found).unexplained()
            if left is not None:
                yield f"the images of camera {camera_id} fit its labels: the cameras' images were exchanged", left
