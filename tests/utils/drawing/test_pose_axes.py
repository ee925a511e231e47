from __future__ import annotations

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

from lib.utils.drawing.pose_axes import draw_pose_sides, picture_axes, pose_legend
from lib.utils.drawing.vis import Skeleton

NAMES = ("root", "rhip", "lhip", "head")
SKELETON = Skeleton.from_names(NAMES, [(0, 1), (0, 2), (0, 3)], [("rhip", "lhip")])
POSE = np.array([[0, 0, 900], [-120, 0, 900], [120, 0, 900], [0, 0, 1600.0]])  # faces -y


def draw(pose: np.ndarray, gt: np.ndarray | None) -> list:
    axes = Figure().subplots(1, 2)
    draw_pose_sides(axes, pose, gt, SKELETON)
    return list(axes)


def test_the_front_shows_the_persons_left_on_the_right() -> None:
    expected = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]  # left, back, up of a person who faces -y
    np.testing.assert_allclose(picture_axes(POSE, np.array([0, 0, 5.0]), SKELETON), expected, atol=1e-12)
    turned = POSE[:, [1, 0, 2]] * [-1, 1, 1]  # a quarter turn to the left about z: faces +x
    np.testing.assert_allclose(
        picture_axes(turned, np.array([0, 0, 1.0]), SKELETON), [[0, 1, 0], [-1, 0, 0], [0, 0, 1]], atol=1e-12
    )


def test_lines_lie_where_the_pose_is() -> None:
    front, side = draw(POSE, None)
    centre = POSE.mean(0)
    to_head = front.lines[2].get_xydata()  # x: the person's left, y: up
    np.testing.assert_allclose(to_head, POSE[[0, 3]][:, [0, 2]] - centre[[0, 2]])
    np.testing.assert_allclose(side.lines[2].get_xydata()[:, 0], 0, atol=1e-9)  # nothing in front or behind
    assert len(front.lines) == 3


def test_truth_and_error_are_shown() -> None:
    front, side = draw(POSE + [0, 0, 30.0], POSE)
    assert len(front.lines) == len(side.lines) == 6
    assert [text.get_text() for text in front.texts] == ["error 30 mm"]
    assert len(pose_legend(True)) == len(pose_legend(False)) + 2


@pytest.mark.parametrize("gt", [None, POSE])
def test_a_pose_without_joints(gt: np.ndarray | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        front, _ = draw(np.full((4, 3), np.nan), gt)
    assert front.texts[0].get_text() == ("no pose" if gt is None else "no joint")
