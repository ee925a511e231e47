"""Left/right swaps found by numba: the same as on numpy."""

from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import make_backend, make_scene

from lib.multiviews.body import H36M_BODY
from lib.multiviews.keypoints.left_right import limb_pairs, swapped_views
from lib.multiviews.keypoints.peak_rays import peak_rays
from lib.utils.joints import H36M_17
from lib.utils.transforms import invert_affine, transform_points

GROUPS = limb_pairs(H36M_BODY, [tuple(H36M_17.indices(pair)) for pair in H36M_17.flip_pairs])


@pytest.mark.parametrize("num_views", [2, 3, 4, 5])
@pytest.mark.parametrize("num_peaks", [1, 3])
def test_swapped_views_compiled_equals_numpy(num_views, num_peaks):
    scene = make_scene(12, num_views)
    rng = np.random.default_rng(num_views)
    joints_hm = scene.joints_hm.copy()
    for group in GROUPS:
        where = rng.random((12, num_views)) < 0.3
        right, left = (list(side) for side in zip(*group, strict=True))
        joints_hm[where] = swap_columns(joints_hm[where], right, left)
    peaks_hm = joints_hm[..., None, :] + rng.normal(0, 0.5, (*joints_hm.shape[:3], num_peaks, 2))
    peaks_hm[..., 1:, :] = rng.uniform(0, 63, peaks_hm[..., 1:, :].shape)
    flat = peaks_hm.reshape(12, num_views, -1, 2)
    peaks_img = transform_points(flat, invert_affine(scene.image_to_heatmap)).reshape(peaks_hm.shape)
    weights = rng.uniform(0.3, 1, peaks_hm.shape[:-1]) * (rng.random(peaks_hm.shape[:-1]) < 0.9)
    weights[3] = 0  # no peaks
    rays = peak_rays(peaks_img, weights, scene.cameras, 2.5 / scene.image_to_heatmap[..., 0, 0])
    expected = swapped_views(rays, scene.cameras, GROUPS)
    assert num_views == 2 or expected.any()
    np.testing.assert_array_equal(swapped_views(rays, scene.cameras, GROUPS, make_backend("numba")), expected)


def swap_columns(values: np.ndarray, right: list[int], left: list[int]) -> np.ndarray:
    values = values.copy()
    values[:, right + left] = values[:, left + right]
    return values
