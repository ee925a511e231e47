from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lib.models.view_batch_norm import (
    ViewBatchNorm2d,
    convert_batch_norms,
    per_view,
    take_statistics,
    update_running_statistics,
)

FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


@pytest.fixture
def norms():
    """norms(C, dtype) -> nn.BatchNorm2d with random values, and the same converted."""

    def make(channels, dtype):
        torch.manual_seed(0)
        plain = nn.BatchNorm2d(channels).to(dtype)
        for tensor in (plain.weight, plain.bias, plain.running_mean, plain.running_var):
            nn.init.uniform_(tensor, 0.5, 1.5)
        converted = copy.deepcopy(plain)
        convert_batch_norms(converted)
        return plain, converted

    return make


def run(norm, images, grad, num_views):
    images = images.detach().requires_grad_()
    with per_view([norm], num_views):
        output = norm(images)
    update_running_statistics([norm], take_statistics([norm]))
    output.backward(grad)
    return output, images.grad


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("num_views", [1, 2, 3, 4, 5])
def test_forward_per_view_equals_one_call_per_view(norms, monkeypatch, num_views, memory_format, traced):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: traced)
    plain, norm = norms(6, torch.float64)
    views = torch.randn(num_views, 3, 6, 5, 4, dtype=torch.float64) + torch.arange(num_views)[:, None, None, None, None]
    grad = torch.randn(num_views * 3, 6, 5, 4, dtype=torch.float64)
    images = views.flatten(0, 1).contiguous(memory_format=memory_format)
    grad = grad.contiguous(memory_format=memory_format)
    output, grad_images = run(norm, images, grad, num_views)
    reference = images.clone().requires_grad_()
    expected = torch.cat([plain(view) for view in reference.chunk(num_views)])
    expected.backward(grad)
    assert output.is_contiguous(memory_format=memory_format)
    for found, wanted in (
        (output, expected),
        (grad_images, reference.grad),
        (norm.weight.grad, plain.weight.grad),
        (norm.bias.grad, plain.bias.grad),
        (norm.running_mean, plain.running_mean),
        (norm.running_var, plain.running_var),
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    assert norm.num_batches_tracked == plain.num_batches_tracked == num_views


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("memory_format", FORMATS.values(), ids=FORMATS)
def test_forward_per_view_bfloat16_keeps_float32_statistics(norms, monkeypatch, memory_format, traced):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: traced)
    plain, norm = norms(6, torch.float32)
    images = (torch.randn(8, 6, 5, 4) + 3).bfloat16().contiguous(memory_format=memory_format)
    output, grad_images = run(norm, images, torch.ones_like(images), 2)
    assert output.dtype == grad_images.dtype == torch.bfloat16
    for view in images.chunk(2):
        plain(view.float())
    torch.testing.assert_close(norm.running_mean, plain.running_mean)
    torch.testing.assert_close(norm.running_var, plain.running_var)


def test_forward_frozen_weights_and_images_need_no_gradient(norms):
    plain, norm = norms(3, torch.float64)
    images = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    norm.weight.requires_grad_(False)
    with per_view([norm], 2):
        output = norm(images)
    output.square().sum().backward()
    torch.cat([plain(view) for view in images.chunk(2)]).square().sum().backward()
    assert norm.weight.grad is None
    torch.testing.assert_close(norm.bias.grad, plain.bias.grad)


def test_forward_outside_per_view_is_torchs(norms):
    plain, norm = norms(3, torch.float32)
    images = torch.randn(4, 3, 2, 2)
    for training in (True, False):
        assert torch.equal(norm.train(training)(images), plain.train(training)(images))
    with per_view([norm], 2):
        assert torch.equal(norm(images), plain(images))  # evaluation
    assert norm.num_batches_tracked == 1
    assert norm.num_views == 0


def test_forward_one_value_per_view_is_refused(norms):
    _, norm = norms(3, torch.float32)
    with per_view([norm], 2), pytest.raises(ValueError, match="expected more than 1 value per view and channel"):
        norm(torch.randn(2, 3, 1, 1))


def test_take_statistics_two_calls_or_none_are_refused(norms):
    _, norm = norms(3, torch.float32)
    with per_view([norm], 2):
        with pytest.raises(RuntimeError, match="expected one call per training pass, received none"):
            take_statistics([norm])
        norm(torch.randn(4, 3, 2, 2))
        with pytest.raises(RuntimeError, match="expected one call per training pass, received two"):
            norm(torch.randn(4, 3, 2, 2))
    run(norm, torch.randn(4, 3, 2, 2), torch.ones(4, 3, 2, 2), 2)  # the failed pass left nothing behind


def test_per_view_ends_with_an_error(norms):
    _, norm = norms(3, torch.float32)
    with pytest.raises(KeyError), per_view([norm], 2):
        raise KeyError
    assert norm.num_views == 0


def test_convert_batch_norms_keeps_names_values_and_unusual_layers():
    module = nn.Sequential(
        nn.BatchNorm2d(2),
        nn.Sequential(nn.BatchNorm2d(3)),
        nn.BatchNorm2d(2, affine=False),
        nn.BatchNorm2d(2, track_running_stats=False),
        nn.BatchNorm2d(2, momentum=None),
        nn.BatchNorm1d(2),
    )
    before = module.state_dict()
    weight = module[0].weight
    convert_batch_norms(module)
    kinds = [type(one).__name__ for one in module.modules() if "BatchNorm" in type(one).__name__]
    assert kinds == ["ViewBatchNorm2d"] * 2 + ["BatchNorm2d"] * 3 + ["BatchNorm1d"]
    assert isinstance(module[0], ViewBatchNorm2d)
    assert module[0].weight is weight
    assert list(module.state_dict()) == list(before)
