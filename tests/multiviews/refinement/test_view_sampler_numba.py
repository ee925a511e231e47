"""Compiled samples equal numpy's."""

from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import make_backend, make_scene

from lib.multiviews.refinement.view_sampler import ViewSampler


@pytest.mark.parametrize(("radius", "width"), [(3, 64), (2, 32), (1, 48)])
def test_sample_maps_compiled_equals_numpy(radius, width):
    scene = make_scene(5, heatmap_wh=(width, width))
    rng = np.random.default_rng(radius)
    heatmaps = scene.heatmaps + rng.normal(0, 0.1, scene.heatmaps.shape).astype(np.float32)
    center = scene.joints_hm + rng.normal(0, 20, scene.joints_hm.shape)  # some are outside of the map
    joints = rng.permutation(17)
    expected, found = (
        ViewSampler(heatmaps, scene.cameras, scene.image_to_heatmap, np.arange(17), backend).squares(
            center, joints, radius
        )
        for backend in (None, make_backend("numba"))
    )
    assert expected.shape == (5, 4, 17, (2 * radius + 1) ** 2)
    assert (expected == 0).any()
    assert expected.max() > 0.5
    np.testing.assert_allclose(found, expected, atol=1e-6)
