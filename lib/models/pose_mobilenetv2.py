"""MobileNetV2 with a deconvolution head."""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops.misc import Conv2dNormActivation

from lib.models.deconv_head import DeconvLayers, final_conv

STEM_CHANNELS = 32
# (expansion, channels, blocks, stride of the first block), Sandler et al., table 2
BLOCK_GROUPS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class PoseMobileNetV2(nn.Module):
    """MobileNetV2 of width 1.0 without its last 1x1 expansion, then deconvolutions and a convolution to heatmaps.

    Args:
        num_joints: number of heatmaps.
        deconv_filters, deconv_kernels, deconv_with_bias: as in DeconvLayers.
        final_kernel: kernel size of the last convolution, 1 or 3.

    Raises:
        InputError: invalid settings of the head.

    Source: Sandler et al., MobileNetV2, CVPR 2018. Names in `features` are as in torchvision.
    """

    imagenet_leftovers = ("features.18.", "classifier.")  # tensors of ImageNet files that this network lacks

    def __init__(
        self,
        num_joints: int,
        deconv_filters: Sequence[int] = (256, 256, 256),
        deconv_kernels: Sequence[int] = (4, 4, 4),
        deconv_with_bias: bool = False,
        final_kernel: int = 1,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [Conv2dNormActivation(3, STEM_CHANNELS, stride=2, activation_layer=nn.ReLU6)]
        in_channels = STEM_CHANNELS
        for expansion, channels, num_blocks, first_stride in BLOCK_GROUPS:
            for block_idx in range(num_blocks):
                stride = first_stride if block_idx == 0 else 1
                layers.append(InvertedResidual(in_channels, channels, stride, expansion))
                in_channels = channels
        self.features = nn.Sequential(*layers)
        self.deconv_layers = DeconvLayers(in_channels, deconv_filters, deconv_kernels, deconv_with_bias)
        self.final_layer = final_conv(self.deconv_layers.out_channels, num_joints, final_kernel)

    def forward(self, images: Tensor) -> Tensor:
        """Compute heatmaps.

        Args:
            images: (B, 3, H_in, W_in) normalized crops.

        Returns:
            (B, J, H, W) heatmaps; H = H_in / 4 with three deconvolutions.
        """
        return self.final_layer(self.deconv_layers(self.features(images)))
