from __future__ import annotations

import pytest
import torch
from torch import nn

from lib.models.initialize import initialize
from lib.models.pose_resnet import PoseResNet
from lib.utils.errors import InputError


@pytest.mark.parametrize("scheme", ["published", "kaiming"])
def test_initialize_follows_the_scheme(scheme: str) -> None:
    torch.manual_seed(0)
    model = PoseResNet(18, 20, deconv_with_bias=True)
    initialize(model, scheme)
    convolutions = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    trunk_std = model.layer2[0].conv2.weight.std().item()
    assert trunk_std == pytest.approx(0.001 if scheme == "published" else (2 / (128 * 9)) ** 0.5, rel=0.02)
    assert model.deconv_layers[0].weight.std().item() == pytest.approx(0.001, rel=0.02) or scheme == "kaiming"
    assert model.final_layer.weight.std().item() == pytest.approx(0.001, rel=0.05)
    assert all(m.bias is None or not m.bias.any() for m in convolutions)
    assert all((m.weight == 1).all() and not m.bias.any() for m in norms)


def test_initialize_unknown_scheme_is_refused() -> None:
    with pytest.raises(InputError, match=r"unknown initialization 'xavier' in NETWORK\.INIT; known: kaiming"):
        initialize(PoseResNet(18, 2), "xavier")
