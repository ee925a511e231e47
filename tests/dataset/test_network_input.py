from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.dataset.loader import build_dataset, build_loader
from lib.dataset.network_input import NetworkInput, network_images, network_input

CPU = torch.device("cpu")


@pytest.fixture
def batch_and_settings(tiny_root, tiny_config):
    root = tiny_root(num_views=2, frames=2, mpii=2)
    config = tiny_config(root, "DATASET.TRAIN_DATASET", "mixed", "TRAIN.BATCH_SIZE", "3", "TRAIN.SHUFFLE", "false")
    loader = build_loader(config, build_dataset(config, root, True), True)
    (batch,) = loader
    return batch, loader.dataset.settings


@pytest.mark.parametrize("channels_last", [False, True])
def test_normalisation_is_channel_by_channel_in_bgr(channels_last):
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


def test_targets_and_images_of_a_batch(batch_and_settings):
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


def test_joints_that_leave_the_crop_get_weight_0(batch_and_settings):
    batch, settings = batch_and_settings
    batch["joints_crop"] = batch["joints_crop"] + torch.tensor([30.0, 0.0])
    inputs = network_input(batch, settings, CPU)
    inside = (batch["joints_crop"][..., 0] < 64) & batch["visible"]
    assert 0 < inside.sum() < batch["visible"].sum()
    assert torch.equal(inputs.weight[..., 0] > 0, inside)
    assert torch.equal(inputs.target.flatten(-2).amax(-1) > 0, inside)


@pytest.mark.parametrize(("num_parts", "sizes"), [(1, [3]), (2, [2, 1]), (3, [1, 1, 1]), (5, [1, 1, 1])])
def test_parts_of_a_batch(batch_and_settings, num_parts, sizes):
    inputs = network_input(*batch_and_settings, CPU)
    parts = inputs.split(num_parts)
    assert [len(part) for part in parts] == sizes
    for name in ("images", "target", "weight", "is_multiview"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(inputs, name))
    assert all(isinstance(part, NetworkInput) for part in parts)
