"""Rays, the places where they meet, and what views say of places."""

from __future__ import annotations

import numpy as np
import pytest
from cvf_tests.scenes import make_scene

from lib.multiviews.cameras import project
from lib.multiviews.keypoints.peak_rays import (
    PeakRays,
    frame_blocks,
    midpoints,
    peak_rays,
    peak_scores,
    plane_slopes,
    project_to_planes,
    squared_distances,
    tolerance_mm,
    view_pairs,
    view_scores,
)

PX = 4.0  # image px of a tolerance


def rays_of(scene, weights=1.0) -> PeakRays:
    points_img, _ = project(scene.pose_world[:, None], scene.cameras)
    shape = points_img.shape[:3]
    return peak_rays(points_img[..., None, :], np.full((*shape, 1), weights), scene.cameras, np.full(shape[:2], PX))


def test_view_pairs_of_different_views():
    pairs = view_pairs(3, 2)
    assert len(pairs) == len({tuple(pair) for pair in pairs}) == 12
    assert (pairs[:, 0] // 2 != pairs[:, 1] // 2).all()
    assert view_pairs(1, 3).shape == (0, 2)


def test_midpoints_of_one_point():
    scene = make_scene(2, 3)
    points, possible = midpoints(rays_of(scene), scene.cameras, view_pairs(3, 1))
    assert possible.all()
    np.testing.assert_allclose(points, np.repeat(scene.pose_world[:, :, None], 3, 2), atol=1e-3)


def test_midpoints_nearest_to_both_rays():
    scene = make_scene(1, 2)
    rng = np.random.default_rng(0)
    rays = rays_of(scene)
    rays = PeakRays(rays.place + rng.normal(0, 2, rays.place.shape), rays.weight, rays.zoom)
    points, _ = midpoints(rays, scene.cameras, view_pairs(2, 1))

    def sum_of_squares(point, joint):  # of the distances from both rays
        total = 0
        for view in range(2):
            direction = np.append(rays.place[0, view, joint, 0] / rays.zoom[0, view], 1) @ scene.cameras.R[0, view]
            offset = point - scene.cameras.T[0, view]
            total += (np.cross(offset, direction / np.linalg.norm(direction)) ** 2).sum()
        return total

    for joint in range(17):
        lowest = sum_of_squares(points[0, joint, 0], joint)
        for step in np.concatenate([np.eye(3), -np.eye(3), rng.normal(0, 1, (10, 3))]):
            assert sum_of_squares(points[0, joint, 0] + step, joint) > lowest


def test_midpoints_parallel_missing_and_backward_rays():
    scene = make_scene(1, 2)
    rays = rays_of(scene)
    pairs = view_pairs(2, 1)
    assert midpoints(rays, scene.cameras, pairs)[1].all()
    assert not midpoints(PeakRays(rays.place, rays.weight * 0, rays.zoom), scene.cameras, pairs)[1].any()
    twice = scene.cameras.map(lambda array: array[:, [0, 0]])
    same = PeakRays(rays.place[:, [0, 0]], rays.weight, rays.zoom[:, [0, 0]])
    points, possible = midpoints(same, twice, pairs)
    assert not possible.any()
    assert np.isfinite(points).all()


def test_plane_slopes_equal_finite_differences():
    scene = make_scene(2, 3)
    rng = np.random.default_rng(1)
    zoom = rays_of(scene).zoom
    place, depth = project_to_planes(scene.pose_world, zoom, scene.cameras)
    slope = plane_slopes(place, depth, zoom, scene.cameras)
    for _ in range(5):
        step = rng.normal(0, 1e-2, scene.pose_world.shape)
        ahead, behind = (project_to_planes(scene.pose_world + side * step, zoom, scene.cameras)[0] for side in (1, -1))
        np.testing.assert_allclose((slope * step[:, None, :, None]).sum(-1), (ahead - behind) / 2, atol=1e-9)


def test_squared_distances_in_tolerances():
    """A point moved by some px of the image is that many tolerances away, but for the lens."""
    scene = make_scene(1, 2)
    scene.cameras.k[:], scene.cameras.p[:] = 0, 0
    rays = rays_of(scene)
    place, depth = project_to_planes(scene.pose_world, rays.zoom, scene.cameras)
    np.testing.assert_allclose(squared_distances(place[:, :, :, None], rays), 0, atol=1e-12)
    moved = place + np.array([3.0, 2.0]) / PX
    np.testing.assert_allclose(squared_distances(moved[:, :, :, None], rays), 13 / PX**2)
    assert depth.min() > 1000


def test_peak_scores_zero_beyond_tolerance_and_behind_camera():
    scene = make_scene(1, 2)
    rays = rays_of(scene, 0.5)
    place, depth = project_to_planes(scene.pose_world, rays.zoom, scene.cameras)
    shifted = [place + [distance, 0] for distance in (0.0, 0.6, 1.1)]
    values = [peak_scores(where[:, :, :, None], depth[..., None], rays) for where in shifted]
    for value, expected in zip(values, (0.5, 0.32, 0.0), strict=True):
        np.testing.assert_allclose(value, expected, atol=1e-9)
    assert (peak_scores(place[:, :, :, None], -depth[..., None], rays) == 0).all()


def test_view_scores_two_views_exceed_one_high_peak():
    scene = make_scene(1, 3)
    rays = rays_of(scene)
    scores = view_scores(scene.pose_world[:, :, None], rays, scene.cameras)
    np.testing.assert_allclose(scores, np.log(11))
    low = view_scores(scene.pose_world[:, :, None], PeakRays(rays.place, rays.weight * 0.5, rays.zoom), scene.cameras)
    assert (2 * low > scores).all()
    assert (view_scores(scene.pose_world[:, :, None] + 1000, rays, scene.cameras) == 0).all()


def test_tolerance_mm_at_depth():
    scene = make_scene(2)
    depth = project(scene.pose_world[:, None, :1], scene.cameras)[1][..., 0]
    expected = np.median(PX * depth / scene.cameras.f.mean(-1), 1)
    found = tolerance_mm(scene.pose_world[:, 0], rays_of(scene), scene.cameras)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_peak_rays_missing_peaks():
    scene = make_scene(1, 2)
    points_img = np.full((1, 2, 17, 1, 2), np.nan)
    rays = peak_rays(points_img, np.ones((1, 2, 17, 1)), scene.cameras, np.full((1, 2), PX))
    assert (rays.weight == 0).all()
    assert (rays.place == 0).all()
    assert (peak_rays(points_img * 0, -np.ones((1, 2, 17, 1)), scene.cameras, np.full((1, 2), PX)).weight == 0).all()


@pytest.mark.parametrize("index", [[0], [3, 1]])
def test_joints_selection(index):
    rays = rays_of(make_scene(2))
    np.testing.assert_array_equal(rays.joints(index).place, rays.place[:, :, index])
    assert rays.joints(index).zoom is rays.zoom


def test_frame_blocks_cover_all_frames():
    assert list(frame_blocks(5, 3, 6)) == [slice(0, 2), slice(2, 4), slice(4, 6)]
    assert list(frame_blocks(2, 10, 6)) == [slice(0, 1), slice(1, 2)]  # at least one frame
    assert list(frame_blocks(0, 0, 6)) == []
