"""Supporting views counted by numba: the same as on numpy."""

from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import make_backend, make_scene

from lib.multiviews.keypoints.view_support import count_supporting_views


@pytest.mark.parametrize("num_views", [2, 4, 5])
def test_count_supporting_views_compiled_equals_numpy(num_views):
    scene = make_scene(8, num_views)
    rng = np.random.default_rng(0)
    maps = scene.heatmaps + rng.normal(0, 0.02, scene.heatmaps.shape).astype(np.float32)
    maps *= rng.choice([0, 0.05, 1], maps.shape[:3])[..., None, None]
    pose = scene.pose_world + rng.normal(0, 50, scene.pose_world.shape)
    pose[0, 3] = np.nan
    pose[1] += [6000, 0, 0]  # behind a camera
    pose[2] += [0, 0, 900]  # partly outside of the maps
    arguments = (maps.astype(np.float32), pose, scene.cameras, scene.image_to_heatmap)
    expected = count_supporting_views(*arguments)
    assert len(np.unique(expected)) > 2
    np.testing.assert_array_equal(count_supporting_views(*arguments, make_backend("numba")), expected)
