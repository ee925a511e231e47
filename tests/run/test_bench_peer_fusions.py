from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cvf_tests.scenes import draw_gaussians, make_scene
from cvf_tests.scripts import REPOSITORY

from lib.multiviews.cameras import CropCameras, project
from lib.multiviews.keypoints.peaks import stacked_peaks
from lib.multiviews.keypoints.triangulate import triangulate
from lib.utils.transforms import invert_affine, transform_points

SIZE = (16, 16)


@pytest.fixture
def benchmark(monkeypatch):
    """The benchmark's module, with the training of its methods."""
    monkeypatch.setattr(sys, "path", [str(REPOSITORY / "benchmarks"), *sys.path])
    import bench_peer_fusions

    monkeypatch.setattr(bench_peer_fusions, "BATCH_GROUPS", 8)
    return bench_peer_fusions


@pytest.fixture
def methods(benchmark):
    return sys.modules["peer_fusions"]


def cameras_of(scene, dtype=torch.float64):
    return CropCameras(scene.cameras, scene.image_to_heatmap).map(lambda one: torch.as_tensor(one, dtype=dtype))


@pytest.fixture
def outputs(benchmark, methods):
    """Return 16 groups with a fifth of wrong heatmaps, which the features mark, and the mask of the wrong heatmaps."""
    scene = make_scene(16, heatmap_wh=SIZE, image_wh=(64, 64))
    rng = np.random.default_rng(1)
    is_wrong = rng.random(scene.joints_hm.shape[:3]) < 0.2
    shown = np.where(is_wrong[..., None], rng.uniform(2, 13, scene.joints_hm.shape), scene.joints_hm)
    maps = torch.from_numpy(draw_gaussians(shown, SIZE, 1.5))
    cameras = cameras_of(scene, torch.float32)
    features = torch.zeros(16, 4, 512, 4, 4, dtype=torch.float16)
    features[:, :, :17] = torch.from_numpy(is_wrong)[..., None, None]
    data = methods.Outputs(
        peaks=SimpleNamespace(
            peaks=stacked_peaks(maps.numpy(), 1, "log_quadratic"), frames=SimpleNamespace(gt_world=scene.pose_world)
        ),
        maps=maps.half(),
        along=benchmark.maxima_along_lines(maps, cameras).half(),
        deep=features,
        cameras=cameras,
        joints_hm=torch.from_numpy(scene.joints_hm).float(),
        joints_img=np.zeros(0),
        visible=torch.ones(is_wrong.shape, dtype=torch.bool),
        occluded=is_wrong,
        threshold=np.zeros(0),
    )
    return data, is_wrong


def test_dlt_agrees_with_triangulate_and_has_gradients(methods):
    scene = make_scene(3)
    rng = np.random.default_rng(2)
    points_hm = scene.joints_hm + rng.normal(0, 1, scene.joints_hm.shape)
    weights = rng.uniform(0.1, 1, points_hm.shape[:3])
    points_img = transform_points(points_hm, invert_affine(scene.image_to_heatmap))
    views = cameras_of(scene)
    leaf = torch.from_numpy(points_hm).requires_grad_()
    pose = methods.dlt(methods.normalized_points(leaf, views), torch.from_numpy(weights), views.cameras)
    np.testing.assert_allclose(pose.detach(), triangulate(points_img, scene.cameras, weights), atol=1e-3)
    pose.sum().backward()
    assert leaf.grad.isfinite().all()
    assert (leaf.grad != 0).all()


def test_epipolar_distances_of_another_point_on_the_ray(methods):
    scene = make_scene(2)
    centers = scene.cameras.T[:, 1, None]
    farther = centers + 1.1 * (scene.pose_world - centers)  # the same pixel in view 1
    points_hm = scene.joints_hm.copy()
    points_hm[:, 0] = transform_points(project(farther[:, None], scene.cameras)[0], scene.image_to_heatmap)[:, 0]
    found = methods.epipolar_distances(torch.from_numpy(points_hm), cameras_of(scene))
    assert found.shape == (2, 4, 3, 17)
    assert found[:, 0, 0].max() < 0.01  # views 0 and 1
    assert found[:, 1:, 1:].max() < 0.01  # the other views among themselves
    assert found[:, 0, 1:].mean() > 2  # views 2 and 3 see the difference


def test_soft_argmax_near_the_highest_pixel(methods):
    maps = draw_gaussians(np.array([[4.3, 6.6], [11.0, 12.0]]), SIZE, 1.5)
    both = torch.from_numpy(maps[0] + 0.9 * maps[1])
    near = methods.soft_argmax(both, 20.0, 3.75)
    np.testing.assert_allclose(near, [4.3, 6.6], atol=0.2)
    assert (methods.soft_argmax(both, 20.0) - near).norm() > 0.5  # without the radius, the other peak counts


def test_adafuse_learns_to_distrust_wrong_peaks(benchmark, methods, outputs, monkeypatch):
    data, is_wrong = outputs
    monkeypatch.setattr(methods.AdaFuse, "epochs", 10)
    monkeypatch.setattr(methods.AdaFuse, "rate", 1e-2)
    model = benchmark.train(methods.AdaFuse, data, seed=0)
    with torch.no_grad():
        weights = model.weights(data, torch.arange(len(data)))[0].numpy()
    assert weights[is_wrong].mean() < 0.8 * weights[~is_wrong].mean()


def test_learnable_triangulation_learns_to_distrust_wrong_views(benchmark, methods, outputs, monkeypatch):
    data, _ = outputs
    monkeypatch.setattr(methods.AlgebraicTriangulation, "epochs", 20)
    monkeypatch.setattr(methods.AlgebraicTriangulation, "rate", 5e-3)
    model = benchmark.train(methods.AlgebraicTriangulation, data, seed=0)
    found = benchmark.in_batches(model, data)
    data.peaks.to_heatmap = data.cameras.to_heatmap.double().numpy()
    data.peaks.frames.cameras = data.cameras.cameras.map(lambda one: one.double().numpy())
    _, _, equal, _, weighted, _, _, _ = benchmark.triangulation_row(data, found)
    assert weighted < 0.5 * equal
