"""Peak rays compiled by numba: the same as on numpy, also beyond the reach of a lens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cvf_tests.scenes import make_backend, make_scene

from lib.multiviews.keypoints.peak_rays import peak_rays


@pytest.mark.parametrize("k", [[-0.2, 0.24, -0.002], [0.0, 0.0, 0.0], [-0.5, 0.05, 0.0], [0.4, 0.3, 0.2]])
def test_peak_rays_compiled_equals_numpy(k):
    scene = make_scene(3, 3)
    cameras = replace(scene.cameras, k=np.broadcast_to(k, scene.cameras.k.shape))
    rng = np.random.default_rng(1)
    peaks = rng.uniform(-2000, 3000, (3, 3, 17, 2, 2))
    peaks[rng.random(peaks.shape[:4]) < 0.1] = np.nan
    weights = rng.uniform(-0.2, 1, peaks.shape[:4])
    tolerance = rng.uniform(10, 20, (3, 3))
    expected = peak_rays(peaks, weights, cameras, tolerance)
    found = peak_rays(peaks, weights, cameras, tolerance, make_backend("numba"))
    np.testing.assert_allclose(found.place, expected.place, atol=1e-6)
    np.testing.assert_array_equal(found.weight, expected.weight)
    np.testing.assert_array_equal(found.zoom, expected.zoom)
