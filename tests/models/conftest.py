"""Fixtures of the network tests: small configurations and the networks of the original code.

The layout of the original checkpoints is implemented here in plain code, which shares nothing with ours.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from cvf_tests.small_networks import small_config
from easydict import EasyDict
from torch import Tensor, nn


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., EasyDict]:
    """make_config("pose_resnet", "KEY", "VALUE", ...) -> configuration of a small network."""
    return partial(small_config, tmp_path)


@pytest.fixture
def randomize() -> Callable[[nn.Module], nn.Module]:
    """Give a network weights and batch-norm statistics that make every tensor matter, and set it to evaluation."""

    def fill(model: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(1)
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif tensor.ndim >= 2 and not name.startswith(("fusion", "aggre_layer")):
                fan_in = tensor[0].numel()
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / fan_in**0.5)
            elif tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.02)
        return model.eval()

    return fill


VIEWS = 3
MAP = 16


def _head(in_channels: int) -> tuple[nn.Sequential, nn.Conv2d]:
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.ConvTranspose2d(in_channels, 256, 4, 2, 1, bias=False), nn.BatchNorm2d(256), nn.ReLU()]
        in_channels = 256
    return nn.Sequential(*layers), nn.Conv2d(256, 20, 1)


class PublishedResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name, child in torchvision.models.resnet18().named_children():
            if name not in ("avgpool", "fc"):
                self.add_module(name, child)
        self.deconv_layers, self.final_layer = _head(512)

    def forward(self, x: Tensor) -> Tensor:
        for child in self.children():
            x = child(x)
        return x


class FlatBlock(nn.Module):
    """An inverted residual whose layers are one flat Sequential."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels_in * expansion
        self.shortcut = stride == 1 and channels_in == channels_out
        widen = [nn.Conv2d(channels_in, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6()]
        self.conv = nn.Sequential(
            *(widen if expansion > 1 else []),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(),
            nn.Conv2d(hidden, channels_out, 1, bias=False),
            nn.BatchNorm2d(channels_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class FlatMobileNetV2(nn.Module):
    """`features` of the flat ImageNet file: without the classifier, with or without the last expansion."""

    def __init__(self, last_expansion: bool) -> None:
        super().__init__()
        plan = [(16, 1, 1), (24, 2, 6), (24, 1, 6), (32, 2, 6)] + [(32, 1, 6)] * 2 + [(64, 2, 6)] + [(64, 1, 6)] * 3
        plan += [(96, 1, 6)] * 3 + [(160, 2, 6)] + [(160, 1, 6)] * 2 + [(320, 1, 6)]
        layers: list[nn.Module] = [nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6())]
        channels_in = 32
        for channels, stride, expansion in plan:
            layers.append(FlatBlock(channels_in, channels, stride, expansion))
            channels_in = channels
        if last_expansion:
            layers.append(nn.Sequential(nn.Conv2d(320, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6()))
        self.features = nn.Sequential(*layers)


class PublishedMobileNetV2(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mobilenetv2 = FlatMobileNetV2(last_expansion=False)
        self.deconv_layers, self.final_layer = _head(320)

    def forward(self, x: Tensor) -> Tensor:
        return self.final_layer(self.deconv_layers(self.mobilenetv2.features(x)))


class PublishedMatrix(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(MAP * MAP, MAP * MAP))


class PublishedFusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.aggre = nn.ModuleList(PublishedMatrix() for _ in range(VIEWS * (VIEWS - 1)))


class PublishedMultiView(nn.Module):
    """Names and arithmetic of a published checkpoint: `resnet.` whatever the backbone, numbered matrices."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.resnet = backbone
        self.aggre_layer = PublishedFusion()

    def forward(self, views: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        single = [self.resnet(view) for view in views]
        fused = []
        number = 0
        for target in range(VIEWS):
            total = 0.4 * single[target]
            for source in range(VIEWS):
                if source != target:
                    matrix = self.aggre_layer.aggre[number].weight
                    row = single[source].reshape(*single[source].shape[:2], MAP * MAP)
                    total = total + 0.3 * (row @ matrix).reshape(single[source].shape)
                    number += 1
            fused.append(total)
        return single, fused


class HRNetByNames:
    """HRNet as a function of a dict of official names; `used` collects the names it read."""

    def __init__(self, state: dict[str, Tensor], modules: dict[int, int]) -> None:
        self.state = state
        self.modules = modules
        self.used = set()

    def take(self, name: str) -> Tensor:
        self.used.add(name)
        return self.state[name]

    def conv_bn(self, x: Tensor, conv: str, bn: str, stride: int = 1) -> Tensor:
        weight = self.take(f"{conv}.weight")
        x = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
        mean, var, gain, shift = (self.take(f"{bn}.{e}") for e in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, gain, shift)

    def sequence(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        return self.conv_bn(x, f"{name}.0", f"{name}.1", stride)

    def block(self, x: Tensor, name: str) -> Tensor:
        count = 3 if f"{name}.conv3.weight" in self.state else 2
        y = x
        for i in range(1, count + 1):
            y = self.conv_bn(y, f"{name}.conv{i}", f"{name}.bn{i}")
            y = F.relu(y) if i < count else y
        shortcut = self.sequence(x, f"{name}.downsample") if f"{name}.downsample.0.weight" in self.state else x
        return F.relu(y + shortcut)

    def module(self, xs: list[Tensor], name: str, outputs: int) -> list[Tensor]:
        xs = list(xs)
        for b in range(len(xs)):
            for i in range(4):
                xs[b] = self.block(xs[b], f"{name}.branches.{b}.{i}")
        fused = []
        for i in range(outputs):
            total = 0
            for j, x in enumerate(xs):
                prefix = f"{name}.fuse_layers.{i}.{j}"
                if j > i:
                    x = F.interpolate(self.sequence(x, prefix), scale_factor=2 ** (j - i), mode="nearest")
                for k in range(i - j):
                    x = self.sequence(x, f"{prefix}.{k}", stride=2)
                    x = F.relu(x) if k < i - j - 1 else x
                total = total + x
            fused.append(F.relu(total))
        return fused

    def __call__(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv_bn(x, "conv1", "bn1", 2))
        x = F.relu(self.conv_bn(x, "conv2", "bn2", 2))
        for i in range(4):
            x = self.block(x, f"layer1.{i}")
        xs = [F.relu(self.sequence(x, "transition1.0")), F.relu(self.sequence(x, "transition1.1.0", 2))]
        for stage in (2, 3, 4):
            for m in range(self.modules[stage]):
                last = stage == 4 and m == self.modules[4] - 1
                xs = self.module(xs, f"stage{stage}.{m}", 1 if last else stage)
            if stage < 4:
                xs.append(F.relu(self.sequence(xs[-1], f"transition{stage}.{stage}.0", 2)))
        return F.conv2d(xs[0], self.take("final_layer.weight"), self.take("final_layer.bias"))


PUBLISHED = {"pose_resnet": PublishedResNet, "pose_mobilenetv2": PublishedMobileNetV2}


@pytest.fixture
def published(randomize: Callable) -> Callable[[str], PublishedMultiView]:
    """Build a published network with three views: published("pose_resnet" | "pose_mobilenetv2")."""

    def make(backbone: str) -> PublishedMultiView:
        model = randomize(PublishedMultiView(PUBLISHED[backbone]()))
        torch.manual_seed(2)
        for matrix in model.aggre_layer.aggre:
            nn.init.uniform_(matrix.weight, 0, 0.1)
        return model

    return make


@pytest.fixture
def flat_mobilenet() -> type[FlatMobileNetV2]:
    """The network of the flat MobileNetV2 file."""
    return FlatMobileNetV2


@pytest.fixture
def hrnet_by_names() -> Callable[[dict[str, Tensor]], HRNetByNames]:
    """Build HRNet with the published number of modules from a dict of official names."""
    return lambda state: HRNetByNames(state, {2: 1, 3: 4, 4: 3})
