from __future__ import annotations

import pytest
import torch

from lib.core.loss import heatmap_loss, route, training_losses


def random_batch(batch=2, views=3, joints=5, height=4, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.rand(batch, views, joints, height, width, generator=generator) for _ in range(3)]
    weight = (torch.rand(batch, views, joints, 1, generator=generator) > 0.4).float()
    return *maps, weight


def published_loss(prediction, target, weight):
    """Joint by joint and view by view, as the released code sums it."""
    total = 0.0
    for view in range(prediction.shape[1]):
        for joint in range(prediction.shape[2]):
            difference = (prediction[:, view, joint] - target[:, view, joint]).flatten(1)
            total += torch.nn.functional.mse_loss(difference * weight[:, view, joint], torch.zeros_like(difference))
    return total


def test_by_hand():
    prediction, target = torch.zeros(1, 1, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2)
    prediction[0, 0, 0, 0, 0] = 2.0  # 4 / 4 pixels
    prediction[0, 0, 1, 1, 1] = -1.0
    target[0, 0, 1, 1, 1] = 2.0  # 9 / 4
    assert heatmap_loss(prediction, target, None).item() == pytest.approx(3.25)
    weight = torch.tensor([[[[0.0], [1.0]]]])
    assert heatmap_loss(prediction, target, weight).item() == pytest.approx(2.25)
    assert heatmap_loss(prediction, target, weight / 2).item() == pytest.approx(2.25 / 4)  # weight before the square


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_published_sum(batch):
    prediction, _, target, weight = random_batch(batch)
    torch.testing.assert_close(heatmap_loss(prediction, target, weight), published_loss(prediction, target, weight))


def test_route_takes_raw_heatmaps_of_unrelated_images():
    single, fused, _, _ = random_batch(batch=3)
    routed = route(single, fused, torch.tensor([True, False, True]))
    assert torch.equal(routed[[0, 2]], fused[[0, 2]])
    assert torch.equal(routed[1], single[1])
    assert route(single, None, torch.tensor([True, False, True])) is single


def test_the_total_counts_raw_heatmaps_of_unrelated_images_twice():
    single, fused, target, weight = random_batch()
    is_multiview = torch.tensor([True, False])
    routed = torch.stack([fused[0], single[1]])
    expected = published_loss(routed, target, weight) + published_loss(single, target, weight)
    torch.testing.assert_close(training_losses(single, fused, target, weight, is_multiview).total, expected)
    torch.testing.assert_close(
        training_losses(single, None, target, weight, is_multiview).total, published_loss(single, target, weight)
    )


def test_unrelated_images_do_not_train_the_fusion():
    single, fused, target, weight = random_batch()
    single.requires_grad_()
    fused.requires_grad_()
    training_losses(single, fused, target, weight, torch.tensor([True, False])).total.backward()
    assert fused.grad[0].abs().sum() > 0
    assert not fused.grad[1].any()
    assert single.grad[0].abs().sum() > 0


def test_the_parts_make_the_total():
    single, fused, target = torch.rand(3, 2, 2, 3, 4, 5).unbind(0)
    losses = training_losses(single, fused, target, None, torch.tensor([True, False]))
    assert losses.total == losses.routed + losses.raw
    torch.testing.assert_close(losses.raw, heatmap_loss(single, target, None))
    assert training_losses(single, None, target, None, torch.tensor([True, False])).raw == 0
