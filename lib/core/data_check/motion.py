"""Do the images move as the labels say? Finds images that are shifted in time, mirrored, or of another camera.

The joints are tracked from each image to the next (optical flow) and the tracks compared with the labels' motion.
Nothing but the images and the 2D labels is needed, so it also finds what is wrong with the images alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from lib.core.data_check.sample import Views, lagged
from lib.core.data_check.section import ERROR, NOTE, Section
from lib.utils.checks import InputError
from lib.utils.image_io import read_image
from lib.utils.tables import markdown_table

WINDOW = 40  # groups of a window
MIN_WINDOW = 8
MIN_STEP_PX = 0.5  # joints that move less from image to image do not count
MIN_STEPS = 60  # joint motions needed for a judgement
FOLLOWED = 0.85  # share of the motion that is left when the labels' motion is taken off; below, images follow labels
CLEARLY = 0.15  # by which another explanation must leave less
CLEARLY_LAG = 0.015  # the same for a shift in time, in which most of the motion is alike
_FLOW = {"winSize": (21, 21), "maxLevel": 3}


@dataclass(frozen=True)
class Window:
    """Consecutive groups of one recording.

    Attributes:
        views: the groups.
        images: per view the grey images, (T, h, w) uint8.
    """

    views: Views
    images: list[np.ndarray]


def find_windows(views: Views, count: int) -> list[Views]:
    """Choose windows of consecutive groups, from different subjects where there are several.

    Args:
        views: groups ordered by recording and time.
        count: windows at most.
    """
    piece = views.piece
    starts = np.flatnonzero(np.diff(piece, prepend=-1))
    lengths = np.diff(np.append(starts, len(piece)))
    order = np.argsort(-np.minimum(lengths, WINDOW), kind="stable")
    subject = views.recording[:, 0]
    chosen: list[int] = []
    for fresh in (True, False):  # first one of each subject, then any
        for index in order:
            known = {subject[starts[other]] for other in chosen}
            usable = lengths[index] >= MIN_WINDOW and index not in chosen
            if usable and len(chosen) < count and not (fresh and subject[starts[index]] in known):
                chosen.append(index)
    return [
        Views(views.annotations, views.groups[starts[i] : starts[i] + min(lengths[i], WINDOW)], views.body)
        for i in chosen
    ]


def check_motion(windows: list[Views], data_format: str) -> Section:
    """Compare the motion in the images with that of the labels, per view.

    Args:
        windows: of find_windows().
        data_format: "jpg" or "zip".
    """
    section = Section("Images against labels in motion")
    if not windows:
        section.add(NOTE, f"no recording has {MIN_WINDOW} groups in a row: not judged")
        return section
    loaded = []
    for window in tqdm(windows, desc="motion", unit="window", disable=None, leave=False):
        try:
            loaded.append(Window(window, [_grey(window, view, data_format) for view in range(window.num_views)]))
        except InputError as error:
            section.add(NOTE, f"a window was left out: {error}")
    rows = []
    for view, camera_id in enumerate(windows[0].camera_ids):
        followed, lag, text = _judge(loaded, view)
        gap = windows[0].frame_gap
        rows.append([f"camera {camera_id}", None if followed is None else 100 * (1 - followed), lag])
        if text:
            section.add(ERROR, f"camera {camera_id}: {text.format(gap=gap, frames=abs(lag or 0) * gap)}")
        elif followed is None:
            section.add(NOTE, f"camera {camera_id}: not judged: the person hardly moves, or successive images are too "
                              f"far apart ({gap} frames) to follow anything")  # fmt: skip
    section.body = markdown_table(["", "motion explained by the labels (%)", "best shift (groups)"], rows, 0)
    return section


def _grey(window: Views, view: int, data_format: str) -> np.ndarray:
    annotations = window.annotations
    images = [read_image(annotations.images_dir, annotations.image_name(row), data_format)
              for row in window.groups[:, view]]  # fmt: skip
    if len({image.shape for image in images}) > 1:
        name = annotations.image_name(window.groups[0, view])
        raise InputError(f"{name}: the images of its recording differ in size")
    return np.stack([cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in images])


def _judge(windows: list[Window], view: int) -> tuple[float | None, int | None, str]:
    """Return the share of the motion that the labels leave unexplained, the best shift in time, and what is wrong."""
    plain = _unexplained(_tracks(window, view, view, None) for window in windows)
    if plain is None:
        return None, None, ""
    lag, left, unshifted = _best_lag(windows, view)
    others = dict(_other_images(windows, view)) if plain > FOLLOWED else {}
    name = min(others, key=others.get, default="")
    if name and others[name] < min(FOLLOWED, plain - CLEARLY, left):
        return plain, None, name
    if left < min(FOLLOWED, unshifted - CLEARLY_LAG):
        side = "later" if lag > 0 else "earlier"
        return plain, lag, f"its images show the pose {{frames}} frames {side} than its labels: shifted in time"
    if plain > FOLLOWED:  # what is tracked has nothing to do with the labels, nor with anything we know
        return None, None, ""
    return plain, 0, ""


def _other_images(windows: list[Window], view: int) -> Iterator[tuple[str, float]]:
    """Yield what is left of the motion if the images were mirrored, or those of another camera."""
    ways = {"left and right": (0,), "top and bottom": (1,), "both ways (turned by 180 degrees)": (0, 1)}
    for name, axes in ways.items():
        left = _unexplained(_tracks(window, view, view, axes) for window in windows)
        if left is not None:
            yield f"its images are mirrored against the labels, {name}", left
    camera_ids = windows[0].views.camera_ids
    for other, camera_id in enumerate(camera_ids):
        if other != view:
            left = _unexplained(_tracks(window, view, other, None) for window in windows)
            if left is not None:
                yield f"the images of camera {camera_id} fit its labels: the cameras' images were exchanged", left


def _tracks(
    window: Window, view: int, image_view: int, mirrored: tuple[int, ...] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Track the labelled joints of a view from each image to the next.

    Args:
        window: the groups.
        view: whose labels.
        image_view: whose images.
        mirrored: axes (0 = x) along which the images are mirrored; the labels are mirrored with them.

    Returns:
        Motion in the images and of the labels, (T - 1, J, 2) px, NaN where a joint cannot be followed.
    """
    images, joints = window.images[image_view], window.views.joints_img[:, view]
    visible = window.views.visible[:, view]
    size = np.array(images.shape[:0:-1])  # width, height
    sign = np.ones(2)
    for axis in mirrored or ():
        joints = joints.copy()
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
    return moved * sign, np.diff(joints, axis=0) * sign


def _unexplained(tracks: Iterator[tuple[np.ndarray, np.ndarray]]) -> float | None:
    """Return the share of the labels' motion that is left when that of the images is taken off; 0: they are alike.

    None where too little moves. Motions are cut at twice the usual one, so that lost tracks do not count too much.
    """
    pairs = []
    for moved, labelled in tracks:
        wanted = np.isfinite(moved).all(-1) & (np.linalg.norm(labelled, axis=-1) > MIN_STEP_PX)
        pairs.append((moved[wanted], labelled[wanted]))
    if not pairs:
        return None
    moved, labelled = (np.concatenate(part) for part in zip(*pairs, strict=True))
    if len(moved) < MIN_STEPS:
        return None
    length = np.linalg.norm(labelled, axis=-1)
    limit = 2 * np.median(length)
    left = np.linalg.norm(moved - labelled, axis=-1)
    return float(np.minimum(left, limit).mean() / np.minimum(length, limit).mean())


def _best_lag(windows: list[Window], view: int) -> tuple[int, float, float]:
    """Find the shift in time (groups) of the images after which least of the motion is left.

    Returns:
        The shift, and what is left with it and without it, in one measure for all shifts: each leaves out other
        frames, with more or less motion in them.
    """
    tracks = [_tracks(window, view, view, None) for window in windows]
    piece = np.concatenate([np.full(len(moved), number) for number, (moved, _) in enumerate(tracks)])
    moved, labelled = (np.concatenate(part) for part in zip(*tracks, strict=True))
    length = np.linalg.norm(labelled, axis=-1)
    limit = 2 * np.median(length[length > MIN_STEP_PX])
    usual = np.minimum(length, limit).mean()

    def left(early: np.ndarray, late: np.ndarray) -> float:
        distance = np.linalg.norm(moved[early] - labelled[late], axis=-1)
        distance = distance[np.isfinite(distance)]
        return float(np.minimum(distance, limit).mean() / usual) if len(distance) >= MIN_STEPS else np.inf

    everything = np.arange(len(piece))
    found = {lag: left(early, late) for lag, early, late in lagged(piece)}
    best = min(found, key=found.get, default=0)
    return best, found.get(best, np.inf), left(everything, everything)
