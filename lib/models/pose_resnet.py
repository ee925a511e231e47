"""ResNet with a deconvolution head (Simple Baselines), the backbone of the paper."""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from lib.models.deconv_head import DeconvLayers, final_conv
from lib.utils.errors import unknown_name

# depth -> (block, blocks per stage)
RESNET_STAGES: dict[int, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    18: (BasicBlock, [2, 2, 2, 2]),
    34: (BasicBlock, [3, 4, 6, 3]),
    50: (Bottleneck, [3, 4, 6, 3]),
    101: (Bottleneck, [3, 4, 23, 3]),
    152: (Bottleneck, [3, 8, 36, 3]),
}


class PoseResNet(nn.Module):
    """A torchvision ResNet without its classifier, then deconvolutions and a convolution to heatmaps.

    Args:
        num_layers: depth: 18, 34, 50, 101 or 152.
        num_joints: number of heatmaps.
        deconv_filters, deconv_kernels, deconv_with_bias: as in DeconvLayers.
        final_kernel: kernel size of the last convolution, 1 or 3.

    Raises:
        InputError: unknown depth or invalid settings of the head.

    Source: Xiao et al., Simple Baselines for Human Pose Estimation, ECCV 2018.
    """

    imagenet_leftovers = ("fc.",)  # tensors of ImageNet files that this network lacks

    def __init__(
        self,
        num_layers: int,
        num_joints: int,
        deconv_filters: Sequence[int] = (256, 256, 256),
        deconv_kernels: Sequence[int] = (4, 4, 4),
        deconv_with_bias: bool = False,
        final_kernel: int = 1,
    ) -> None:
        super().__init__()
        if num_layers not in RESNET_STAGES:
            raise unknown_name("ResNet depth", num_layers, map(str, RESNET_STAGES), "POSE_RESNET.NUM_LAYERS")
        block, blocks = RESNET_STAGES[num_layers]
        trunk = ResNet(block, blocks, num_classes=1)  # its children keep their names, so that ImageNet files load
        self.conv1 = trunk.conv1
        self.bn1 = trunk.bn1
        self.relu = trunk.relu
        self.maxpool = trunk.maxpool
        self.layer1 = trunk.layer1
        self.layer2 = trunk.layer2
        self.layer3 = trunk.layer3
        self.layer4 = trunk.layer4
        self.deconv_layers = DeconvLayers(512 * block.expansion, deconv_filters, deconv_kernels, deconv_with_bias)
        self.final_layer = final_conv(self.deconv_layers.out_channels, num_joints, final_kernel)

    def forward(self, images: Tensor) -> Tensor:
        """Compute heatmaps.

        Args:
            images: (B, 3, H_in, W_in) normalized crops.

        Returns:
            (B, J, H, W) heatmaps; H = H_in / 4 with three deconvolutions.
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.final_layer(self.deconv_layers(x))
