from __future__ import annotations

import pytest
import torch

from lib.models.deconv_head import DeconvLayers, final_conv
from lib.utils.errors import InputError


@pytest.mark.parametrize("kernel", [2, 3, 4])
def test_deconv_layers_each_doubles_the_map(kernel: int) -> None:
    layers = DeconvLayers(6, [5, 4], [kernel, kernel], with_bias=True)
    assert layers(torch.randn(2, 6, 3, 5)).shape == (2, 4, 12, 20)
    assert layers[0].bias is not None
    assert DeconvLayers(6, [5], [kernel])[0].bias is None


def test_deconv_layers_invalid_settings_are_refused() -> None:
    with pytest.raises(InputError, match=r"filters \[256, 256\] and kernels \[4\]"):
        DeconvLayers(8, [256, 256], [4])
    with pytest.raises(InputError, match=r"kernel size: expected 4, 3 or 2, received 5"):
        DeconvLayers(8, [256], [5])


def test_final_conv_other_kernels_are_refused() -> None:
    with pytest.raises(InputError, match="FINAL_CONV_KERNEL: expected 1 or 3, received 2"):
        final_conv(8, 20, 2)
