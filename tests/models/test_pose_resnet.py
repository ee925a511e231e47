from __future__ import annotations

import pytest
import torch
import torchvision
from cvf_tests.small_networks import DECONV_HEAD, shapes_of

from lib.models.pose_resnet import PoseResNet
from lib.utils.errors import InputError


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_pose_resnet_has_torchvision_names_and_shapes(depth: int) -> None:
    with torch.device("meta"):
        model = PoseResNet(depth, 20)
        reference = getattr(torchvision.models, f"resnet{depth}")()
        output = model.eval()(torch.empty(2, 3, 96, 128))
    expected = {name: shape for name, shape in shapes_of(reference).items() if not name.startswith("fc.")}
    shapes = shapes_of(model)
    assert {name: shape for name, shape in shapes.items() if name not in DECONV_HEAD} == expected
    assert set(shapes) - set(expected) == DECONV_HEAD
    assert shapes["deconv_layers.0.weight"] == (512 if depth < 50 else 2048, 256, 4, 4)
    assert shapes["final_layer.weight"] == (20, 256, 1, 1)
    assert output.shape == (2, 20, 24, 32)


def test_pose_resnet_trunk_equals_torchvision() -> None:
    torch.manual_seed(0)
    reference = torchvision.models.resnet18().eval()
    model = PoseResNet(18, 20).eval()
    model.load_state_dict(reference.state_dict(), strict=False)
    features = []
    model.deconv_layers.register_forward_pre_hook(lambda _module, inputs: features.append(inputs[0]))
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        model(images)
        logits = reference.fc(features[0].mean((2, 3)))
        torch.testing.assert_close(logits, reference(images), atol=1e-5, rtol=1e-4)


def test_pose_resnet_unknown_depth_is_refused() -> None:
    with pytest.raises(InputError, match=r"unknown ResNet depth '51' in POSE_RESNET\.NUM_LAYERS; did you mean '50'"):
        PoseResNet(51, 20)
