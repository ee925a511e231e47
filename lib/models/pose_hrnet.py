"""HRNet for pose: parallel branches from fine to coarse resolution, heatmaps from the finest.

Names follow the official code, so that its weight files load: `stage<n>.<module>.branches.<b>.<block>`,
`stage<n>.<module>.fuse_layers.<to>.<from>`, `transition<n>.<branch>`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock, Bottleneck

from lib.models.deconv_head import final_conv
from lib.utils.errors import InputError, unknown_name

STEM_CHANNELS = 64
BLOCKS: dict[str, type[BasicBlock | Bottleneck]] = {"BASIC": BasicBlock, "BOTTLENECK": Bottleneck}


@dataclass(frozen=True)
class HRStage:
    """Settings of one stage.

    Attributes:
        num_modules: number of modules in sequence.
        num_blocks: residual blocks per branch.
        num_channels: width per branch, finest first; output channels are width * expansion of the block.
        block: key of BLOCKS.
    """

    num_modules: int
    num_blocks: Sequence[int]
    num_channels: Sequence[int]
    block: str = "BASIC"

    def out_channels(self) -> list[int]:
        """Return the output channels per branch."""
        return [width * BLOCKS[self.block].expansion for width in self.num_channels]


class PoseHRNet(nn.Module):
    """HRNet: stem, layer1, then stages 2 to 4 with a transition before each.

    Args:
        stages: stages 2, 3 and 4.
        num_joints: number of heatmaps.
        final_kernel: kernel size of the last convolution, 1 or 3.

    Raises:
        InputError: not three stages, unknown block, or inconsistent settings of a stage.

    Source: Sun et al., Deep High-Resolution Representation Learning for Human Pose Estimation, CVPR 2019.
    """

    # Tensors of ImageNet files that this network lacks. In ImageNet files the last module has four outputs, here one.
    imagenet_leftovers = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.", "stage4.")

    def __init__(self, stages: Sequence[HRStage], num_joints: int, final_kernel: int = 1) -> None:
        super().__init__()
        if len(stages) != 3:
            raise InputError(f"MODEL_EXTRA: expected STAGE2, STAGE3 and STAGE4, received {len(stages)} stages")
        self.conv1 = nn.Conv2d(3, STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)
        self.conv2 = nn.Conv2d(STEM_CHANNELS, STEM_CHANNELS, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(STEM_CHANNELS)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _residual_blocks(Bottleneck, STEM_CHANNELS, 64, num_blocks=4)
        channels = [64 * Bottleneck.expansion]
        for number, stage in enumerate(stages, start=2):
            _check_stage(stage, number)
            setattr(self, f"transition{number - 1}", Transition(channels, stage.out_channels()))
            channels = stage.out_channels()
            setattr(self, f"stage{number}", _build_stage(stage, 1 if number == 4 else len(channels)))
        self.final_layer = final_conv(channels[0], num_joints, final_kernel)
        self.input_multiple = 4 * 2 ** (len(channels) - 1)

    def forward(self, images: Tensor) -> Tensor:
        """Compute heatmaps.

        Args:
            images: (B, 3, H_in, W_in) normalized crops; H_in and W_in multiples of 32.

        Returns:
            (B, J, H_in / 4, W_in / 4).

        Raises:
            InputError: H_in or W_in is not a multiple of 32, so the sizes of the branches would not double exactly.
        """
        if images.shape[-2] % self.input_multiple or images.shape[-1] % self.input_multiple:
            raise InputError(
                f"NETWORK.IMAGE_SIZE: expected multiples of {self.input_multiple} for HRNet, received height and width "
                f"{tuple(images.shape[-2:])}"
            )
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.relu(self.bn2(self.conv2(x)))
        features = [self.layer1(x)]
        features = self.stage2(self.transition1(features))
        features = self.stage3(self.transition2(features))
        features = self.stage4(self.transition3(features))
        return self.final_layer(features[0])


class HighResolutionModule(nn.Module):
    """Residual blocks on every branch; then each output is the sum of all branches at its resolution.

    Args:
        stage: settings of the stage; its output channels are the input channels too.
        num_outputs: number of outputs, finest first.
    """

    def __init__(self, stage: HRStage, num_outputs: int) -> None:
        super().__init__()
        channels = stage.out_channels()
        self.branches = nn.ModuleList(
            _residual_blocks(BLOCKS[stage.block], in_channels, width, depth)
            for in_channels, width, depth in zip(channels, stage.num_channels, stage.num_blocks, strict=True)
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_resample(channels, source, target) for source in range(len(channels)))
            for target in range(num_outputs)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return the outputs for one (B, C_b, H / 2^b, W / 2^b) tensor per branch b, in the same layout."""
        features = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        return [F.relu(sum(layer(x) for layer, x in zip(layers, features, strict=True))) for layers in self.fuse_layers]


class Transition(nn.ModuleList):
    """Convert the branches of one stage to the branches of the next stage, which has more.

    Args:
        in_channels: channels per branch of the previous stage.
        out_channels: channels per branch of the next stage.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: Sequence[int]) -> None:
        layers: list[nn.Module] = []
        for branch, channels in enumerate(out_channels):
            if branch < len(in_channels):
                same = in_channels[branch] == channels
                layers.append(nn.Identity() if same else _conv_bn(in_channels[branch], channels))
                continue
            widths = [in_channels[-1]] * (branch - len(in_channels) + 1) + [channels]
            layers.append(nn.Sequential(*(_conv_bn(a, b, stride=2) for a, b in pairwise(widths))))
        super().__init__(layers)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Return one tensor per branch of the next stage; new branches start from the coarsest previous branch."""
        return [layer(features[min(branch, len(features) - 1)]) for branch, layer in enumerate(self)]


def _check_stage(stage: HRStage, number: int) -> None:
    if stage.block not in BLOCKS:
        raise unknown_name("block", stage.block, BLOCKS, f"MODEL_EXTRA.STAGE{number}.BLOCK")
    if len(stage.num_blocks) != len(stage.num_channels) or stage.num_modules < 1:
        raise InputError(
            f"MODEL_EXTRA.STAGE{number}: expected at least one module and as many NUM_BLOCKS as NUM_CHANNELS, received "
            f"NUM_MODULES {stage.num_modules}, NUM_BLOCKS {list(stage.num_blocks)}, "
            f"NUM_CHANNELS {list(stage.num_channels)}"
        )


def _build_stage(stage: HRStage, num_outputs: int) -> nn.Sequential:
    """Chain the modules of a stage; only the last one may omit coarse outputs."""
    outputs = [len(stage.num_channels)] * (stage.num_modules - 1) + [num_outputs]
    return nn.Sequential(*(HighResolutionModule(stage, number) for number in outputs))


def _conv_bn(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """Return a padded convolution without bias, batch norm and optionally ReLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    ]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def _residual_blocks(
    block: type[BasicBlock | Bottleneck], in_channels: int, planes: int, num_blocks: int
) -> nn.Sequential:
    """Return residual blocks at constant resolution; the first one adapts the number of channels."""
    out_channels = planes * block.expansion
    downsample = None if in_channels == out_channels else _conv_bn(in_channels, out_channels, 1, relu=False)
    blocks = [block(in_channels, planes, downsample=downsample)]
    blocks += [block(out_channels, planes) for _ in range(num_blocks - 1)]
    return nn.Sequential(*blocks)


def _resample(channels: Sequence[int], source: int, target: int) -> nn.Module:
    """Return layers from channels and resolution of branch `source` to channels and resolution of branch `target`."""
    if source == target:
        return nn.Identity()
    if source > target:
        up = nn.Upsample(scale_factor=2 ** (source - target), mode="nearest")
        return nn.Sequential(*_conv_bn(channels[source], channels[target], 1, relu=False), up)
    halvings = [_conv_bn(channels[source], channels[source], stride=2) for _ in range(target - source - 1)]
    return nn.Sequential(*halvings, _conv_bn(channels[source], channels[target], stride=2, relu=False))
