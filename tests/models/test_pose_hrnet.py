from __future__ import annotations

import pytest
import torch
from cvf_tests.small_networks import shapes_of

from lib.models.pose_hrnet import HRStage, PoseHRNet
from lib.utils.errors import InputError


def _published_stages(width: int) -> list[HRStage]:
    """Stages 2 to 4 of HRNet-W32 or W48, from the width of the finest branch."""
    return [
        HRStage(num_modules, [4] * branches, [width * 2**branch for branch in range(branches)])
        for num_modules, branches in ((1, 2), (4, 3), (3, 4))
    ]


# Parameters with 17 joints, HRNet paper, table 1: 28.5 M (W32) and 63.6 M (W48).
@pytest.mark.parametrize(("width", "millions"), [(32, 28.5), (48, 63.6)])
def test_pose_hrnet_has_published_size_and_names(width: int, millions: float) -> None:
    with torch.device("meta"):
        model = PoseHRNet(_published_stages(width), 17).eval()
        output = model(torch.empty(2, 3, 96, 128))
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    assert output.shape == (2, 17, 24, 32)
    shapes = shapes_of(model)
    # one official name of each kind
    assert shapes["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert shapes["transition1.0.0.weight"] == (width, 256, 3, 3)
    assert shapes["transition1.1.0.0.weight"] == (2 * width, 256, 3, 3)
    assert shapes["transition3.3.0.1.running_var"] == (8 * width,)
    assert shapes["stage2.0.branches.1.3.conv2.weight"] == (2 * width, 2 * width, 3, 3)
    assert shapes["stage3.3.fuse_layers.0.2.0.weight"] == (width, 4 * width, 1, 1)
    assert shapes["stage4.1.fuse_layers.3.0.2.0.weight"] == (8 * width, width, 3, 3)
    assert not any(name.startswith(("transition2.0", "stage4.2.fuse_layers.1")) for name in shapes)


def test_pose_hrnet_every_parameter_has_a_gradient() -> None:
    stages = [HRStage(1, [1] * branches, [4 * 2**branch for branch in range(branches)]) for branches in (2, 3, 4)]
    model = PoseHRNet(stages, 3)
    model(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_pose_hrnet_bottleneck_blocks_multiply_the_channels() -> None:
    stages = [HRStage(1, [1] * n, [2 * 2**branch for branch in range(n)], "BOTTLENECK") for n in (2, 3, 4)]
    model = PoseHRNet(stages, 3, final_kernel=3).eval()
    assert model.final_layer.weight.shape == (3, 8, 3, 3)
    assert model(torch.randn(1, 3, 32, 64)).shape == (1, 3, 8, 16)


def test_pose_hrnet_invalid_input_is_refused() -> None:
    with pytest.raises(InputError, match=r"multiples of 32 for HRNet, .* \(80, 96\)"):
        PoseHRNet(_published_stages(32), 2)(torch.empty(1, 3, 80, 96))
    with pytest.raises(InputError, match=r"unknown block 'BASICS' in MODEL_EXTRA.STAGE2.BLOCK; did you mean 'BASIC'"):
        PoseHRNet([HRStage(1, [1, 1], [4, 8], "BASICS")] * 3, 2)
    with pytest.raises(InputError, match=r"MODEL_EXTRA.STAGE2: .*NUM_BLOCKS \[1\], NUM_CHANNELS \[4, 8\]"):
        PoseHRNet([HRStage(1, [1], [4, 8])] * 3, 2)
