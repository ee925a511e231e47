from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lib.models.fusion import CrossViewFusion
from lib.models.multiview_pose import MultiViewPose
from lib.models.pose_resnet import PoseResNet
from lib.utils.errors import InputError


class _TinyBackbone(nn.Module):
    """One strided convolution and a batch norm: (B, 3, 8, 12) -> (B, 2, 2, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 4, stride=4)
        self.bn = nn.BatchNorm2d(2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(images))


def _images(batch: int, views: int) -> torch.Tensor:
    torch.manual_seed(0)
    offsets = torch.arange(views).view(1, views, 1, 1, 1)  # the views differ in brightness, so statistics differ
    return torch.randn(batch, views, 3, 8, 12) + offsets


def test_forward_training_uses_batch_statistics_per_view() -> None:
    images = _images(4, 3)
    model = MultiViewPose(_TinyBackbone()).train()
    conv = copy.deepcopy(model.backbone.conv)
    bn = nn.BatchNorm2d(2)
    single_view, fused = model(images)
    assert fused is None
    for view in range(3):
        maps = conv(images[:, view])
        mean = maps.mean((0, 2, 3), keepdim=True)
        var = maps.var((0, 2, 3), correction=0, keepdim=True)
        torch.testing.assert_close(single_view[:, view], (maps - mean) / (var + bn.eps).sqrt(), atol=1e-5, rtol=1e-4)
    assert model.backbone.bn.num_batches_tracked == 3  # one update per view


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_forward_training_part_of_a_batch_keeps_the_memory_format(memory_format) -> None:
    by_view = _images(4, 3).transpose(0, 1)
    flat = by_view.flatten(0, 1).contiguous(memory_format=memory_format)
    images = flat.unflatten(0, by_view.shape[:2]).transpose(0, 1)  # as network_images()
    model = MultiViewPose(_TinyBackbone()).train()
    seen = []
    model.backbone.conv.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for part in (images, images[:2], images[2:]):
        model(part)
        assert seen[-1].is_contiguous(memory_format=memory_format)
        torch.testing.assert_close(seen[-1], part.transpose(0, 1).flatten(0, 1), rtol=0, atol=0)


def test_forward_evaluation_equals_views_one_by_one() -> None:
    torch.manual_seed(0)
    backbone = PoseResNet(18, 5, deconv_filters=(8, 8, 8))
    images = torch.randn(2, 3, 3, 32, 64)
    model = MultiViewPose(backbone, CrossViewFusion(3, (8, 16))).eval()
    with torch.no_grad():
        single_view, fused = model(images)
        expected = torch.stack([backbone(images[:, view]) for view in range(3)], 1)
    assert single_view.shape == fused.shape == (2, 3, 5, 8, 16)
    torch.testing.assert_close(single_view, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(fused, model.fusion(expected), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_forward_batch_of_one_works(training: bool) -> None:
    model = MultiViewPose(_TinyBackbone(), CrossViewFusion(2, (2, 3))).train(training)
    single_view, fused = model(_images(1, 2))
    assert single_view.shape == fused.shape == (1, 2, 2, 2, 3)
    fused.sum().backward()
    assert torch.isfinite(model.backbone.conv.weight.grad).all()


def test_forward_other_number_of_views_is_refused() -> None:
    model = MultiViewPose(_TinyBackbone(), CrossViewFusion(4, (2, 3)))
    message = r"images: expected shape \(B, 4, 3, H_in, W_in\), received \(1, 3, 3, 8, 12\)"
    with pytest.raises(InputError, match=message):
        model(_images(1, 3))


def test_forward_without_fusion_accepts_any_number_of_views() -> None:
    model = MultiViewPose(_TinyBackbone()).eval()
    assert {model(_images(2, views))[0].shape[1] for views in (1, 2, 5)} == {1, 2, 5}
    assert all(name.startswith("backbone.") for name in model.state_dict())
