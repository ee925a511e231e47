from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lib.core.build_data import build_dataset, build_loader
from lib.dataset.network_input import NetworkInput, gaussian_targets, network_images, network_input

CPU = torch.device("cpu")


@pytest.fixture
def batch_and_settings(tiny_root, tiny_config):
    root = tiny_root(num_views=2, frames=2, mpii=2)
    config = tiny_config(root, "DATASET.TRAIN_DATASET", "mixed", "TRAIN.BATCH_SIZE", "3", "TRAIN.SHUFFLE", "false")
    loader = build_loader(config, build_dataset(config, root, True), True)
    (batch,) = loader
    return batch, loader.dataset.settings


@pytest.mark.parametrize("channels_last", [False, True])
def test_network_images_normalization(channels_last):
    crops = torch.zeros(2, 3, 4, 5, 3, dtype=torch.uint8)
    crops[1, 2, 0, 1] = torch.tensor([255, 0, 51], dtype=torch.uint8)  # blue, green, red
    images = network_images(crops, CPU, channels_last)
    assert images.shape == (2, 3, 3, 4, 5)
    assert images.dtype == torch.float32
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225]
    np.testing.assert_allclose(images[1, 2, :, 0, 1], expected, rtol=1e-5)
    black = [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    np.testing.assert_allclose(images[0, 0, :, 3, 4], black, rtol=1e-5)
    kind = torch.channels_last if channels_last else torch.contiguous_format
    assert all(view.is_contiguous(memory_format=kind) for view in images.unbind(1))


def test_network_input_of_batch(batch_and_settings):
    batch, settings = batch_and_settings
    assert batch["crops"].dtype == torch.uint8
    inputs = network_input(batch, settings, CPU)
    assert (len(inputs), inputs.images.shape, inputs.target.shape) == (3, (3, 2, 3, 64, 64), (3, 2, 20, 16, 16))
    assert inputs.weight.shape == (3, 2, 20, 1)
    assert inputs.is_multiview.tolist() == [True, True, False]
    inside = ((batch["joints_crop"] >= 0) & (batch["joints_crop"] < 64)).all(-1)
    assert torch.equal(inputs.weight[..., 0] > 0, batch["visible"] & inside)
    best = inputs.target.flatten(-2).argmax(-1)
    peaks = torch.stack([best % 16, best // 16], -1)
    distance = (peaks - batch["joints_crop"] / 4).abs().amax(-1)
    assert distance[inputs.weight[..., 0] > 0].max() <= 0.5 + 1e-4


def test_network_input_joints_outside_crop(batch_and_settings):
    batch, settings = batch_and_settings
    batch["joints_crop"] = batch["joints_crop"] + torch.tensor([30.0, 0.0])
    inputs = network_input(batch, settings, CPU)
    inside = (batch["joints_crop"][..., 0] < 64) & batch["visible"]
    assert 0 < inside.sum() < batch["visible"].sum()
    assert torch.equal(inputs.weight[..., 0] > 0, inside)
    assert torch.equal(inputs.target.flatten(-2).amax(-1) > 0, inside)


@pytest.mark.parametrize(("num_parts", "sizes"), [(1, [3]), (2, [2, 1]), (3, [1, 1, 1]), (5, [1, 1, 1])])
def test_split_into_parts(batch_and_settings, num_parts, sizes):
    inputs = network_input(*batch_and_settings, CPU)
    parts = inputs.split(num_parts)
    assert [len(part) for part in parts] == sizes
    for name in ("images", "target", "weight", "is_multiview"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(inputs, name))
    assert all(isinstance(part, NetworkInput) for part in parts)


def targets(joints, visible=None, image_wh=(64, 64), heatmap_wh=(16, 16), sigma=1.0, subpixel=False):
    joints = np.array(joints, np.float32)
    visible = np.ones(len(joints), bool) if visible is None else np.array(visible)
    drawn = gaussian_targets(torch.from_numpy(joints), torch.from_numpy(visible), image_wh, heatmap_wh, sigma, subpixel)
    return tuple(tensor.numpy() for tensor in drawn)


def test_gaussian_targets_by_hand():
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
def test_gaussian_targets_rounded_peak(x, peak):
    target, weight = targets([[x, 32.0]])
    assert weight[0, 0] == 1
    if peak is None:  # rounds to 16, beyond the map: the tail is drawn, the peak is not
        assert target[0].max() == pytest.approx(math.exp(-0.5))
        assert target[0].argmax() == 8 * 16 + 15
    else:
        assert target[0].argmax() == 8 * 16 + peak


@pytest.mark.parametrize("joint", [(-0.1, 30), (30, -0.1), (64, 30), (30, 64), (1e9, 30), (-500, -500)])
def test_gaussian_targets_outside_crop(joint):
    target, weight = targets([joint])
    assert weight.tolist() == [[0.0]]
    assert not target.any()


def test_gaussian_targets_invisible_joints():
    target, weight = targets([[30, 30], [30, 30]], visible=[False, True])
    assert weight.tolist() == [[0.0], [1.0]]
    assert not target[0].any()
    assert target[1].max() == 1


def test_gaussian_targets_width_and_height():
    target, _ = targets([[40.0, 30.0]], image_wh=(96, 64), heatmap_wh=(24, 32), sigma=2)  # strides 4 and 2
    assert target.shape == (1, 32, 24)
    assert np.unravel_index(target[0].argmax(), (32, 24)) == (15, 10)
    assert np.argwhere(target[0].any(1)).ravel().tolist() == list(range(9, 22))  # 3 sigma = 6 px each way
    assert np.argwhere(target[0].any(0)).ravel().tolist() == list(range(4, 17))


@pytest.mark.parametrize("sigma", [1.0, 1.5])
def test_gaussian_targets_subpixel(sigma):
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


def test_gaussian_targets_leading_axes():
    joints = torch.rand(2, 3, 5, 2) * 80 - 8
    visible = torch.rand(2, 3, 5) > 0.2
    target, weight = gaussian_targets(joints, visible, (64, 64), (16, 16), 1.5, True)
    assert (target.shape, weight.shape) == ((2, 3, 5, 16, 16), (2, 3, 5, 1))
    one, one_weight = gaussian_targets(joints[1, 2], visible[1, 2], (64, 64), (16, 16), 1.5, True)
    assert torch.equal(target[1, 2], one)
    assert torch.equal(weight[1, 2], one_weight)
