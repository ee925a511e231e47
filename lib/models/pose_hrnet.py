"""HRNet for pose: parallel branches from fine to coarse, heatmaps from the finest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from lib.models.deconv_head import final_conv
from lib.models.hrnet_module import BLOCKS, HighResolutionModule, Transition, residual_blocks
from lib.utils.errors import InputError, unknown_name

STEM_CHANNELS = 64


@dataclass(frozen=True)
class HRStage:
    """One stage of HRNet.

    Attributes:
        num_modules: exchange modules in a row.
        num_blocks: residual blocks per branch.
        num_channels: width per branch, finest first.
        block: residual block, BASIC or BOTTLENECK.
    """

    num_modules: int
    num_blocks: Sequence[int]
    num_channels: Sequence[int]
    block: str = "BASIC"


class PoseHRNet(nn.Module):
    """HRNet with official names: stem, layer1, then stages 2 to 4 with a transition before each.

    Args:
        stages: stages 2, 3 and 4.
        num_joints: number of heatmaps.
        final_kernel: kernel size of the final convolution, 1 or 3.

    Raises:
        InputError: not three stages, unknown block, or block and channel counts that differ.

    Source: Sun et al., Deep High-Resolution Representation Learning for Human Pose Estimation, CVPR 2019.
    """

    # what ImageNet files hold beyond the trunk; their last module has all four outputs, a pose network the finest one
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
        self.layer1 = residual_blocks(Bottleneck, STEM_CHANNELS, 64, num_blocks=4)
        channels = [64 * Bottleneck.expansion]
        for number, stage in enumerate(stages, start=2):
            _check_stage(stage, number)
            in_channels = channels
            channels = _branch_channels(stage)
            setattr(self, f"transition{number - 1}", Transition(in_channels, channels))
            setattr(self, f"stage{number}", _build_stage(stage, 1 if number == 4 else len(channels)))
        self.final_layer = final_conv(channels[0], num_joints, final_kernel)
        self.input_multiple = 4 * 2 ** (len(channels) - 1)

    def forward(self, images: Tensor) -> Tensor:
        """Compute heatmaps.

        Args:
            images: (B, 3, H_in, W_in) normalised crops; H_in and W_in multiples of 32.

        Returns:
            (B, J, H_in / 4, W_in / 4) heatmaps.

        Raises:
            InputError: the branches would not have sizes that double exactly.
        """
        if images.shape[-2] % self.input_multiple or images.shape[-1] % self.input_multiple:
            raise InputError(
                f"HRNet input: height and width must be multiples of {self.input_multiple}, "
                f"received {tuple(images.shape[-2:])}; change NETWORK.IMAGE_SIZE"
            )
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.relu(self.bn2(self.conv2(x)))
        features = [self.layer1(x)]
        features = self.stage2(self.transition1(features))
        features = self.stage3(self.transition2(features))
        features = self.stage4(self.transition3(features))
        return self.final_layer(features[0])


def _branch_channels(stage: HRStage) -> list[int]:
    return [width * BLOCKS[stage.block].expansion for width in stage.num_channels]


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
    """Chain the modules of a stage; only the last one may leave out coarse outputs."""
    channels = _branch_channels(stage)
    outputs = [len(channels)] * (stage.num_modules - 1) + [num_outputs]
    return nn.Sequential(
        *(HighResolutionModule(BLOCKS[stage.block], stage.num_blocks, stage.num_channels, channels, n) for n in outputs)
    )
