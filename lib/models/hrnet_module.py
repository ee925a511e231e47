"""The parts of HRNet: parallel branches that exchange their features, and transitions between stages.

Names follow the official code so that its weight files fit: `branches.<b>.<block>`, `fuse_layers.<to>.<from>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck

BLOCKS: dict[str, type[BasicBlock | Bottleneck]] = {"BASIC": BasicBlock, "BOTTLENECK": Bottleneck}


def conv_bn(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """Return a same-padded convolution without bias, batch norm and, if asked, ReLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    ]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def residual_blocks(
    block: type[BasicBlock | Bottleneck], in_channels: int, planes: int, num_blocks: int
) -> nn.Sequential:
    """Return residual blocks at constant resolution; the first one adapts the channels if they differ."""
    out_channels = planes * block.expansion
    downsample = None if in_channels == out_channels else conv_bn(in_channels, out_channels, 1, relu=False)
    blocks = [block(in_channels, planes, downsample=downsample)]
    blocks += [block(out_channels, planes) for _ in range(num_blocks - 1)]
    return nn.Sequential(*blocks)


def _exchange(channels: Sequence[int], source: int, target: int) -> nn.Module:
    """Bring the features of one branch to the channels and resolution of another."""
    if source == target:
        return nn.Identity()
    if source > target:
        up = nn.Upsample(scale_factor=2 ** (source - target), mode="nearest")
        return nn.Sequential(*conv_bn(channels[source], channels[target], 1, relu=False), up)
    halvings = [conv_bn(channels[source], channels[source], stride=2) for _ in range(target - source - 1)]
    return nn.Sequential(*halvings, conv_bn(channels[source], channels[target], stride=2, relu=False))


class HighResolutionModule(nn.Module):
    """Residual blocks on every branch, then each output branch sums all branches.

    Args:
        block: residual block of the branches.
        num_blocks: blocks per branch.
        planes: width per branch; the channels are planes * block.expansion, in and out.
        in_channels: channels per branch that come in.
        num_outputs: how many of the branches, from the finest on, are computed as output.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        num_blocks: Sequence[int],
        planes: Sequence[int],
        in_channels: Sequence[int],
        num_outputs: int,
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            residual_blocks(block, channels_in, width, depth)
            for channels_in, width, depth in zip(in_channels, planes, num_blocks, strict=True)
        )
        channels = [width * block.expansion for width in planes]
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_exchange(channels, source, target) for source in range(len(channels)))
            for target in range(num_outputs)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Compute the branches and exchange their features.

        Args:
            features: one (B, C_b, H / 2^b, W / 2^b) tensor per branch b.

        Returns:
            The first `num_outputs` branches in the same layout.
        """
        features = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        return [F.relu(sum(layer(x) for layer, x in zip(layers, features, strict=True))) for layers in self.fuse_layers]


class Transition(nn.ModuleList):
    """Carry the branches of one stage to the next one, which has one or more coarser branches in addition.

    Args:
        in_channels: channels per branch of the stage before.
        out_channels: channels per branch of the stage after.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: Sequence[int]) -> None:
        layers: list[nn.Module] = []
        for branch, channels in enumerate(out_channels):
            if branch < len(in_channels):
                same = in_channels[branch] == channels
                layers.append(nn.Identity() if same else conv_bn(in_channels[branch], channels))
                continue
            widths = [in_channels[-1]] * (branch - len(in_channels) + 1) + [channels]
            layers.append(nn.Sequential(*(conv_bn(a, b, stride=2) for a, b in pairwise(widths))))
        super().__init__(layers)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return one tensor per branch of the next stage; new branches come from the coarsest old one."""
        return [layer(features[min(branch, len(features) - 1)]) for branch, layer in enumerate(self)]
