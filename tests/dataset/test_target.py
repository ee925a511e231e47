from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lib.dataset.target import gaussian_targets


def targets(joints, visible=None, image_wh=(64, 64), heatmap_wh=(16, 16), sigma=1.0, subpixel=False):
    joints = np.array(joints, np.float32)
    visible = np.ones(len(joints), bool) if visible is None else np.array(visible)
    drawn = gaussian_targets(torch.from_numpy(joints), torch.from_numpy(visible), image_wh, heatmap_wh, sigma, subpixel)
    return tuple(tensor.numpy() for tensor in drawn)


def test_a_gaussian_by_hand():
    target, weight = targets([[20.0, 33.0]])  # heatmap px (5, 8.25) -> peak at (5, 8)
    assert target.shape == (1, 16, 16)
    assert target.dtype == weight.dtype == np.float32
    assert weight.tolist() == [[1.0]]
    expected = np.zeros((16, 16))
    for y in range(16):
        for x in range(16):
            if abs(x - 5) <= 3 and abs(y - 8) <= 3:
                expected[y, x] = math.exp(-((x - 5) ** 2 + (y - 8) ** 2) / 2)
    np.testing.assert_allclose(target[0], expected, atol=1e-7)
    assert target[0, 8, 5] == 1.0


@pytest.mark.parametrize(("x", "peak"), [(21.9, 5), (22.0, 6), (22.1, 6), (0.0, 0), (62.5, None)])
def test_the_peak_is_on_the_rounded_pixel(x, peak):
    target, weight = targets([[x, 32.0]])
    assert weight[0, 0] == 1
    if peak is None:  # rounds to 16, beyond the map: the tail is drawn, the peak is not
        assert target[0].max() == pytest.approx(math.exp(-0.5))
        assert target[0].argmax() == 8 * 16 + 15
    else:
        assert target[0].argmax() == 8 * 16 + peak


@pytest.mark.parametrize("joint", [(-0.1, 30), (30, -0.1), (64, 30), (30, 64), (1e9, 30), (-500, -500)])
def test_joints_outside_of_the_crop_count_nothing(joint):
    target, weight = targets([joint])
    assert weight.tolist() == [[0.0]]
    assert not target.any()


def test_invisible_joints_count_nothing():
    target, weight = targets([[30, 30], [30, 30]], visible=[False, True])
    assert weight.tolist() == [[0.0], [1.0]]
    assert not target[0].any()
    assert target[1].max() == 1


def test_sizes_are_width_and_height():
    target, _ = targets([[40.0, 30.0]], image_wh=(96, 64), heatmap_wh=(24, 32), sigma=2)  # strides 4 and 2
    assert target.shape == (1, 32, 24)
    assert np.unravel_index(target[0].argmax(), (32, 24)) == (15, 10)
    assert np.argwhere(target[0].any(1)).ravel().tolist() == list(range(9, 22))  # 3 sigma = 6 px each way
    assert np.argwhere(target[0].any(0)).ravel().tolist() == list(range(4, 17))


@pytest.mark.parametrize("sigma", [1.0, 1.5])
def test_between_the_pixels(sigma):
    target, weight = targets([[21.0, 33.2], [63.9, 0.0], [64.0, 30.0]], sigma=sigma, subpixel=True)
    assert weight.ravel().tolist() == [1, 1, 0]
    for joint, (center_x, center_y) in enumerate([(5.25, 8.3), (15.975, 0.0)]):
        expected = np.zeros((16, 16))
        for y in range(16):
            for x in range(16):
                if abs(x - center_x) <= 3 * sigma and abs(y - center_y) <= 3 * sigma:
                    expected[y, x] = math.exp(-((x - center_x) ** 2 + (y - center_y) ** 2) / (2 * sigma**2))
        np.testing.assert_allclose(target[joint], expected, atol=1e-6)
    assert not target[2].any()


def test_leading_axes_are_those_of_the_joints():
    joints = torch.rand(2, 3, 5, 2) * 80 - 8
    visible = torch.rand(2, 3, 5) > 0.2
    target, weight = gaussian_targets(joints, visible, (64, 64), (16, 16), 1.5, True)
    assert (target.shape, weight.shape) == ((2, 3, 5, 16, 16), (2, 3, 5, 1))
    one, one_weight = gaussian_targets(joints[1, 2], visible[1, 2], (64, 64), (16, 16), 1.5, True)
    assert torch.equal(target[1, 2], one)
    assert torch.equal(weight[1, 2], one_weight)
