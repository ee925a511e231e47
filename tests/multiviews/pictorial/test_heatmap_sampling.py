"""Sampled heatmaps against OpenCV's projection and torch's grid_sample."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from cvf_tests.scenes import make_backend, make_scene

from lib.multiviews.cameras import Cameras, visible_to, world_to_camera
from lib.multiviews.pictorial.heatmap_sampling import HeatmapViews, bin_taps

F = 2
V = 3
J = 17
P = 200


def project_with_opencv(points_world, cameras, frame, view):
    camera = cameras[frame, view]
    rvec, _ = cv2.Rodrigues(camera.R)
    matrix = np.array([[camera.f[0], 0, camera.c[0]], [0, camera.f[1], camera.c[1]], [0, 0, 1]])
    coefficients = np.array([camera.k[0], camera.k[1], camera.p[0], camera.p[1], camera.k[2]])
    pixels, _ = cv2.projectPoints(points_world, rvec, -camera.R @ camera.T, matrix, coefficients)
    return pixels[:, 0]


def expected_sums(points_world, scene, heatmaps):
    """Sum grid_sample over the views: (F, J, P)."""
    torch = pytest.importorskip("torch")
    height, width = heatmaps.shape[-2:]
    sums = np.zeros((F, J, P))
    for frame in range(F):
        for view in range(V):
            pixels = project_with_opencv(points_world[frame], scene.cameras, frame, view)
            matrix = scene.image_to_heatmap[frame, view]
            hm = pixels @ matrix[:, :2].T + matrix[:, 2]
            grid = torch.tensor(2 * hm / [width - 1, height - 1] - 1)[None, None]
            maps = torch.tensor(heatmaps[frame, view], dtype=torch.float64)[None]
            sums[frame] += torch.nn.functional.grid_sample(maps, grid, align_corners=True)[0, :, 0].numpy()
    return sums


def sample(centers, grid, scene, heatmaps, backend):
    """Sample all joints at the bins (P, 3) around centers (F, 3), in both ways: (F, J, P)."""
    views = HeatmapViews.load(heatmaps, scene.cameras, scene.image_to_heatmap, backend)
    centers = backend.floats(centers[:, None])
    grid = backend.floats(grid)
    shared = backend.sample_shared(views.maps, bin_taps(centers, grid, views, backend))
    shared = backend.numpy(shared).swapaxes(1, 2)
    own = backend.sample_own(views.maps, bin_taps(centers[:, [0] * J], grid, views, backend))
    np.testing.assert_allclose(backend.numpy(own), shared, atol=1e-12)
    return shared


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("heatmap_wh", [(64, 64), (24, 40)])
def test_bin_taps_equal_grid_sample(library, heatmap_wh):
    rng = np.random.default_rng(0)
    scene = make_scene(F, V, heatmap_wh, image_wh=(4 * heatmap_wh[0], 4 * heatmap_wh[1]))
    heatmaps = rng.random((F, V, J, heatmap_wh[1], heatmap_wh[0])).astype(np.float32)
    centers = scene.pose_world[:, 0]  # many are outside the maps
    grid = rng.uniform(-2000, 2000, (P, 3))
    expected = expected_sums(centers[:, None] + grid, scene, heatmaps)
    assert (expected == 0).any()
    np.testing.assert_allclose(sample(centers, grid, scene, heatmaps, make_backend(library)), expected, atol=1e-6)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_bin_taps_negative_pixels(library):
    scene = make_scene(F, V)
    heatmaps = np.random.default_rng(0).normal(size=(F, V, J, 64, 64)).astype(np.float32)
    centers = scene.pose_world[:, 0]
    grid = np.random.default_rng(1).uniform(-900, 900, (P, 3))
    backend = make_backend(library)
    np.testing.assert_array_equal(
        sample(centers, grid, scene, heatmaps, backend), sample(centers, grid, scene, heatmaps.clip(0), backend)
    )


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_bin_taps_camera_facing_away(library):
    scene = make_scene(F, V)
    heatmaps = np.ones((F, V, J, 64, 64), np.float32)
    cameras = scene.cameras
    turned = cameras.R.copy()
    turned[:, 1] = np.diag([-1.0, 1.0, -1.0]) @ turned[:, 1]
    scene_turned = type(scene)(
        scene.pose_world,
        Cameras(turned, cameras.T, cameras.f, cameras.c, cameras.k, cameras.p),
        scene.image_to_heatmap,
        scene.joints_hm,
        heatmaps,
    )
    backend = make_backend(library)
    centers = scene.pose_world[:, 0]
    grid = np.random.default_rng(2).uniform(-300, 300, (P, 3))
    np.testing.assert_allclose(sample(centers, grid, scene, heatmaps, backend), 3)  # every bin is in every crop
    np.testing.assert_allclose(sample(centers, grid, scene_turned, heatmaps, backend), 2)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_bin_taps_beyond_lens_reach(library):
    scene = make_scene(F, V)
    cameras = scene.cameras
    folding = replace(cameras, k=np.zeros_like(cameras.k), p=np.zeros_like(cameras.p), c=cameras.c * 0 + 500)
    folding.k[..., 0] = -0.3
    to_heatmap = np.zeros_like(scene.image_to_heatmap)
    to_heatmap[..., [0, 1], [0, 1]] = 0.01  # the map is far larger than the image
    to_heatmap[..., 2] = 16
    heatmaps = np.ones((F, V, J, 64, 64), np.float32)
    wide = np.array([[1.5, 0, 1.0], [0.5, 0, 1.0]]) * 2000  # beyond the fold, and before it, in the first camera
    points_world = wide @ folding.R[0, 0] + folding.T[0, 0]
    folding_scene = replace(scene, cameras=folding, image_to_heatmap=to_heatmap, heatmaps=heatmaps)
    centers = np.broadcast_to(points_world[0], (F, 3))
    sums = sample(centers, points_world - points_world[0], folding_scene, heatmaps, make_backend(library))[0, 0]
    seen = np.stack(
        [visible_to(world_to_camera(points_world, folding[0, view]), folding[0, view]) for view in range(V)]
    )
    assert not seen[0, 0]
    assert seen[0, 1]
    np.testing.assert_allclose(sums, seen.sum(0))
