"""Skeleton of Human3.6M, and trees in any joint order."""

from __future__ import annotations

import numpy as np
import pytest

from lib.multiviews.body import H36M_BODY, HumanBody, body_of
from lib.utils.errors import InputError
from lib.utils.joints import H36M_17, MPII_16, TOTALCAPTURE_16, JointSet


def test_body_of_h36m():
    assert H36M_BODY.root == 0
    assert H36M_BODY.parents == (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
    assert H36M_BODY.children[8] == (9, 11, 14)
    assert [len(level) for level in H36M_BODY.levels] == [1, 3, 3, 5, 3, 2]
    assert H36M_BODY.limb_names[H36M_BODY.edges.index((1, 2))] == "rhip-rkne"


def test_body_of_subset():
    assert body_of(H36M_17) is H36M_BODY
    body = body_of(TOTALCAPTURE_16)  # without the head, a leaf behind the nose
    assert body.parents == (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 8, 10, 11, 8, 13, 14)
    assert set(body.limb_names) == set(H36M_BODY.limb_names) - {"nose-head"}
    assert body_of(JointSet("legs", ("rkne", "root", "rhip"))).parents == (2, -1, 1)  # in the order of the set


@pytest.mark.parametrize(
    ("joint_set", "message"),
    [
        (JointSet("a gap", ("root", "rhip", "rank")), "rkne"),
        (MPII_16, "neck"),
        (JointSet("an unknown joint", ("root", "ear")), "one root"),
    ],
)
def test_body_of_disconnected_set(joint_set, message):
    with pytest.raises(InputError, match=f"body: .*{message}"):
        body_of(joint_set)


def test_edges_parents_precede_children():
    # joint 3 is the root; children may come before their parents in the arrays
    body = HumanBody(("a", "b", "c", "d", "e"), (1, 3, 3, -1, 0))
    assert body.root == 3
    assert body.levels == ((3,), (1, 2), (0,), (4,))
    seen = {body.root}
    for parent, child in body.edges:
        assert parent in seen
        seen.add(child)
    assert seen == set(range(5))
    assert body.edges_leaf_to_root == body.edges[::-1]


def test_limb_lengths_order_of_edges():
    pose = np.random.default_rng(0).normal(size=(2, 3, 17, 3))
    lengths = H36M_BODY.limb_lengths(pose)
    assert lengths.shape == (2, 3, 16)
    for edge, (parent, child) in enumerate(H36M_BODY.edges):
        np.testing.assert_allclose(lengths[1, 2, edge], np.linalg.norm(pose[1, 2, child] - pose[1, 2, parent]))


@pytest.mark.parametrize(
    ("names", "parents"),
    [
        (("a", "b"), (-1, -1)),  # two roots
        (("a", "b", "c"), (-1, 2, 1)),  # a cycle without the root
        (("a", "a"), (-1, 0)),
        (("a", "b"), (-1, 5)),
        (("a", "b"), (-1,)),
    ],
)
def test_human_body_not_a_tree(names, parents):
    with pytest.raises(InputError, match="body"):
        HumanBody(names, parents)


def test_from_names_unknown_joint():
    with pytest.raises(InputError, match="elbow"):
        HumanBody.from_names(["root", "hip"], {"hip": "elbow"})


def test_human_body_single_joint():
    body = HumanBody(("root",), (-1,))
    assert body.edges == ()
    assert body.limb_lengths(np.zeros((4, 1, 3))).shape == (4, 0)
