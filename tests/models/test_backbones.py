from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from lib.models.deconv_head import DeconvLayers, final_conv
from lib.models.initialize import initialize
from lib.models.pose_hrnet import HRStage, PoseHRNet
from lib.models.pose_mobilenetv2 import PoseMobileNetV2
from lib.models.pose_resnet import PoseResNet
from lib.utils.errors import InputError

HEAD = {"final_layer.weight", "final_layer.bias"} | {
    f"deconv_layers.{layer}.{entry}"
    for deconv in (0, 3, 6)
    for layer, entry in [(deconv, "weight")]
    + [(deconv + 1, entry) for entry in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]
}


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_resnet_has_torchvisions_names_and_shapes_plus_the_head(depth: int) -> None:
    with torch.device("meta"):
        model = PoseResNet(depth, 20)
        reference = getattr(torchvision.models, f"resnet{depth}")()
        output = model.eval()(torch.empty(2, 3, 96, 128))
    expected = {name: shape for name, shape in _shapes(reference).items() if not name.startswith("fc.")}
    shapes = _shapes(model)
    assert {name: shape for name, shape in shapes.items() if name not in HEAD} == expected
    assert set(shapes) - set(expected) == HEAD
    assert shapes["deconv_layers.0.weight"] == (512 if depth < 50 else 2048, 256, 4, 4)
    assert shapes["final_layer.weight"] == (20, 256, 1, 1)
    assert output.shape == (2, 20, 24, 32)


def test_resnet_trunk_computes_what_torchvisions_does() -> None:
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


def test_mobilenet_has_torchvisions_names_without_the_last_expansion() -> None:
    with torch.device("meta"):
        model = PoseMobileNetV2(20)
        reference = torchvision.models.mobilenet_v2()
        output = model.eval()(torch.empty(2, 3, 96, 128))
    left_out = ("features.18.", "classifier.")
    expected = {name: shape for name, shape in _shapes(reference).items() if not name.startswith(left_out)}
    shapes = _shapes(model)
    assert {name: shape for name, shape in shapes.items() if name not in HEAD} == expected
    assert set(shapes) - set(expected) == HEAD
    assert shapes["deconv_layers.0.weight"] == (320, 256, 4, 4)
    assert output.shape == (2, 20, 24, 32)


def _published_stages(width: int) -> list[HRStage]:
    """Stages 2 to 4 of HRNet-W32 or W48, by the width of the finest branch."""
    return [
        HRStage(num_modules, [4] * branches, [width * 2**branch for branch in range(branches)])
        for num_modules, branches in ((1, 2), (4, 3), (3, 4))
    ]


# parameters of the networks as published: 28.5 M (W32) and 63.6 M (W48) with 17 joints, HRNet paper table 1
@pytest.mark.parametrize(("width", "millions"), [(32, 28.5), (48, 63.6)])
def test_hrnet_size_and_output(width: int, millions: float) -> None:
    with torch.device("meta"):
        model = PoseHRNet(_published_stages(width), 17).eval()
        output = model(torch.empty(2, 3, 96, 128))
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    assert output.shape == (2, 17, 24, 32)
    shapes = _shapes(model)
    # spot checks of official names, one of each kind
    assert shapes["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert shapes["transition1.0.0.weight"] == (width, 256, 3, 3)
    assert shapes["transition1.1.0.0.weight"] == (2 * width, 256, 3, 3)
    assert shapes["transition3.3.0.1.running_var"] == (8 * width,)
    assert shapes["stage2.0.branches.1.3.conv2.weight"] == (2 * width, 2 * width, 3, 3)
    assert shapes["stage3.3.fuse_layers.0.2.0.weight"] == (width, 4 * width, 1, 1)
    assert shapes["stage4.1.fuse_layers.3.0.2.0.weight"] == (8 * width, width, 3, 3)
    assert not any(name.startswith(("transition2.0", "stage4.2.fuse_layers.1")) for name in shapes)


def test_hrnet_learns_in_every_parameter() -> None:
    stages = [HRStage(1, [1] * branches, [4 * 2**branch for branch in range(branches)]) for branches in (2, 3, 4)]
    model = PoseHRNet(stages, 3)
    model(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_hrnet_bottleneck_blocks_multiply_the_channels() -> None:
    stages = [HRStage(1, [1] * n, [2 * 2**branch for branch in range(n)], "BOTTLENECK") for n in (2, 3, 4)]
    model = PoseHRNet(stages, 3, final_kernel=3).eval()
    assert model.final_layer.weight.shape == (3, 8, 3, 3)
    assert model(torch.randn(1, 3, 32, 64)).shape == (1, 3, 8, 16)


@pytest.mark.parametrize("kernel", [2, 3, 4])
def test_each_deconvolution_doubles_the_map(kernel: int) -> None:
    layers = DeconvLayers(6, [5, 4], [kernel, kernel], with_bias=True)
    assert layers(torch.randn(2, 6, 3, 5)).shape == (2, 4, 12, 20)
    assert layers[0].bias is not None
    assert DeconvLayers(6, [5], [kernel])[0].bias is None


@pytest.mark.parametrize("scheme", ["published", "kaiming"])
def test_fresh_weights(scheme: str) -> None:
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


def test_errors_say_what_is_expected() -> None:
    with pytest.raises(InputError, match=r"unknown ResNet depth '51' in POSE_RESNET\.NUM_LAYERS; did you mean '50'"):
        PoseResNet(51, 20)
    with pytest.raises(InputError, match=r"filters \[256, 256\] and kernels \[4\]"):
        DeconvLayers(8, [256, 256], [4])
    with pytest.raises(InputError, match="kernel size must be 4, 3 or 2, received 5"):
        DeconvLayers(8, [256], [5])
    with pytest.raises(InputError, match="must be 1 or 3, received 2"):
        final_conv(8, 20, 2)
    with pytest.raises(InputError, match=r"unknown initialisation 'xavier' in NETWORK\.INIT; known: kaiming"):
        initialize(PoseResNet(18, 2), "xavier")
    with pytest.raises(InputError, match=r"multiples of 32, received \(80, 96\)"):
        PoseHRNet(_published_stages(32), 2)(torch.empty(1, 3, 80, 96))
    with pytest.raises(InputError, match=r"unknown block 'BASICS' in MODEL_EXTRA.STAGE2.BLOCK; did you mean 'BASIC'"):
        PoseHRNet([HRStage(1, [1, 1], [4, 8], "BASICS")] * 3, 2)
    with pytest.raises(InputError, match=r"MODEL_EXTRA.STAGE2: .*NUM_BLOCKS \[1\], NUM_CHANNELS \[4, 8\]"):
        PoseHRNet([HRStage(1, [1], [4, 8])] * 3, 2)
