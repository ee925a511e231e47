"""Compiled samples equal numpy's."""

from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import make_backend, make_scene

from lib.multiviews.refinement.learned_refinement import sample_squares


@pytest.mark.parametrize(("radius", "step"), [(3, 2.0), (2, 1.0), (1, 0.37)])
def test_sample_squares_compiled_equals_numpy(radius, step):
    scene = make_scene(5)
    rng = np.random.default_rng(radius)
    heatmaps = scene.heatmaps + rng.normal(0, 0.1, scene.heatmaps.shape).astype(np.float32)
    center = scene.joints_hm + rng.normal(0, 20, scene.joints_hm.shape)  # some are outside of the map
    joints = rng.permutation(17)
    expected = sample_squares(heatmaps, center, joints, radius, step)
    found = sample_squares(heatmaps, center, joints, radius, step, make_backend("numba"))
    assert expected.shape == (5, 4, 17, (2 * radius + 1) ** 2)
    assert (expected == 0).any()
    assert expected.max() > 0.5
    np.testing.assert_allclose(found, expected, atol=1e-6)
