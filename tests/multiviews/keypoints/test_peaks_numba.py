"""Peaks compiled by numba: the same as on numpy."""

from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import make_backend, make_scene

from lib.multiviews.keypoints.peaks import PEAK_MODES, find_peaks


def maps_of(kind: str) -> np.ndarray:
    rng = np.random.default_rng(3)
    return {
        "gaussians": lambda: make_scene(3).heatmaps,
        "noise": lambda: rng.normal(0, 1, (6, 2, 13, 11)),
        "few values": lambda: rng.integers(-1, 4, (6, 2, 13, 11)),
        "ones": lambda: np.ones((2, 5, 4)),
        "nothing": lambda: -np.ones((2, 5, 4)) * [[[0]], [[1]]],
        "denormal": lambda: np.full((1, 3, 3), 1e-40),
        "no maps": lambda: np.ones((0, 2, 5, 5)),
    }[kind]().astype(np.float32)


@pytest.mark.parametrize("kind", ["gaussians", "noise", "few values", "ones", "nothing", "denormal", "no maps"])
@pytest.mark.parametrize("mode", PEAK_MODES)
def test_find_peaks_compiled_equals_numpy(kind, mode):
    maps = maps_of(kind)
    for num_peaks, min_share in ((1, 0.1), (3, 0.1), (5, 0.4)):
        expected = find_peaks(maps, num_peaks, mode, min_share)
        found = find_peaks(maps, num_peaks, mode, min_share, make_backend("numba"))
        np.testing.assert_allclose(found[0], expected[0], atol=1e-9)
        np.testing.assert_array_equal(found[1], expected[1])


def test_find_peaks_compiled_part_of_joints():
    maps = make_scene(4).heatmaps
    expected = find_peaks(maps, 2)
    for joints in (slice(0, 1), slice(5, 9)):
        found = find_peaks(maps[:, :, joints], 2, backend=make_backend("numba"))
        np.testing.assert_allclose(found[0], expected[0][:, :, joints], atol=1e-9)
