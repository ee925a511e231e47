"""Epipolar lines through crops and lenses, against the numpy projection, which is checked against OpenCV."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from cvf_tests.scenes import Scene, make_scene

from lib.multiviews.cameras import Cameras, CropCameras, project
from lib.multiviews.geometry.epipolar import distance_to_curve, epipolar_curve
from lib.multiviews.geometry.epipolar_torch import HeatmapRays, arc_lengths, sample_maps, to_pixels, to_places
from lib.utils.transforms import invert_affine, transform_points

WH = (48, 32)
JOINT = 13  # whose pixel in view 0 is whole


def turned(matrix: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Crops turned about the middle of the map."""
    middle = (np.array(WH) - 1) / 2
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
    new = turn[:, None] @ matrix
    new[..., 2] += middle - turn[:, None] @ middle
    return new


@pytest.fixture
def scene() -> Scene:
    """Two frames, three views; the crops of each frame are turned by another angle, JOINT lies on a pixel of view 0."""
    scene = make_scene(2, 3, WH, (192, 128), seed=2)
    matrix = turned(scene.image_to_heatmap, np.array([0.0, 25.0]))
    joints_img = project(scene.pose_world[:, None], scene.cameras)[0]
    places = transform_points(joints_img, matrix)[:, 0, JOINT]
    matrix[:, 0, :, 2] += np.round(places) - places
    return dataclasses.replace(scene, image_to_heatmap=matrix, joints_hm=transform_points(joints_img, matrix))


def views_of(scene: Scene, dtype: torch.dtype = torch.float64) -> CropCameras:
    return CropCameras(scene.cameras, scene.image_to_heatmap).map(lambda array: torch.as_tensor(array, dtype=dtype))


def pixel_of(scene: Scene) -> np.ndarray:
    x, y = np.round(scene.joints_hm[:, 0, JOINT]).astype(int).T
    assert ((x >= 0) & (x < WH[0]) & (y >= 0) & (y < WH[1])).all()
    return y * WH[0] + x


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 0.02), (torch.float32, 0.03)])
def test_lines_pass_through_joint_in_other_views(scene, dtype, tolerance):
    rays = HeatmapRays(views_of(scene, dtype), WH[::-1])
    for other in (1, 2):
        places = to_pixels(rays.lines(0, other), WH[::-1])
        for frame, pixel in enumerate(pixel_of(scene)):
            line = places[frame, pixel].double().numpy()
            joint = scene.joints_hm[frame, other, JOINT][None]
            whole = np.ones(len(line), bool)
            assert distance_to_curve(joint, line, whole).item() < tolerance
            assert distance_to_curve(joint + [0, 3], line, whole).item() > 1


def test_points_equal_projection(scene):
    rays = HeatmapRays(views_of(scene), WH[::-1])
    depth = project(scene.pose_world[:, None], scene.cameras)[1][:, 0, JOINT]
    pixels = torch.as_tensor(pixel_of(scene))[:, None]
    for other in (1, 2):
        places = rays.points(0, other, torch.as_tensor(depth)[:, None], pixels)
        np.testing.assert_allclose(to_pixels(places[:, 0, 0], WH[::-1]), scene.joints_hm[:, other, JOINT], atol=1e-5)


def test_lines_cover_curve_in_steps_of_a_pixel(scene):
    views = views_of(scene)
    rays = HeatmapRays(views, WH[::-1])
    pixels = np.stack(np.meshgrid(np.arange(WH[0]), np.arange(WH[1])), -1).reshape(-1, 2)[::97].astype(float)
    to_image = invert_affine(scene.image_to_heatmap)
    depths = 1 / np.linspace(1e-7, 1 / 60, 20000)
    for own, other in ((0, 1), (2, 0)):
        places = rays.lines(own, other)
        lengths = arc_lengths(places, WH[::-1])[:, ::97].numpy()
        places = to_pixels(places, WH[::-1]).numpy()
        for frame in range(2):
            image = transform_points(pixels, to_image[frame, own])
            curve, valid = epipolar_curve(image, scene.cameras[frame, own], scene.cameras[frame, other], depths)
            curve = transform_points(curve.reshape(-1, 2), scene.image_to_heatmap[frame, other]).reshape(curve.shape)
            for n, line in enumerate(places[frame, ::97]):
                inside = valid[n] & (curve[n] >= -0.5).all(-1) & (curve[n] <= np.array(WH) - 0.5).all(-1)
                if not inside.any():
                    assert ((line < -0.5) | (line > np.array(WH) - 0.5)).any(-1).all()
                    continue
                distances = np.linalg.norm(curve[n][inside][:, None] - line, axis=-1).min(1)
                assert distances.max() < 0.8  # half a step and what the lens bends between samples
                assert np.abs(np.diff(line, axis=0)).max() < 1.01
                moves = np.linalg.norm(np.diff(line, axis=0), axis=-1)
                np.testing.assert_allclose(2 * lengths[frame, n], np.append(0, moves) + np.append(moves, 0), atol=1e-9)


def along_x(center_x: float, center_z: float) -> Cameras:
    """A camera that looks along +z, with 100 px focal length."""
    center = np.array([center_x, 0, center_z], float)
    return Cameras(np.eye(3), center, np.full(2, 100.0), np.full(2, 20.0), np.zeros(3), np.zeros(2))


def test_border_lines_enclose_the_planes_of_all_pixels(scene):
    """The line of a pixel lies between the lines of its two border points."""
    rays = HeatmapRays(views_of(scene), WH[::-1])
    places, pair, share = rays.border_lines(0, 1)
    every = rays.lines(0, 1)
    assert ((share >= 0) & (share <= 1)).all()
    for frame, pixel in enumerate(pixel_of(scene)):
        first, second = (to_pixels(places[frame, index], WH[::-1]).numpy() for index in pair[frame, pixel])
        line = to_pixels(every[frame, pixel], WH[::-1]).numpy()
        whole = [np.ones(len(one), bool) for one in (first, second)]
        middle = line[len(line) // 2][None]
        distances = [
            distance_to_curve(middle, one, seen).item() for one, seen in zip((first, second), whole, strict=True)
        ]
        assert max(distances) < 1
        np.testing.assert_allclose(distances[0], share[frame, pixel] * sum(distances), atol=0.05)


def test_lines_from_camera_to_infinity():
    # the other camera is 3 m behind and sees the first one, 300 mm to the side, at px 20 + 100 * 300 / 3000 = 30
    pair = [along_x(300, 0), along_x(0, -3000)]
    cameras = Cameras(*(np.stack([getattr(one, name) for one in pair])[None] for name in "RTfckp"))
    matrix = np.broadcast_to(np.eye(2, 3), (1, 2, 2, 3))
    views = CropCameras(cameras, matrix).map(lambda array: torch.as_tensor(array.copy()))
    rays = HeatmapRays(views, (41, 41))
    places = rays.lines(0, 1)
    line = to_pixels(places, (41, 41))[0, 20 * 41 + 36].numpy()  # of (36, 20): 0.16 aside per depth, at 36 at infinity
    near = 20 + 100 * (300 + 0.16 * 50) / 3050  # NEAREST_MM is 50
    np.testing.assert_allclose(line[[0, -1]], [[36, 20], [near, 20]], atol=1e-9)
    assert arc_lengths(places, (41, 41))[0, 20 * 41 + 36].sum().item() == pytest.approx(36 - near)
    assert rays.border_lines(0, 1) is None  # each pixel of a plane sees another part of the line
    away = rays.lines(1, 0)  # of what the camera behind sees at (36, 20), the front one sees what is before it
    # x = 0.16 (3000 + z) there, less 300: aside 0.16 + 180 / z, which enters the map at 20.5 px + margin of 1
    ends = to_pixels(away, (41, 41))[0, 20 * 41 + 36, [0, -1], 0]
    np.testing.assert_allclose(ends, [36, 41])
    assert arc_lengths(away, (41, 41)).isfinite().all()


def test_scene_depths_contain_person():
    scene = make_scene(3, 4)
    rays = HeatmapRays(views_of(scene, torch.float32), (64, 64))
    depths = rays.scene_depths(96).numpy()
    true = project(scene.pose_world[:, None], scene.cameras)[1]
    assert (depths[..., 0] < true.min(-1)).all()
    assert (depths[..., -1] > true.max(-1)).all()
    assert (depths[..., -1] - depths[..., 0]).max() < 4000
    assert (np.diff(depths, axis=-1) > 0).all()


def test_sample_maps_bilinear_and_zero_outside():
    maps = torch.arange(6.0).view(1, 1, 2, 3)
    places = torch.tensor([[0.0, 0], [2, 1], [0.5, 0.5], [-0.5, 0], [2.25, 1], [-2, 0], [-1000, -1000]])
    values = sample_maps(maps, to_places(places, (2, 3))[None, :, None])[0, 0, :, 0]
    torch.testing.assert_close(values, torch.tensor([0.0, 5, 2, 0, 3.75, 0, 0]))
