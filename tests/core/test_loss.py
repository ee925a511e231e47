from __future__ import annotations

import pytest
import torch

from lib.core.loss import heatmap_loss, route, training_losses


def random_batch(batch=2, views=3, joints=5, height=4, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    maps = [torch.rand(batch, views, joints, height, width, generator=generator) for _ in range(3)]
    weight = (torch.rand(batch, views, joints, 1, generator=generator) > 0.4).float()
    return *maps, weight


def original_loss(prediction, target, weight):
    """Sum over joints and views, as in the original code."""
    total = 0.0
    for view in range(prediction.shape[1]):
        for joint in range(prediction.shape[2]):
            difference = (prediction[:, view, joint] - target[:, view, joint]).flatten(1)
            total += torch.nn.functional.mse_loss(difference * weight[:, view, joint], torch.zeros_like(difference))
    return total


def test_heatmap_loss_equals_hand_calculation():
    prediction, target = torch.zeros(1, 1, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2)
    prediction[0, 0, 0, 0, 0] = 2.0  # 4 / 4 pixels
    prediction[0, 0, 1, 1, 1] = -1.0
    target[0, 0, 1, 1, 1] = 2.0  # 9 / 4
    assert heatmap_loss(prediction, target, None).item() == pytest.approx(3.25)
    weight = torch.tensor([[[[0.0], [1.0]]]])
    assert heatmap_loss(prediction, target, weight).item() == pytest.approx(2.25)
    assert heatmap_loss(prediction, target, weight / 2).item() == pytest.approx(2.25 / 4)  # weight before the square


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_heatmap_loss_equals_original_code(batch):
    prediction, _, target, weight = random_batch(batch)
    torch.testing.assert_close(heatmap_loss(prediction, target, weight), original_loss(prediction, target, weight))


def test_route_unrelated_images_keep_single_view_heatmaps():
    single_view, fused, _, _ = random_batch(batch=3)
    routed = route(single_view, fused, torch.tensor([True, False, True]))
    assert torch.equal(routed[[0, 2]], fused[[0, 2]])
    assert torch.equal(routed[1], single_view[1])
    assert route(single_view, None, torch.tensor([True, False, True])) is single_view


def test_training_losses_unrelated_images_count_twice():
    single_view, fused, target, weight = random_batch()
    is_multiview = torch.tensor([True, False])
    routed = torch.stack([fused[0], single_view[1]])
    expected = original_loss(routed, target, weight) + original_loss(single_view, target, weight)
    torch.testing.assert_close(training_losses(single_view, fused, target, weight, is_multiview).total, expected)
    without_fusion = training_losses(single_view, None, target, weight, is_multiview)
    torch.testing.assert_close(without_fusion.total, original_loss(single_view, target, weight))


def test_training_losses_unrelated_images_do_not_train_the_fusion():
    single_view, fused, target, weight = random_batch()
    single_view.requires_grad_()
    fused.requires_grad_()
    training_losses(single_view, fused, target, weight, torch.tensor([True, False])).total.backward()
    assert fused.grad[0].abs().sum() > 0
    assert not fused.grad[1].any()
    assert single_view.grad[0].abs().sum() > 0


def test_training_losses_parts_sum_to_total():
    single_view, fused, target = torch.rand(3, 2, 2, 3, 4, 5).unbind(0)
    losses = training_losses(single_view, fused, target, None, torch.tensor([True, False]))
    assert losses.total == losses.routed + losses.single_view
    torch.testing.assert_close(losses.single_view, heatmap_loss(single_view, target, None))
    assert training_losses(single_view, None, target, None, torch.tensor([True, False])).single_view == 0
