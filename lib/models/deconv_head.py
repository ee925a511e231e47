"""Head of Simple Baselines: deconvolutions of stride 2, then a convolution to one heatmap per joint."""

from collections.abc import Sequence

from torch import nn

from lib.utils.errors import InputError

# kernel size -> (padding, output_padding) that exactly double the size of the map
_DOUBLING_PADDING = {4: (1, 0), 3: (1, 1), 2: (0, 0)}


class DeconvLayers(nn.Sequential):
    """Deconvolutions of stride 2, each with batch norm and ReLU: layers 3i, 3i+1 and 3i+2.

    Args:
        in_channels: channels of the feature map.
        filters: output channels of each deconvolution.
        kernels: kernel size of each deconvolution: 4, 3 or 2.
        with_bias: give the deconvolutions a bias.

    Raises:
        InputError: no layer, unequal counts, or unsupported kernel size.

    Source: Xiao et al., Simple Baselines for Human Pose Estimation, ECCV 2018, section 2.
    """

    def __init__(
        self, in_channels: int, filters: Sequence[int], kernels: Sequence[int], with_bias: bool = False
    ) -> None:
        if not filters or len(filters) != len(kernels):
            raise InputError(
                f"deconvolution head: expected one kernel per layer and at least one layer, "
                f"received filters {list(filters)} and kernels {list(kernels)}"
            )
        layers: list[nn.Module] = []
        for out_channels, kernel in zip(filters, kernels, strict=True):
            if kernel not in _DOUBLING_PADDING:
                raise InputError(f"deconvolution head: kernel size: expected 4, 3 or 2, received {kernel}")
            padding, output_padding = _DOUBLING_PADDING[kernel]
            layers += [
                nn.ConvTranspose2d(in_channels, out_channels, kernel, 2, padding, output_padding, bias=with_bias),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(inplace=True),
            ]
            in_channels = out_channels
        super().__init__(*layers)
        self.out_channels = in_channels


def final_conv(in_channels: int, num_joints: int, kernel: int) -> nn.Conv2d:
    """Return the last convolution of a backbone, from features to heatmaps of the same size.

    Args:
        in_channels: channels of the features.
        num_joints: number of heatmaps.
        kernel: kernel size, 1 or 3.

    Raises:
        InputError: unsupported kernel size.
    """
    if kernel not in (1, 3):
        raise InputError(f"FINAL_CONV_KERNEL: expected 1 or 3, received {kernel}")
    return nn.Conv2d(in_channels, num_joints, kernel, padding=kernel // 2)
