"""Noise of 2D detections, measured between pairs of views, and the views that do not fit the others."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from lib.multiviews.cameras import Cameras
from lib.multiviews.recording.synchronization import epipolar_distances
from lib.utils.selection import evenly_spread

_QUANTILE = 0.25  # stays a measure of the noise with half of the distances wrong
_QUANTILE_OF_NORMAL = 0.3186  # the same quantile of the absolute value of a standard normal variable
_FEW = 3.0  # the noise counts more by this / sqrt(distances), since few distances underestimate it
_MAX_FRAMES = 200  # evenly spread frames that are compared
_MISFIT = 2.5  # ratio of the noise of two pairs of views above which they disagree
_MIN_MISFIT = 0.01  # share of the person's size; smaller noise is no misfit
_OUTLIER_STD = 3.0  # scale of the robust cost of distances, standard deviations
_CLEARLY = 1.1  # ratio of the costs of two explanations that decides between them


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
    within the set. A view that is turned along the epipolar lines of another one still fits that one. Therefore, if no
    view is off by this rule but pairs disagree, a view is off if turning it explains all distances, and turning any
    other view does so clearly worse.

    Args:
        points_img: (F, V, J, 2) image px; NaN = not seen.
        cameras: leading axes (F, V), the same in all frames.
        size: (F, V) size of the person, px.
    """
    num_frames, num_views = points_img.shape[:2]
    frames = evenly_spread(num_frames, _MAX_FRAMES)
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
        if not off and np.nanmax(noise) > limit:
            points = points_img[frames].swapaxes(0, 1).reshape(num_views, -1, 2)
            off = _turned_view(points, cameras[0], np.nanmin(noise))
    best = np.where(np.isnan(noise), np.inf, noise).min(1, initial=np.inf)
    typical = np.median(best[np.isfinite(best)]) if np.isfinite(best).any() else 0.0
    return ViewNoise(np.where(np.isfinite(best), np.minimum(best, typical), typical) * focal, off)


def _turned_view(points_img: np.ndarray, cameras: Cameras, noise: float) -> tuple[int, ...]:
    """Return the view of which a wrong rotation explains the distances of all pairs, or () if none does.

    Args:
        points_img: (V, N, 2) image px; NaN = not seen.
        cameras: leading axis V.
        noise: standard deviation of the detections per axis, relative to the focal length.
    """
    from scipy.optimize import least_squares  # rarely needed, and slow to import

    std = _OUTLIER_STD * np.sqrt(2) * noise * cameras.f.mean(-1)  # (V,) px
    num_views = len(points_img)

    def residuals(one: int, other: int, camera: Cameras) -> np.ndarray:
        """Return the distances in view `other` with another camera, shares of the scale of outliers."""
        distance = epipolar_distances(points_img[one], points_img[other], cameras[one], camera) / std[other]
        return distance[np.isfinite(distance)]

    def cost(values: np.ndarray) -> float:
        return float(np.log1p(values**2).sum())

    costs, explains = [], []
    for view in range(num_views):
        others = [other for other in range(num_views) if other != view]

        def of_view(rotvec: np.ndarray, view: int = view, others: list[int] = others) -> list[np.ndarray]:
            R = Rotation.from_rotvec(rotvec).as_matrix() @ cameras[view].R
            return [residuals(other, view, replace(cameras[view], R=R)) for other in others]

        found = least_squares(lambda rotvec, of=of_view: np.concatenate(of(rotvec)), np.zeros(3), loss="cauchy")
        turned = of_view(found.x)
        rest = [residuals(one, other, cameras[other]) for one, other in itertools.combinations(others, 2)]
        spreads = [np.quantile(np.abs(values), _QUANTILE) for values in [*turned, *rest] if values.size]
        costs.append(sum(map(cost, [*turned, *rest])))
        explains.append(max(spreads) <= _MISFIT * min(spreads))
    best = int(np.argmin(costs))
    clear = np.partition(costs, 1)[1] > _CLEARLY * costs[best]
    return (best,) if clear and explains[best] else ()


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
