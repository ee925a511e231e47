"""Skeleton as a tree of joints, for any joint set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from lib.utils.errors import InputError
from lib.utils.joints import H36M_17, JointSet


@dataclass(frozen=True)
class HumanBody:
    """Tree over named joints. A limb is an edge (parent, child).

    Attributes:
        joint_names: names in the order of the pose arrays.
        parents: per joint the index of its parent, -1 for the root.
    """

    joint_names: tuple[str, ...]
    parents: tuple[int, ...]

    def __post_init__(self) -> None:
        num_joints = len(self.joint_names)
        if len(self.parents) != num_joints or len(set(self.joint_names)) != num_joints:
            raise InputError(f"body: expected one parent per joint and unique names, received {self.joint_names}")
        if self.parents.count(-1) != 1 or not all(-1 <= parent < num_joints for parent in self.parents):
            raise InputError(f"body: expected one root (-1) and parents below {num_joints}, received {self.parents}")
        reached = sum(len(level) for level in self.levels)
        if reached != num_joints:
            raise InputError(f"body: {num_joints - reached} joints are not connected to the root: {self.parents}")

    @classmethod
    def from_names(cls, joint_names: Sequence[str], parent_of: Mapping[str, str]) -> HumanBody:
        """Build a body from a child -> parent table of names. The joint without an entry is the root.

        Raises:
            InputError: a name is unknown, or the table is not a tree over the joints.
        """
        index = {name: i for i, name in enumerate(joint_names)}
        unknown = sorted({*parent_of, *parent_of.values()} - index.keys())
        if unknown:
            raise InputError(f"body: unknown joints in the tree: {', '.join(unknown)}")
        parents = tuple(index[parent_of[name]] if name in parent_of else -1 for name in joint_names)
        return cls(tuple(joint_names), parents)

    @property
    def num_joints(self) -> int:
        """Number of joints J."""
        return len(self.joint_names)

    @cached_property
    def root(self) -> int:
        """Index of the root joint."""
        return self.parents.index(-1)

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Per joint the indices of its children, ascending."""
        return tuple(
            tuple(child for child, parent in enumerate(self.parents) if parent == joint)
            for joint in range(self.num_joints)
        )

    @cached_property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Joints by number of limbs to the root, ascending within a level. The first level is the root."""
        levels = [(self.root,)]
        while levels[-1] and len(levels) <= self.num_joints:
            levels.append(tuple(sorted(child for joint in levels[-1] for child in self.children[joint])))
        return tuple(level for level in levels if level)

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """The J-1 limbs (parent, child), level by level from the root. Limb arrays have this order."""
        return tuple((self.parents[joint], joint) for level in self.levels[1:] for joint in level)

    @property
    def edges_leaf_to_root(self) -> tuple[tuple[int, int], ...]:
        """The limbs (parent, child) from the leaves to the root."""
        return self.edges[::-1]

    @cached_property
    def limb_names(self) -> tuple[str, ...]:
        """Names such as "rhip-rkne", in the order of `edges`."""
        return tuple(f"{self.joint_names[parent]}-{self.joint_names[child]}" for parent, child in self.edges)

    def limb_lengths(self, pose: Any) -> Any:
        """Return the limb lengths (..., J-1), mm, of poses (..., J, 3), mm. Takes numpy arrays or torch tensors."""
        parents = [parent for parent, _ in self.edges]
        children = [child for _, child in self.edges]
        difference = pose[..., children, :] - pose[..., parents, :]
        return (difference * difference).sum(-1) ** 0.5


_PARENT_OF = {
    "rhip": "root",
    "rkne": "rhip",
    "rank": "rkne",
    "lhip": "root",
    "lkne": "lhip",
    "lank": "lkne",
    "belly": "root",
    "neck": "belly",
    "nose": "neck",
    "head": "nose",
    "lsho": "neck",
    "lelb": "lsho",
    "lwri": "lelb",
    "rsho": "neck",
    "relb": "rsho",
    "rwri": "relb",
}


@cache
def body_of(joint_set: JointSet) -> HumanBody:
    """Return the Human3.6M skeleton restricted to a joint set.

    Raises:
        InputError: a joint of the set, or its parent, is missing from the tree.
    """
    parent_of = {name: _PARENT_OF[name] for name in joint_set.names if name in _PARENT_OF}
    return HumanBody.from_names(joint_set.names, parent_of)


H36M_BODY = body_of(H36M_17)
