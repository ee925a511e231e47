"""Candidates selected by numba: the same as on numpy."""

from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import make_backend, make_scene

from lib.multiviews.body import H36M_BODY
from lib.multiviews.keypoints.peak_rays import peak_rays
from lib.multiviews.refinement.candidates import distinct_candidates, select_candidates
from lib.utils.transforms import invert_affine, transform_points


def rays_and_start(num_views: int, num_peaks: int):
    """Return a scene of 8 frames, peaks of which 40 % are wrong and some are missing, and a noisy start."""
    scene = make_scene(8, num_views)
    rng = np.random.default_rng(num_peaks)
    peaks_hm = scene.joints_hm[..., None, :] + rng.normal(0, 1, (*scene.joints_hm.shape[:3], num_peaks, 2))
    wrong = rng.random(peaks_hm.shape[:4]) < 0.4
    peaks_hm[wrong] = rng.uniform(0, 63, (wrong.sum(), 2))
    flat = peaks_hm.reshape(8, num_views, -1, 2)
    peaks_img = transform_points(flat, invert_affine(scene.image_to_heatmap)).reshape(peaks_hm.shape)
    weights = rng.uniform(0.3, 1, peaks_hm.shape[:-1]) * (rng.random(peaks_hm.shape[:-1]) < 0.8)
    weights[2] = 0
    rays = peak_rays(peaks_img, weights, scene.cameras, 2.5 / scene.image_to_heatmap[..., 0, 0])
    return scene, rays, scene.pose_world + rng.normal(0, 30, scene.pose_world.shape)


@pytest.mark.parametrize(("num_views", "num_peaks"), [(2, 1), (2, 3), (4, 3), (5, 4)])
def test_select_candidates_compiled_equals_numpy(num_views, num_peaks):
    scene, rays, start = rays_and_start(num_views, num_peaks)
    lengths = H36M_BODY.limb_lengths(scene.pose_world)
    arguments = (rays, scene.cameras, start, lengths, 0.05 * lengths, H36M_BODY)
    expected = select_candidates(*arguments, make_backend("numpy"))
    assert (expected != start).any()
    np.testing.assert_allclose(select_candidates(*arguments, make_backend("numba")), expected, atol=1e-6)


@pytest.mark.parametrize(("num_views", "num_peaks"), [(2, 1), (2, 3), (4, 3), (5, 4)])
def test_distinct_candidates_compiled_equals_numpy(num_views, num_peaks):
    scene, rays, start = rays_and_start(num_views, num_peaks)
    expected, found = (
        distinct_candidates(rays, scene.cameras, start, H36M_BODY.root, make_backend(library))
        for library in ("numpy", "numba")
    )
    np.testing.assert_array_equal(found[2], expected[2])
    assert expected[2].max() > 1
    assert (expected[2][2] == 1).all()  # a frame without peaks
    listed = np.arange(expected[0].shape[2]) < expected[2][..., None]
    for one, other in zip(found[:2], expected[:2], strict=True):
        np.testing.assert_allclose(one[listed], other[listed], atol=1e-6)
