"""Samples of heatmaps around projections."""

from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import PARTNER, make_scene

from lib.multiviews.refinement.view_sampler import ViewSampler
from lib.utils.joints import H36M_17


def test_partners_of_sides_and_middle():
    right, left, neck = (H36M_17.index(name) for name in ("rwri", "lwri", "neck"))
    assert (PARTNER[right], PARTNER[left], PARTNER[neck]) == (left, right, neck)


def test_views_of_rows_equal_views_of_poses():
    """Points listed with their frame and joint are projected and sampled as whole poses are."""
    scene = make_scene(3)
    views = ViewSampler(scene.heatmaps, scene.cameras, scene.image_to_heatmap, PARTNER)
    projection = views.project(scene.pose_world)
    np.testing.assert_allclose(projection, scene.joints_hm, atol=1e-6)
    squares = views.squares(projection, PARTNER, 1)
    frame, joint = np.array([0, 2, 2]), np.array([16, 3, 8])
    center = views.project_rows(scene.pose_world[frame, joint], frame)
    np.testing.assert_allclose(center, projection[frame, :, joint])
    rows = views.rows(views.maps[frame, :, PARTNER[joint]], center, 1)
    np.testing.assert_allclose(rows, squares[frame, :, joint])


def test_usual_height_is_that_of_most_joints():
    scene = make_scene(2)
    heatmaps = 5 * scene.heatmaps
    heatmaps[0, :, :3] = 0
    heatmaps[1] = 0
    views = ViewSampler(heatmaps, scene.cameras, scene.image_to_heatmap, PARTNER)
    assert views.usual[0] == pytest.approx(5, rel=0.1)
    assert views.usual[1] > 0  # it divides
    assert views.relative(views.highest)[0].max() == pytest.approx(1, rel=0.1)
    few = np.zeros_like(heatmaps)
    few[:, :, 5] = 255.0 * scene.heatmaps[:, :, 5]
    views = ViewSampler(few, scene.cameras, scene.image_to_heatmap, PARTNER)
    assert views.relative(views.highest).max() <= 10  # float16 holds it
    row = np.array([1, 0])
    np.testing.assert_array_equal(views.relative(views.highest[row], row), views.relative(views.highest)[row])
