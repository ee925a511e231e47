"""The only place with joint names: the 20-joint union and the joints of each data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class JointSet:
    """An ordered list of joint names.

    Attributes:
        name: name of the set.
        names: joint names in the order of the arrays that hold them.
        flip_pairs: (right, left) names that change places in a mirrored image.
    """

    name: str
    names: tuple[str, ...]
    flip_pairs: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Return the index of a joint name."""
        return self.names.index(name)

    def indices(self, names: Sequence[str]) -> list[int]:
        """Return the indices of several joint names."""
        return [self.names.index(name) for name in names]

    def mirrored_order(self) -> list[int]:
        """Return the indices of the joints with left and right exchanged."""
        order = list(range(len(self)))
        for pair in self.flip_pairs:
            right, left = self.indices(pair)
            order[right], order[left] = left, right
        return order


_LIMB_PAIRS = tuple((f"r{part}", f"l{part}") for part in ("hip", "kne", "ank", "sho", "elb", "wri"))

UNION_20 = JointSet(
    "union",
    (
        "root",
        "rhip",
        "rkne",
        "rank",
        "lhip",
        "lkne",
        "lank",
        "belly",
        "thorax",
        "neck",
        "upper neck",
        "nose",
        "head",
        "head top",
        "lsho",
        "lelb",
        "lwri",
        "rsho",
        "relb",
        "rwri",
    ),
    _LIMB_PAIRS,
)
H36M_17 = JointSet(
    "h36m",
    (
        "root",
        "rhip",
        "rkne",
        "rank",
        "lhip",
        "lkne",
        "lank",
        "belly",
        "neck",
        "nose",
        "head",
        "lsho",
        "lelb",
        "lwri",
        "rsho",
        "relb",
        "rwri",
    ),
    _LIMB_PAIRS,
)
MPII_16 = JointSet(
    "mpii",
    (
        "rank",
        "rkne",
        "rhip",
        "lhip",
        "lkne",
        "lank",
        "root",
        "thorax",
        "upper neck",
        "head top",
        "rwri",
        "relb",
        "rsho",
        "lsho",
        "lelb",
        "lwri",
    ),
    _LIMB_PAIRS,
)
# Human3.6M's without the head; the joint of Total Capture's Head bone takes the place of the nose.
TOTALCAPTURE_16 = JointSet("totalcapture", tuple(name for name in H36M_17.names if name != "head"), _LIMB_PAIRS)


def to_union(values: np.ndarray, joint_set: JointSet, axis: int = 1) -> np.ndarray:
    """Spread per-joint values over the union joints; joints that the set lacks get 0.

    Args:
        values: array with len(joint_set) entries along `axis`, in the order of the set.
        joint_set: the joints of `values`.
        axis: the joint axis.

    Returns:
        Array of the same dtype with 20 entries along `axis`.
    """
    shape = list(values.shape)
    shape[axis] = len(UNION_20)
    spread = np.zeros(shape, values.dtype)
    index = [slice(None)] * values.ndim
    index[axis] = UNION_20.indices(joint_set.names)
    spread[tuple(index)] = values
    return spread


def union_subset(joint_set: JointSet) -> list[int]:
    """Return the union indices of a set's joints, ascending (the order of predicted heatmaps)."""
    return sorted(UNION_20.indices(joint_set.names))
