"""Noise of 2D detections, measured between pairs of views, and the views that do not fit the others."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from lib.multiviews.cameras import Cameras
from lib.multiviews.recording.synchronization import epipolar_distances

_QUANTILE = 0.25  # stays a measure of the noise with half of the distances wrong
_QUANTILE_OF_NORMAL = 0.3186  # the same quantile of the absolute value of a standard normal variable
_FEW = 3.0  # the noise counts more by this / sqrt(distances), since few distances underestimate it
_MAX_FRAMES = 200  # evenly spread frames that are compared
_MISFIT = 2.5  # ratio of the noise of two pairs of views above which they disagree
_MIN_MISFIT = 0.01  # share of the person's size; smaller noise is no misfit


@dataclass(frozen=True)
class ViewNoise:
    """Noise of the detections of V views.

    Attributes:
        px: (V,) standard deviation per axis.
        off: views that do not fit the others, which fit each other.
    """

    px: np.ndarray
    off: tuple[int, ...] = ()


def measure_view_noise(points_img: np.ndarray, cameras: Cameras, size: np.ndarray) -> ViewNoise:
    """Measure the noise by the distances of detections from epipolar lines.

    A view is off if its distances to most views of the largest consistent set are clearly larger than the distances
    within the set.

    Args:
        points_img: (F, V, J, 2) image px; NaN = not seen.
        cameras: leading axes (F, V), the same in all frames.
        size: (F, V) size of the person, px.
    """
    num_frames, num_views = points_img.shape[:2]
    frames = np.unique(np.linspace(0, num_frames - 1, min(num_frames, _MAX_FRAMES)).astype(int))
    focal = cameras.f[0].mean(-1)  # (V,)
    share = np.median(size, 0) / focal
    noise = np.full((num_views, num_views), np.nan)  # of pairs, relative to the focal length
    for one, other in itertools.permutations(range(num_views), 2):
        points = (points_img[frames, view].reshape(-1, 2) for view in (one, other))
        distance = np.abs(epipolar_distances(*points, cameras[0, one], cameras[0, other]))
        distance = distance[np.isfinite(distance)]
        if distance.size:
            measured = np.quantile(distance, _QUANTILE) / _QUANTILE_OF_NORMAL / np.sqrt(2)
            noise[one, other] = measured * (1 + _FEW / np.sqrt(distance.size)) / focal[other]
    noise = np.fmax(noise, noise.T)
    fitting = _largest_consistent_set(noise)
    off = ()
    if len(fitting) >= 2:
        limit = max(_MISFIT * np.nanmax(noise[np.ix_(fitting, fitting)]), _MIN_MISFIT * np.median(share))
        # A misfit along the epipolar lines of one other view is invisible to it, so most views decide.
        contradicted = (noise[:, fitting] > limit).sum(1) * 2 > len(fitting)
        off = tuple(view for view in np.flatnonzero(contradicted).tolist() if view not in fitting)
    best = np.where(np.isnan(noise), np.inf, noise).min(1, initial=np.inf)
    typical = np.median(best[np.isfinite(best)]) if np.isfinite(best).any() else 0.0
    return ViewNoise(np.where(np.isfinite(best), np.minimum(best, typical), typical) * focal, off)


def _largest_consistent_set(noise: np.ndarray) -> list[int]:
    """Return the largest set of views whose pairs have similar noise, the one with the least noise if several do."""
    num_views = len(noise)
    for count in range(num_views, 1, -1):
        found = []
        for views in itertools.combinations(range(num_views), count):
            pairs = noise[np.ix_(views, views)][np.triu_indices(count, 1)]
            if np.isfinite(pairs).all() and pairs.max() <= _MISFIT * pairs.min():
                found.append((pairs.max(), list(views)))
        if found:
            return min(found)[1]
    return []
