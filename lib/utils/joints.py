"""Joint names: the 20 union joints and the joints of each data set. Nothing else in the project lists joint names."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class JointSet:
    """Ordered joint names.

    Attributes:
        name: name of the set.
        names: joint names in the order of the arrays.
        flip_pairs: (right, left) names that a mirrored image swaps.
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
        """Return the indices of joint names."""
        return [self.names.index(name) for name in names]

    def mirrored_order(self) -> list[int]:
        """Return the joint indices with left and right swapped."""
        order = list(range(len(self)))
        for pair in self.flip_pairs:
            right, left = self.indices(pair)
            order[right], order[left] = left, right
        return order


def _joint_set(name: str, joints: str) -> JointSet:
    limbs = ("hip", "kne", "ank", "sho", "elb", "wri")
    return JointSet(name, tuple(joints.split(", ")), tuple((f"r{part}", f"l{part}") for part in limbs))


UNION_20 = _joint_set(
    "union",
    "root, rhip, rkne, rank, lhip, lkne, lank, belly, thorax, neck, upper neck, nose, head, head top, "
    "lsho, lelb, lwri, rsho, relb, rwri",
)
H36M_17 = _joint_set(
    "h36m", "root, rhip, rkne, rank, lhip, lkne, lank, belly, neck, nose, head, lsho, lelb, lwri, rsho, relb, rwri"
)
MPII_16 = _joint_set(
    "mpii", "rank, rkne, rhip, lhip, lkne, lank, root, thorax, upper neck, head top, rwri, relb, rsho, lsho, lelb, lwri"
)
# The nose of Total Capture is the joint of its Head bone.
TOTALCAPTURE_16 = _joint_set("totalcapture", ", ".join(name for name in H36M_17.names if name != "head"))


def to_union(values: np.ndarray, joint_set: JointSet, axis: int = 1) -> np.ndarray:
    """Scatter per-joint values to the union joints. Joints that the set lacks get 0.

    Args:
        values: array with len(joint_set) entries along `axis`.
        joint_set: joints of `values`.
        axis: joint axis.

    Returns:
        Array of the same dtype with 20 entries along `axis`.
    """
    shape = list(values.shape)
    shape[axis] = len(UNION_20)
    union = np.zeros(shape, values.dtype)
    index = [slice(None)] * values.ndim
    index[axis] = UNION_20.indices(joint_set.names)
    union[tuple(index)] = values
    return union


def union_subset(joint_set: JointSet) -> list[int]:
    """Return the ascending union indices of a set's joints, the order of predicted heatmaps."""
    return sorted(UNION_20.indices(joint_set.names))
