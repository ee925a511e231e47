"""Faults of a calibration that moving its cameras cannot mend: how they show, and how they are called."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.triangulate_robust import triangulate_robust
from lib.multiviews.keypoints.view_consensus import reprojection_error
from lib.multiviews.recording.synchronization import swap_free_points
from lib.multiviews.rig.rig_adjustment import RigAdjustment
from lib.multiviews.rig.rig_parameters import FOCAL, PRINCIPAL, RADIAL
from lib.utils.selection import evenly_spread

_OBLONG = 0.1  # share by which width and height differ; an exchange in a square image would be a small shift


@dataclass(frozen=True)
class FaultSettings:
    """Limits of the tests for faults.

    Attributes:
        frames: evenly spread frames in which conventions are compared.
        tolerance: reprojection error of an inlier, share of the person's size.
        fits: share of inliers in each view of a rig without gross faults.
        explains: the same with the right convention; less, since views may be out of sync.
        gain: growth of the share of inliers that shows a wrong convention.
        significant: standard deviations per unknown of a deviation that counts.
        mirrored_step: share by which each mirrored principal point must lower the error.
        mirrored_rest: share of the error beyond that of the refined rig which mirrored principal points may leave.
        focal, principal, radial: smallest deviations that count: share, share of the focal length, coefficient.
    """

    frames: int = 60
    tolerance: float = 0.08
    fits: float = 0.8
    explains: float = 0.65
    gain: float = 0.1
    significant: float = 3.5
    mirrored_step: float = 0.05
    mirrored_rest: float = 0.12
    focal: float = 0.01
    principal: float = 0.012
    radial: float = 0.08


@dataclass(frozen=True)
class Convention:
    """A rig as it would be if one of its numbers meant something else.

    Attributes:
        text: what is wrong.
        cameras: leading axis V.
        points: (F, V, P, 2) image px.
    """

    text: str
    cameras: Cameras
    points: np.ndarray


def _errors(points: np.ndarray, cameras: Cameras, size: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the distances (F, V, P), px, from points triangulated from the views that agree; infinite = unknown.

    Args:
        points: (F, V, P, 2) image px; NaN = not seen.
        cameras: leading axis V.
        size: (V,) size of the person, px.
        tolerance: largest error of a view that agrees, share of `size`.
    """
    num_frames = len(points)
    over_frames = cameras.map(lambda array: np.broadcast_to(array, (num_frames, *array.shape)))
    limit = np.broadcast_to(tolerance * size, points.shape[:2])
    world = triangulate_robust(points[:, :, :, None], np.ones((*points.shape[:3], 1)), over_frames, limit)
    error = reprojection_error(world, points, over_frames, np.ones(points.shape[:2]))
    return np.nan_to_num(error, nan=np.inf)


def inlier_share(points: np.ndarray, cameras: Cameras, size: np.ndarray, tolerance: float) -> np.ndarray:
    """Return the share (V,) of the points of each view that agree with points triangulated from all views.

    Args:
        points: (F, V, P, 2) image px; NaN = not seen.
        cameras: leading axis V.
        size: (V,) size of the person, px.
        tolerance: share of `size`.
    """
    inside = _errors(points, cameras, size, tolerance) <= (tolerance * size)[:, None]
    seen = np.isfinite(points).all(-1)
    return inside.sum((0, 2)) / np.maximum(seen.sum((0, 2)), 1)


def wrong_convention(
    points_img: np.ndarray,
    cameras: Cameras,
    image_wh: np.ndarray,
    size: np.ndarray,
    flip_pairs: Sequence[tuple[int, int]],
    names: Sequence[str],
    settings: FaultSettings = FaultSettings(),
) -> str | None:
    """Name the convention that would make a rig fit that does not fit at all; None = it fits, or none does.

    Args:
        points_img: (F, V, J, 2) image px; NaN = not seen.
        cameras: leading axis V.
        image_wh: (V, 2) px; 0 = unknown.
        size: (V,) size of the person, px.
        flip_pairs: (right, left) joints.
        names: names of the views.
        settings: see FaultSettings.
    """
    points = swap_free_points(_spread(points_img, settings.frames), flip_pairs)
    given = inlier_share(points, cameras, size, settings.tolerance)
    if given.min() >= settings.fits:
        return None
    wh = np.where(image_wh > 0, image_wh, 2 * cameras.c + 1)
    tested = [
        (inlier_share(found.points, found.cameras, size, settings.tolerance), found.text)
        for found in _conventions(points, cameras, wh, names)
    ]
    shares = [share.mean() for share, _ in tested]
    best = int(np.argmax(shares))
    explains = tested[best][0].min() >= settings.explains and shares[best] >= given.mean() + settings.gain
    return tested[best][1] if explains else None


def _spread(points: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` evenly spaced frames of points (F, ...)."""
    return points[evenly_spread(len(points), count)]


def _root_mean_square(values: Sequence[float] | np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def mirrored_principal_points(
    points_img: np.ndarray,
    cameras: Cameras,
    refined: Cameras,
    image_wh: np.ndarray,
    size: np.ndarray,
    flip_pairs: Sequence[tuple[int, int]],
    names: Sequence[str],
    settings: FaultSettings = FaultSettings(),
) -> str | None:
    """Name two or more principal points that, counted from the other edge of the image, make the given rig fit.

    The cameras stay where the given rig has them. A single mirrored principal point looks like a turned camera.

    Args:
        points_img: (F, V, J, 2) image px of synchronous views; NaN = not seen.
        cameras: the given rig, leading axis V.
        refined: the refined rig, whose error is that of a rig that is right.
        image_wh: (V, 2) px; 0 = unknown.
        size: (V,) size of the person, px.
        flip_pairs: (right, left) joints.
        names: names of the views.
        settings: frames, tolerance, mirrored_step and mirrored_rest.
    """
    if not (image_wh > 0).all():
        return None
    points = swap_free_points(_spread(points_img, settings.frames), flip_pairs)
    seen = np.isfinite(points).all(-1)
    used = np.flatnonzero(seen.any((0, 2)))

    def error_px(one: Cameras) -> float:
        errors = _errors(points, one, size, settings.tolerance)
        return _root_mean_square([np.median(errors[:, view][seen[:, view]]) for view in used])

    given, least = error_px(cameras), error_px(refined)
    best, mirrored = given, np.zeros_like(cameras.c, bool)  # (V, 2)
    if not np.isfinite(given):  # no two views agree on most points: they are off by the tolerance or more
        given = _root_mean_square(settings.tolerance * size[used])
    one_at_a_time = np.eye(mirrored.size, dtype=bool).reshape(-1, *mirrored.shape)
    all_of_an_axis = np.stack([np.broadcast_to(axis, mirrored.shape) for axis in np.eye(2, dtype=bool)])
    while True:  # the error decreases by a share each time
        tested = [mirrored ^ change for change in (*one_at_a_time, *all_of_an_axis)]
        errors = [
            error_px(replace(cameras, c=np.where(chosen, image_wh - 1 - cameras.c, cameras.c))) for chosen in tested
        ]
        if not min(errors) < (1 - settings.mirrored_step) * best:  # also if all are infinite
            break
        best, mirrored = min(errors), tested[int(np.argmin(errors))]
    listed = [
        f"{name} (in {' and '.join(letter for letter, is_one in zip('xy', axes, strict=True) if is_one)})"
        for name, axes in zip(names, mirrored, strict=True)
        if axes.any()
    ]
    if len(listed) < 2 or not best - least <= settings.mirrored_rest * (given - least):
        return None
    return (
        f"the principal points of {', '.join(listed)} are mirrored: counted from the other edge of the image they fit "
        f"without moving a camera ({given:.1f} px before, {best:.1f} px then, {least:.1f} px with all cameras moved)"
    )


def _conventions(points: np.ndarray, cameras: Cameras, wh: np.ndarray, names: Sequence[str]) -> Iterator[Convention]:
    """Yield the conventions that people mix up, of all cameras, of one, and of two."""
    num_views = len(cameras)
    everywhere = np.ones(num_views, bool)
    for chosen, whose in ((everywhere, "all cameras"), *zip(np.eye(num_views, dtype=bool), names, strict=True)):
        for text, changed in _changed_cameras(cameras, wh):
            merged = Cameras(
                **{
                    name: np.where(chosen.reshape(-1, *[1] * (old.ndim - 1)), getattr(changed, name), old)
                    for name, old in vars(cameras).items()
                }
            )
            yield Convention(f"{whose}: {text}", merged, points)
        for text, moved in _changed_images(points, wh):
            yield Convention(f"{whose}: {text}", cameras, np.where(chosen[:, None, None], moved, points))
    for one, other in itertools.combinations(range(num_views), 2):
        order = np.arange(num_views)
        order[[one, other]] = other, one
        exchanged = replace(cameras[order], f=cameras.f, c=cameras.c, k=cameras.k, p=cameras.p)
        yield Convention(f"{names[one]} and {names[other]} are exchanged", exchanged, points)


def _changed_cameras(cameras: Cameras, wh: np.ndarray) -> Iterator[tuple[str, Cameras]]:
    turned = cameras.R.swapaxes(-1, -2)
    translation = -(cameras.R @ cameras.T[..., None])[..., 0]
    yield "rotation and translation are of the camera in the world", replace(cameras, R=turned, T=translation)
    yield "the translation is the center of the camera", replace(cameras, T=translation)
    for factor in (1000.0, 100.0, 10.0):
        yield f"the translation is in a unit {factor:g} times too small", replace(cameras, T=cameras.T * factor)
        yield f"the translation is in a unit {factor:g} times too large", replace(cameras, T=cameras.T / factor)
    for factor in (2.0, 1.5, 2 / 3, 0.5):
        resized = replace(cameras, f=cameras.f * factor, c=(cameras.c + 0.5) * factor - 0.5)
        yield f"calibrated for images {1 / factor:.3g} times as large as the videos", resized
    oblong = np.abs(np.diff(cameras.c)) > _OBLONG * cameras.c.max(-1, keepdims=True)
    f, c = (np.where(oblong, values[..., ::-1], values) for values in (cameras.f, cameras.c))
    yield "width and height are exchanged", replace(cameras, f=f, c=c)


def _changed_images(points: np.ndarray, wh: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    x, y = points[..., 0], points[..., 1]
    right, bottom = (wh[:, axis, None] - 1 for axis in (0, 1))
    yield "the video is mirrored", np.stack([right - x, y], -1)
    yield "the video is upside down and mirrored", np.stack([x, bottom - y], -1)
    yield "the video is upside down", np.stack([right - x, bottom - y], -1)
    yield "the video is turned by 90 degrees", np.stack([y, right - x], -1)
    yield "the video is turned by -90 degrees", np.stack([bottom - y, x], -1)


@dataclass(frozen=True)
class LensFault:
    """A number of a lens that differs from the given one by more than the detections leave open.

    Attributes:
        view: index of the camera.
        kind: "focal", "principal" or "radial".
        value: deviation: share of the focal length, px (2), or k1.
        sd: its standard deviation, in the same unit.
        text: in words.
    """

    view: int
    kind: str
    value: np.ndarray
    sd: np.ndarray
    text: str


_LENS_COLUMNS = {"focal": [FOCAL], "principal": [PRINCIPAL.start, PRINCIPAL.start + 1], "radial": [RADIAL]}


def lens_faults(
    adjustment: RigAdjustment,
    inflation: float,
    image_wh: np.ndarray,
    names: Sequence[str],
    settings: FaultSettings = FaultSettings(),
) -> list[LensFault]:
    """Name the numbers of lenses that explain what still does not fit after a refinement.

    Each number is tested alone, with the cameras and clocks free; the one that explains most is freed, and the others
    are tested again. With all of them free at once, too little would be known about any.

    Args:
        adjustment: result of a refinement.
        inflation: factor of the covariance for residuals that depend on each other.
        image_wh: (V, 2) px; 0 = unknown.
        names: names of the views.
        settings: see FaultSettings.
    """
    was_free = adjustment.free
    everything = was_free.copy()
    for columns in _LENS_COLUMNS.values():
        everything[:, columns] = True
    adjustment.set_free(everything)
    matrix, equations = adjustment.equations()
    right = equations.right
    adjustment.set_free(was_free)
    place = np.full(everything.shape, -1)  # of each unknown in the equations
    place[everything] = np.arange(len(matrix))
    cameras = adjustment.state.cameras
    candidates = [
        (view, kind, place[view, columns])
        for view in range(len(names))
        for kind, columns in _LENS_COLUMNS.items()
        if not was_free[view, columns].any()
    ]
    free = place[was_free]
    faults: list[LensFault] = []
    while candidates:
        tested = [_alone(matrix, right, free, rows) for _, _, rows in candidates]
        deviations = [
            float(np.sqrt(value @ np.linalg.solve(inflation * covariance, value) / len(value)))
            for value, covariance in tested
        ]
        best = int(np.argmax(deviations))
        (view, kind, rows), (value, covariance) = candidates.pop(best), tested[best]
        if deviations[best] < settings.significant:
            break
        free = np.append(free, rows)
        least = {"focal": settings.focal, "radial": settings.radial}
        least["principal"] = settings.principal * float(cameras.f[view].mean())
        if np.linalg.norm(value) > least[kind]:
            sd = np.sqrt(inflation * np.diagonal(covariance))
            text = f"{names[view]}: {_lens_text(kind, value, sd, cameras.c[view], image_wh[view])}"
            faults.append(LensFault(view, kind, value, sd, text))
    return faults


def _alone(matrix: np.ndarray, right: np.ndarray, free: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return value (n,) and covariance (n, n) of the unknowns `rows` if only they and `free` are estimated."""
    chosen = np.append(free, rows)
    unit = 1 / np.sqrt(np.diagonal(matrix)[chosen])
    inverse = np.linalg.inv(matrix[np.ix_(chosen, chosen)] * unit * unit[:, None]) * unit * unit[:, None]
    count = len(rows)
    return (inverse @ right[chosen])[-count:], inverse[-count:, -count:]


def _lens_text(kind: str, value: np.ndarray, sd: np.ndarray, middle: np.ndarray, wh: np.ndarray) -> str:
    if kind == "focal":
        return f"the focal length differs by about {100 * value[0]:+.1f} % (sd {100 * sd[0]:.1f} %)"
    if kind == "radial":
        return f"the lens distortion k1 differs by about {value[0]:+.2f} (sd {sd[0]:.2f})"
    # Other unknowns take a part of it: the direction is right, the length too short.
    text = f"the principal point differs by at least {value[0]:+.0f}, {value[1]:+.0f} px"
    mirrored = wh - 1 - 2 * middle
    if (wh > 0).all() and np.linalg.norm(mirrored) > 4 * np.linalg.norm(mirrored - value):
        text += "; mirrored about the middle of the image it would fit"
    return text
