"""What is drawn between joints. Imports no torch."""

from __future__ import annotations

from lib.multiviews.body import H36M_BODY, body_of
from lib.utils.drawing.vis import Skeleton
from lib.utils.joints import UNION_20, JointSet

# Limbs that only MPII's joints can show.
_MPII_LIMBS = (
    ("root", "thorax"),
    ("thorax", "upper neck"),
    ("upper neck", "head top"),
    ("thorax", "lsho"),
    ("thorax", "rsho"),
)


def skeleton_of(joint_set: JointSet) -> Skeleton:
    """Return the skeleton of a multi-view data set's joints."""
    return Skeleton.from_names(joint_set.names, body_of(joint_set).edges, joint_set.flip_pairs)


def union_skeleton() -> Skeleton:
    """Return the skeleton drawn between the 20 union joints; limbs show where both ends are visible."""
    names = [tuple(H36M_BODY.joint_names[joint] for joint in edge) for edge in H36M_BODY.edges]
    edges = [(UNION_20.index(parent), UNION_20.index(child)) for parent, child in (*names, *_MPII_LIMBS)]
    return Skeleton.from_names(UNION_20.names, edges, UNION_20.flip_pairs)
