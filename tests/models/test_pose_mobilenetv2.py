from __future__ import annotations

import torch
import torchvision
from cvf_tests.small_networks import DECONV_HEAD, shapes_of

from lib.models.pose_mobilenetv2 import PoseMobileNetV2


def test_pose_mobilenetv2_has_torchvision_names_without_the_last_expansion() -> None:
    with torch.device("meta"):
        model = PoseMobileNetV2(20)
        reference = torchvision.models.mobilenet_v2()
        output = model.eval()(torch.empty(2, 3, 96, 128))
    omitted = ("features.18.", "classifier.")
    expected = {name: shape for name, shape in shapes_of(reference).items() if not name.startswith(omitted)}
    shapes = shapes_of(model)
    assert {name: shape for name, shape in shapes.items() if name not in DECONV_HEAD} == expected
    assert set(shapes) - set(expected) == DECONV_HEAD
    assert shapes["deconv_layers.0.weight"] == (320, 256, 4, 4)
    assert output.shape == (2, 20, 24, 32)
