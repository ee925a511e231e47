from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.rig_files import named_points

from lib.dataset.own_cameras.keypoint_sets import POINT_SETS, to_h36m
from lib.utils.joints import H36M_17

DETECTORS = ("coco17", "body25", "halpe26", "blazepose33")


def test_point_sets_have_known_sizes_and_unique_names():
    assert [len(POINT_SETS[name]) for name in DETECTORS] == [17, 25, 26, 33]
    for points in POINT_SETS.values():
        assert len(set(points)) == len(points)


# (set, index, joint) from the documentation of OpenPose, AlphaPose and MediaPipe
@pytest.mark.parametrize(
    ("point_set", "index", "joint"),
    [
        ("coco17", 0, "nose"),
        ("coco17", 5, "lsho"),
        ("coco17", 10, "rwri"),
        ("coco17", 15, "lank"),
        ("body25", 2, "rsho"),
        ("body25", 7, "lwri"),
        ("body25", 10, "rkne"),
        ("body25", 14, "lank"),
        ("halpe26", 9, "lwri"),
        ("halpe26", 16, "rank"),
        ("blazepose33", 11, "lsho"),
        ("blazepose33", 16, "rwri"),
        ("blazepose33", 25, "lkne"),
        ("blazepose33", 28, "rank"),
    ],
)
def test_to_h36m_single_points(point_set, index, joint):
    points = named_points(point_set)
    np.testing.assert_array_equal(to_h36m(points, point_set)[H36M_17.index(joint)], points[index])


@pytest.mark.parametrize("point_set", DETECTORS)
def test_to_h36m_all_detectors_give_the_same_joints(point_set):
    np.testing.assert_allclose(to_h36m(named_points(point_set), point_set), to_h36m(named_points("coco17"), "coco17"))


def test_to_h36m_means_of_blazepose():
    points = named_points("blazepose33")
    joints = to_h36m(points, "blazepose33")
    means = {"root": (23, 24), "neck": (11, 12), "belly": (11, 12, 23, 24), "head": (2, 5, 7, 8)}
    for joint, indices in means.items():
        np.testing.assert_allclose(joints[H36M_17.index(joint), :2], points[list(indices), :2].mean(0))


def test_to_h36m_mean_needs_all_of_its_points():
    points = named_points("coco17")
    points[11, 2] = 0.0  # left hip
    points[5, 2] = 0.4  # left shoulder
    joints = to_h36m(points, "coco17")
    lacking = {H36M_17.names[joint] for joint in np.flatnonzero(np.isnan(joints[:, 0]))}
    assert lacking == {"lhip", "root", "belly"}
    assert joints[H36M_17.index("neck"), 2] == 0.4
