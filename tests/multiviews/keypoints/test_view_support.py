from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import draw_gaussians, make_scene

from lib.multiviews.cameras import Cameras
from lib.multiviews.keypoints.view_support import SupportPatches, count_supporting_views


def count(scene, pose=None, heatmaps=None):
    return count_supporting_views(
        scene.heatmaps if heatmaps is None else heatmaps,
        scene.pose_world if pose is None else pose,
        scene.cameras,
        scene.image_to_heatmap,
    )


def front_camera():
    """One frame, one camera at the origin that looks along z: pixel (x, y) = 1000 (X, Y) / Z; heatmap px = image px."""
    cameras = Cameras(
        np.eye(3)[None, None],
        np.zeros((1, 1, 3)),
        np.full((1, 1, 2), 1000.0),
        np.zeros((1, 1, 2)),
        np.zeros((1, 1, 3)),
        np.zeros((1, 1, 2)),
    )
    return cameras, np.array([[[[1.0, 0, 0], [0, 1.0, 0]]]])


def agrees(heatmap, point):
    maps = np.asarray(heatmap, np.float32)[None, None, None]
    return count_supporting_views(maps, np.array([[point]]), *front_camera())[0, 0]


def test_count_supporting_views_perfect_and_empty_heatmaps():
    scene = make_scene(3, 4)
    scene.heatmaps[0, 1, 4] = 0
    scene.heatmaps[2, :, 6] = -1
    expected = np.full((3, 17), 4)
    expected[0, 4], expected[2, 6] = 3, 0
    np.testing.assert_array_equal(count(scene), expected)
    assert not count(scene, scene.pose_world + 300.0).any()
    missing = scene.pose_world.copy()
    missing[1, 3] = np.nan
    assert count(scene, missing)[1, 3] == 0


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((3.0, 4.0, 1000.0), 1),  # on the pixel of value 1
        ((3.49, 4.0, 1000.0), 1),  # 0.51 of it between two pixels
        ((3.51, 4.0, 1000.0), 0),
        ((3.3, 4.3, 1000.0), 0),  # 0.7 * 0.7 = 0.49
        ((3.28, 4.28, 1000.0), 1),  # 0.72 * 0.72 = 0.52
        ((-3.0, -4.0, -1000.0), 0),  # the same pixel from behind
        ((3e9, 4.0, 1000.0), 0),
    ],
)
def test_count_supporting_views_half_of_maximum(point, expected):
    heatmap = np.zeros((8, 10))
    heatmap[4, 3] = 1
    assert agrees(heatmap, point) == expected


def test_count_supporting_views_outside_of_map():
    ones = np.ones((8, 10))
    assert agrees(ones, (9.4, 7.0, 1000.0)) == 1  # 0.6 at the border, 0 a pixel further
    for x, y in ((9.6, 7.0), (-0.6, 3.0), (3.0, 7.6), (3.0, -0.6)):
        assert agrees(ones, (x, y, 1000.0)) == 0


def test_count_supporting_views_lower_peak():
    centers = np.array([[20.0, 30.0], [45.0, 40.0]])
    heights = (1.0, 0.6)
    heatmap = sum(h * draw_gaussians(c, (64, 64), 2.0) for c, h in zip(centers, heights, strict=True))
    assert agrees(heatmap, (45.0, 40.0, 1000.0)) == 1
    heatmap = sum(h * draw_gaussians(c, (64, 64), 2.0) for c, h in zip(centers, (1.0, 0.4), strict=True))
    assert agrees(heatmap, (45.0, 40.0, 1000.0)) == 0


def test_count_supporting_views_noise():
    scene = make_scene(3, 4)
    scene.heatmaps[:, 2] = np.random.default_rng(0).random(scene.heatmaps[:, 2].shape) * 0.09
    np.testing.assert_array_equal(count(scene), np.full((3, 17), 3))


@pytest.mark.parametrize("like_gpu", [False, True])
def test_count_supporting_views_tensors_equal_arrays(monkeypatch, like_gpu):
    torch = pytest.importorskip("torch")
    if like_gpu:
        monkeypatch.setattr("lib.multiviews.keypoints.view_support.on_host", lambda heatmaps: heatmaps)
    scene = make_scene(3, 4)
    pose = scene.pose_world + np.random.default_rng(1).normal(0, 30, scene.pose_world.shape)
    expected = count(scene, pose)
    assert 0 < expected.mean() < 4
    np.testing.assert_array_equal(count(scene, pose, torch.as_tensor(scene.heatmaps)), expected)


def patches(scene, pose, margin):
    return SupportPatches.around(scene.heatmaps, pose, scene.cameras, scene.image_to_heatmap, margin)


def test_support_patches_poses_near_the_first_ones():
    scene = make_scene(3, 4)
    rng = np.random.default_rng(2)
    first = scene.pose_world + rng.normal(0, 30, scene.pose_world.shape)
    moved = first + rng.uniform(-30, 30, first.shape)  # at most 1.7 heatmap px
    expected = count(scene, moved)
    assert (expected != count(scene, first)).any()
    np.testing.assert_array_equal(patches(scene, first, 2).count(moved), expected)
    assert (patches(scene, first, 0).count(moved) <= expected).all()


def test_support_patches_do_not_count_far_poses():
    scene = make_scene(2, 4)
    assert not patches(scene, scene.pose_world + 300.0, 2).count(scene.pose_world).any()
    missing = np.full_like(scene.pose_world, np.nan)
    assert not patches(scene, missing, 2).count(missing).any()


def test_support_patches_larger_than_the_map():
    maps = np.ones((1, 1, 1, 3, 3), np.float32)
    point = np.array([[[1.0, 1.0, 1000.0]]])
    found = SupportPatches.around(maps, point, *front_camera(), margin=2)
    assert found.values.shape[-2:] == (3, 3)
    assert found.count(point).tolist() == [[1]]
