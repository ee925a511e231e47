from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from lib.utils.transforms import (
    compose_affine,
    crop_image,
    get_affine_transform,
    image_to_heatmap_affine,
    invert_affine,
    similarity_scale,
    transform_points,
)


def three_point_transform(center, side_px, rotation_deg, output_wh):
    """Crop of Simple Baselines from three points: center, middle of the upper edge and a right angle."""
    angle = np.deg2rad(rotation_deg)
    up = np.array([np.sin(angle), -np.cos(angle)]) * side_px / 2
    source = np.float32([center, center + up, center + up + [up[1], -up[0]]])
    middle = np.array(output_wh) / 2
    target = np.float32([middle, middle - [0, output_wh[0] / 2], middle - [output_wh[0] / 2, output_wh[0] / 2]])
    return cv2.getAffineTransform(source, target)


@pytest.mark.parametrize("rotation", [0.0, 30.0, -75.0])
@pytest.mark.parametrize("output_wh", [(256, 256), (192, 256)])
def test_get_affine_transform_equals_the_original_code(rotation, output_wh):
    center = np.array([431.5, 287.25])
    ours = get_affine_transform(center, np.array([2.1, 3.9]), rotation, output_wh)
    np.testing.assert_allclose(ours, three_point_transform(center, 420.0, rotation, output_wh), rtol=2e-5, atol=2e-3)


def test_get_affine_transform_hand_computed_crop():
    # a box of 200 px around (100, 50) on 50 px: a quarter of the size, center to center
    matrix = get_affine_transform(np.array([100, 50]), np.array([1.0, 1.0]), 0.0, (50, 50))
    np.testing.assert_allclose(matrix, [[0.25, 0, 0], [0, 0.25, 12.5]])


def test_get_affine_transform_batch_equals_single_boxes():
    center = np.array([[10.0, 20], [300, 200]])
    scale = np.array([[1.0, 1], [2.5, 2]])
    rotation = np.array([0.0, 20.0])
    both = get_affine_transform(center, scale, rotation, (64, 48))
    assert both.shape == (2, 2, 3)
    for i in range(2):
        np.testing.assert_allclose(both[i], get_affine_transform(center[i], scale[i], rotation[i], (64, 48)))


def test_to_heatmap_divides_by_the_stride_of_each_axis():
    center, scale = np.array([120.0, 80.0]), np.array([1.3, 1.3])
    crop = get_affine_transform(center, scale, 0.0, (256, 192))
    point = np.array([[77.0, 31.0]])
    expected = transform_points(point, crop) / [4, 6]
    np.testing.assert_allclose(
        transform_points(point, image_to_heatmap_affine(center, scale, (256, 192), (64, 32))), expected
    )


def test_transform_points_equals_opencv_in_numpy_and_torch():
    rng = np.random.default_rng(0)
    points, matrix = rng.normal(0, 100, (3, 5, 2)), rng.normal(0, 1, (3, 2, 3))
    expected = np.stack([cv2.transform(p[:, None], m)[:, 0] for p, m in zip(points, matrix, strict=True)])
    np.testing.assert_allclose(transform_points(points, matrix), expected)
    result = transform_points(torch.from_numpy(points), torch.from_numpy(matrix))
    np.testing.assert_allclose(result.numpy(), expected)


def test_similarity_scale_does_not_depend_on_the_rotation():
    matrices = get_affine_transform(np.zeros((3, 2)), np.full((3, 2), 2.0), np.array([0.0, 90.0, -150.0]), (100, 100))
    np.testing.assert_allclose(similarity_scale(matrices), 0.25)


def test_invert_affine_equals_opencv():
    matrix = get_affine_transform(np.array([50.0, 70]), np.array([0.7, 0.7]), 33.0, (64, 64))
    np.testing.assert_allclose(invert_affine(matrix), cv2.invertAffineTransform(matrix), atol=1e-9)


def test_compose_affine_applies_both():
    inner, outer = np.random.default_rng(0).normal(size=(2, 3, 2, 3))
    points = np.random.default_rng(1).normal(size=(3, 5, 2))
    expected = transform_points(transform_points(points, inner), outer)
    np.testing.assert_allclose(transform_points(points, compose_affine(outer, inner)), expected)


def test_crop_image_moves_pixels_as_the_matrix():
    image = np.zeros((100, 100, 3), np.uint8)
    image[30, 40] = 255
    matrix = get_affine_transform(np.array([40, 30]), np.array([0.1, 0.1]), 0.0, (40, 20))  # 20 px box, doubled
    crop = crop_image(image, matrix, (40, 20))
    assert crop.shape == (20, 40, 3)
    assert np.unravel_index(crop[..., 0].argmax(), (20, 40)) == (10, 20)
    assert crop[10, 20].tolist() == [255] * 3


def test_crop_image_outside_is_black():
    matrix = get_affine_transform(np.array([0.0, 0.0]), np.array([0.1, 0.1]), 0.0, (20, 20))
    crop = crop_image(np.full((50, 50, 3), 200, np.uint8), matrix, (20, 20))
    assert crop[:9].max() == 0
    assert crop[:, :9].max() == 0
    assert crop[11:, 11:].min() == 200
