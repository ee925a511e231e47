"""The points of 2D detectors by name, and the joints of Human3.6M out of them: the one table."""

from __future__ import annotations

import numpy as np

from lib.utils.errors import InputError, unknown_name
from lib.utils.joints import H36M_17

_COCO = (
    "nose",
    "leye",
    "reye",
    "lear",
    "rear",
    "lsho",
    "rsho",
    "lelb",
    "relb",
    "lwri",
    "rwri",
    "lhip",
    "rhip",
    "lkne",
    "rkne",
    "lank",
    "rank",
)
# detector's set -> its points in order; those that no joint is made of have names of their own
POINT_SETS: dict[str, tuple[str, ...]] = {
    "coco17": _COCO,
    "body25": (
        "nose",
        "mid shoulder",
        "rsho",
        "relb",
        "rwri",
        "lsho",
        "lelb",
        "lwri",
        "mid hip",
        "rhip",
        "rkne",
        "rank",
        "lhip",
        "lkne",
        "lank",
        "reye",
        "leye",
        "rear",
        "lear",
        "lbigtoe",
        "lsmalltoe",
        "lheel",
        "rbigtoe",
        "rsmalltoe",
        "rheel",
    ),
    "halpe26": (
        *_COCO,
        "head top",
        "mid shoulder",
        "mid hip",
        "lbigtoe",
        "rbigtoe",
        "lsmalltoe",
        "rsmalltoe",
        "lheel",
        "rheel",
    ),
    "blazepose33": (
        "nose",
        "leye inner",
        "leye",
        "leye outer",
        "reye inner",
        "reye",
        "reye outer",
        "lear",
        "rear",
        "lmouth",
        "rmouth",
        "lsho",
        "rsho",
        "lelb",
        "relb",
        "lwri",
        "rwri",
        "lpinky",
        "rpinky",
        "lindex",
        "rindex",
        "lthumb",
        "rthumb",
        "lhip",
        "rhip",
        "lkne",
        "rkne",
        "lank",
        "rank",
        "lheel",
        "rheel",
        "lfoot",
        "rfoot",
    ),
    "h36m17": H36M_17.names,
}
# joint -> the points whose middle it is; joints that are not here are the points of the same name
_MIDDLES = {
    "root": ("lhip", "rhip"),
    "neck": ("lsho", "rsho"),
    "belly": ("lhip", "rhip", "lsho", "rsho"),
    "head": ("leye", "reye", "lear", "rear"),
}


def point_set_of(num_points: int, where: str) -> str:
    """Return the set that has a number of points; an InputError says so if none has."""
    for name, points in POINT_SETS.items():
        if len(points) == num_points and name != "h36m17":  # 17 points are COCO's unless something else is said
            return name
    known = ", ".join(f"{name} ({len(points)})" for name, points in POINT_SETS.items())
    raise InputError(f"{where}: {num_points} points per person; known sets: {known}")


def to_h36m(points: np.ndarray, point_set: str) -> np.ndarray:
    """Turn a detector's points into Human3.6M's 17 joints.

    Args:
        points: (..., K, 3) x, y in px and confidence; not finite, or confidence 0 = not seen.
        point_set: a name out of POINT_SETS.

    Returns:
        (..., 17, 3); a middle has the lowest confidence of its points, and is NaN where one of them was not seen.

    Raises:
        InputError: unknown set, or another number of points.
    """
    if point_set not in POINT_SETS:
        raise unknown_name("set of points", point_set, POINT_SETS)
    names = POINT_SETS[point_set]
    points = np.asarray(points, np.float64)
    if points.shape[-2:] != (len(names), 3):
        raise InputError(f"{point_set}: expected {len(names)} points of 3 numbers, received {points.shape[-2:]}")
    seen = np.isfinite(points).all(-1) & (points[..., 2] > 0)
    points = np.where(seen[..., None], points, np.nan)
    joints = []
    for joint in H36M_17.names:
        sources = (joint,) if joint in names else _MIDDLES[joint]
        chosen = points[..., [names.index(name) for name in sources], :]
        joints.append(np.append(chosen[..., :2].mean(-2), chosen[..., 2:].min(-2), -1))
    return np.stack(joints, -2)
