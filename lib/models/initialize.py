"""Values of fresh weights, before any file is loaded."""

from __future__ import annotations

from torch import nn

from lib.utils.errors import unknown_name

FRESH_STD = 0.001
INIT_SCHEMES = ("published", "kaiming")


def initialize(backbone: nn.Module, scheme: str = "published") -> None:
    """Fill all weights of a backbone; batch norms get 1 and 0, biases 0.

    Args:
        backbone: a pose network whose last convolution is `final_layer`.
        scheme: "published" draws every convolution from N(0, .001), which suits a head on ImageNet features;
            "kaiming" keeps the variance through ReLUs, for training from scratch. The final layer is
            N(0, .001) in both, so that the first heatmaps are near 0.

    Raises:
        InputError: unknown scheme.
    """
    if scheme not in INIT_SCHEMES:
        raise unknown_name("initialisation", scheme, INIT_SCHEMES, "NETWORK.INIT")
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
