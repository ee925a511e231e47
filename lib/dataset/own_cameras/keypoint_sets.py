"""Keypoint sets of 2D detectors, and their conversion to the 17 joints of Human3.6M."""

from functools import cache

import numpy as np

from lib.utils.errors import InputError, unknown_name
from lib.utils.joints import H36M_17


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_COCO = _names("nose leye reye lear rear lsho rsho lelb relb lwri rwri lhip rhip lkne rkne lank rank")
# Detector -> its points in order. Points named like a joint are that joint.
POINT_SETS: dict[str, tuple[str, ...]] = {
    "coco17": _COCO,
    "body25": _names(
        "nose mid_shoulder rsho relb rwri lsho lelb lwri mid_hip rhip rkne rank lhip lkne lank reye leye rear lear "
        "lbigtoe lsmalltoe lheel rbigtoe rsmalltoe rheel"
    ),
    "halpe26": _COCO + _names("head_top mid_shoulder mid_hip lbigtoe rbigtoe lsmalltoe rsmalltoe lheel rheel"),
    "blazepose33": _names(
        "nose leye_inner leye leye_outer reye_inner reye reye_outer lear rear lmouth rmouth "
        "lsho rsho lelb relb lwri rwri lpinky rpinky lindex rindex lthumb rthumb "
        "lhip rhip lkne rkne lank rank lheel rheel lfoot rfoot"
    ),
    "h36m17": H36M_17.names,
}
# Joint -> the points whose mean it is; other joints are the point of the same name.
_MEANS = {
    "root": ("lhip", "rhip"),
    "neck": ("lsho", "rsho"),
    "belly": ("lhip", "rhip", "lsho", "rsho"),
    "head": ("leye", "reye", "lear", "rear"),
}


def point_set_of(num_points: int, where: str) -> str:
    """Return the set with this number of points; raise an InputError if there is none. 17 points are COCO's."""
    for name, points in POINT_SETS.items():
        if len(points) == num_points and name != "h36m17":
            return name
    known = ", ".join(f"{name} ({len(points)})" for name, points in POINT_SETS.items())
    raise InputError(f"{where}: expected one of the sets {known}, received {num_points} points per person")


def to_h36m(points: np.ndarray, point_set: str) -> np.ndarray:
    """Convert a detector's points to the 17 joints of Human3.6M.

    Args:
        points: (..., K, 3) x, y in px and confidence; not finite, or confidence 0 = not seen.
        point_set: name in POINT_SETS.

    Returns:
        (..., 17, 3). A mean of points has their lowest confidence, and is NaN if one of them is not seen.

    Raises:
        InputError: the set is unknown, or has another number of points.
    """
    if point_set not in POINT_SETS:
        raise unknown_name("set of points", point_set, POINT_SETS)
    names = POINT_SETS[point_set]
    points = np.asarray(points, np.float64)
    if points.shape[-2:] != (len(names), 3):
        raise InputError(f"{point_set}: expected {len(names)} points of 3 numbers, received {points.shape[-2:]}")
    seen = np.isfinite(points).all(-1) & (points[..., 2] > 0)
    points = np.where(seen[..., None], points, np.nan)
    joints = np.empty((*points.shape[:-2], len(H36M_17), 3))
    same, of_same, means = _sources(point_set)
    joints[..., same, :] = points[..., of_same, :]
    for joint, sources in means.items():
        chosen = points[..., sources, :]
        joints[..., joint, :2] = chosen[..., :2].mean(-2)
        joints[..., joint, 2] = chosen[..., 2].min(-1)
    return joints


@cache
def _sources(point_set: str) -> tuple[list[int], list[int], dict[int, list[int]]]:
    """Return the joints that are a point of the set, these points, and joint -> points for the other joints."""
    names = POINT_SETS[point_set]
    same = [joint for joint, name in enumerate(H36M_17.names) if name in names]
    means = {
        joint: [names.index(point) for point in _MEANS[name]]
        for joint, name in enumerate(H36M_17.names)
        if name not in names
    }
    return same, [names.index(H36M_17.names[joint]) for joint in same], means
