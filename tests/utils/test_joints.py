from __future__ import annotations

import numpy as np
import pytest

from lib.utils.joints import H36M_17, MPII_16, TOTALCAPTURE_16, UNION_20, to_union, union_subset

# order in the data sets and in checkpoints of the original code; _ is a space
UNION = (
    "root rhip rkne rank lhip lkne lank belly thorax neck upper_neck nose head head_top lsho lelb lwri rsho relb rwri"
)
H36M = "root rhip rkne rank lhip lkne lank belly neck nose head lsho lelb lwri rsho relb rwri"
TOTALCAPTURE = "root rhip rkne rank lhip lkne lank belly neck nose lsho lelb lwri rsho relb rwri"
MPII = "rank rkne rhip lhip lkne lank root thorax upper_neck head_top rwri relb rsho lsho lelb lwri"


@pytest.mark.parametrize(
    ("joint_set", "names"), [(UNION_20, UNION), (H36M_17, H36M), (MPII_16, MPII), (TOTALCAPTURE_16, TOTALCAPTURE)]
)
def test_joint_sets_names_and_order(joint_set, names):
    assert [name.replace(" ", "_") for name in joint_set.names] == names.split()


def test_to_union_joints_keep_their_names():
    values = np.arange(1, 17)[None].repeat(2, 0)  # MPII
    spread = to_union(values, MPII_16)
    assert spread.shape == (2, 20)
    expected = [7, 3, 2, 1, 4, 5, 6, 0, 8, 0, 9, 0, 0, 10, 14, 15, 16, 13, 12, 11]
    assert spread[1].tolist() == expected


def test_to_union_keeps_type_and_other_axes():
    flags = np.ones((17, 3), bool)
    spread = to_union(flags, H36M_17, axis=0)
    assert spread.dtype == bool
    assert spread.shape == (20, 3)
    assert [UNION_20.names[i] for i in np.flatnonzero(~spread[:, 0])] == ["thorax", "upper neck", "head top"]


def test_union_subset_is_ascending():
    assert union_subset(H36M_17) == [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 14, 15, 16, 17, 18, 19]
    assert union_subset(MPII_16) == [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 14, 15, 16, 17, 18, 19]
    assert union_subset(TOTALCAPTURE_16) == [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 14, 15, 16, 17, 18, 19]
    assert union_subset(UNION_20) == list(range(20))


def test_mirrored_order_swaps_all_limbs():
    assert (
        UNION_20.flip_pairs
        == TOTALCAPTURE_16.flip_pairs
        == (("rhip", "lhip"), ("rkne", "lkne"), ("rank", "lank"), ("rsho", "lsho"), ("relb", "lelb"), ("rwri", "lwri"))
    )
