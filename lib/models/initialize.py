"""Random initial weights of backbones."""

from torch import nn

from lib.utils.errors import unknown_name

FRESH_STD = 0.001
INIT_SCHEMES = ("published", "kaiming")


def initialize(backbone: nn.Module, scheme: str = "published") -> None:
    """Initialize all weights of a backbone: batch norms to 1 and 0, biases to 0, convolutions at random.

    Args:
        backbone: a pose network whose last convolution is `final_layer`.
        scheme: "published" draws convolutions from N(0, 0.001), for a head on ImageNet features; "kaiming" preserves
            the variance through ReLUs, for training from scratch. Both draw the final layer from N(0, 0.001), so that
            the first heatmaps are near 0.

    Raises:
        InputError: unknown scheme.
    """
    if scheme not in INIT_SCHEMES:
        raise unknown_name("initialization", scheme, INIT_SCHEMES, "NETWORK.INIT")
    for module in backbone.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            if scheme == "published":
                nn.init.normal_(module.weight, std=FRESH_STD)
            else:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    nn.init.normal_(backbone.final_layer.weight, std=FRESH_STD)
