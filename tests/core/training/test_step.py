from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from cvf_tests.operations import OperationCounter
from cvf_tests.stubs import CPU, inputs_of
from cvf_tests.view_by_view import ViewByView, largest_differences, relative
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lib.core.build_model import build_model
from lib.core.config_io import load_config
from lib.core.runtime.device import autocast_dtype
from lib.core.training import memory_estimate
from lib.core.training.optimizer import build_optimizer
from lib.core.training.step import TrainStep
from lib.models.view_batch_norm import ViewBatchNorm2d


@pytest.fixture
def problem(loaders):
    """problem(*opts, resnet=False) -> configuration, a model in training, inputs of 4 groups of 2 views."""

    def make(*opts, resnet=False):
        config, loader, _ = loaders(resnet, num_views=2, frames=2, mpii=4)(
            "DATASET.TRAIN_DATASET", "mixed", "TRAIN.BATCH_SIZE", "4", "TRAIN.SHUFFLE", "false", *opts
        )
        (inputs,) = inputs_of(loader)
        torch.manual_seed(0)
        return config, build_model(config, 2, is_train=True).train(), inputs

    return make


def gradients(model):
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def gradient_step(model, accumulate=1):
    """A step that computes gradients and keeps the weights."""
    return TrainStep(model, torch.optim.SGD(model.parameters(), lr=0.0, fused=True), CPU, accumulate)


def assert_close(found, expected, rtol=1e-4):
    for name, value in expected.items():
        atol = rtol * value.abs().max().item() + 1e-12
        torch.testing.assert_close(found[name], value, rtol=rtol, atol=atol, msg=name)


@pytest.mark.parametrize("num_parts", [2, 3, 4])
def test_train_step_accumulated_batch_has_the_same_gradient(problem, num_parts):
    _, model, inputs = problem()
    model.eval()  # in training the parts have batch statistics of their own
    whole = gradient_step(model)(inputs)
    expected = gradients(model)
    parts = gradient_step(model, num_parts)(inputs)
    assert_close(gradients(model), expected)
    for one, other in zip(whole.losses, parts.losses, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(whole.routed, parts.routed)
    torch.testing.assert_close(whole.single_view, parts.single_view)


def test_train_step_recomputed_activations_give_equal_gradients_and_statistics(problem):
    _, model, inputs = problem(resnet=True)
    other = copy.deepcopy(model)
    other.recompute = True
    model = ViewByView(model).train()  # recomputing runs view by view, so that one view's activations are in memory
    first, second = gradient_step(model)(inputs), gradient_step(other)(inputs)
    assert torch.equal(first.losses.total, second.losses.total)
    for name, value in gradients(model).items():
        assert torch.equal(gradients(other)[name], value), name
    for (name, value), found in zip(model.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(value, found), name
    changed = [name for name, buffer in other.named_buffers() if name.endswith("num_batches_tracked") and buffer != 2]
    assert changed == []  # once per view


@pytest.mark.parametrize("opts", [(), ("TRAIN.ACCUMULATE", "2")], ids=["whole", "in parts"])
def test_train_step_one_pass_equals_the_loop_over_views(problem, opts):
    """Mixed batches of groups and single images, three steps of Adam in float64 with different data."""
    config, model, inputs = problem(*opts)
    model = model.double()
    reference = ViewByView(model).train()
    steps = [
        TrainStep(one, build_optimizer(config.TRAIN, one), CPU, config.TRAIN.ACCUMULATE) for one in (model, reference)
    ]
    for scale in (1.0, 0.9, 0.8):
        scaled = dataclasses.replace(inputs, images=scale * inputs.images.double())
        first, second = (step(scaled) for step in steps)
        assert first.losses.total.item() == pytest.approx(second.losses.total.item(), rel=1e-6)  # in float32
        assert relative(first.routed, second.routed) < 1e-5
    gradients, buffers = largest_differences(model, reference)
    assert gradients < 1e-5
    assert buffers < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_train_step_one_pass_needs_half_the_operations_of_the_loop(amp):
    """ResNet-50 at 256 px on fake tensors; the rest is everything but the backbone."""
    config = load_config("experiments-local/mixed/resnet50/256_fusion.yaml", ["TRAIN.AMP", amp])
    counts = {}
    with FakeTensorMode(allow_non_fake_inputs=True):
        inputs = memory_estimate._batch(config, 8)
        for name in ("one pass", "rest", "loop"):
            model = build_model(config, 4, is_train=True, resumes=True).train()
            if name == "rest":
                model.backbone = Scalar(torch.zeros(32, 20, 64, 64))
            for module in model.modules():
                if name == "loop" and type(module) is ViewBatchNorm2d:
                    module.__class__ = nn.BatchNorm2d
            autocast = autocast_dtype(amp, torch.device("cuda"))
            step = TrainStep(model, build_optimizer(config.TRAIN, model), CPU, autocast=autocast)
            step(inputs)
            with OperationCounter() as counter:
                step(inputs)
            counts[name] = counter.count
    print(amp, counts)
    assert counts["one pass"] < 0.6 * counts["loop"]
    assert counts["rest"] < 150


def test_multiview_pose_recomputed_activations_need_less_memory(problem):
    _, model, inputs = problem(resnet=True)
    sizes = {}
    for recompute in (False, True):
        model.recompute = recompute
        kept = []

        def pack(tensor, kept=kept):
            kept.append(tensor.untyped_storage().nbytes())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(inputs.images)
        sizes[recompute] = sum(kept)
    assert sizes[True] < 0.2 * sizes[False]


def test_build_model_checkpoint_activations_applies_to_training_only(problem):
    config, model, _ = problem("TRAIN.CHECKPOINT_ACTIVATIONS", "true")
    assert model.recompute
    assert not build_model(config, 2).recompute


def test_train_step_channels_last_has_the_same_gradient(problem):
    _, model, inputs = problem(resnet=True)
    model.eval()  # batch statistics of few images enlarge differences of rounding
    plain = gradient_step(model)(inputs)
    expected = gradients(model)
    model.backbone.to(memory_format=torch.channels_last)
    images = inputs.images.transpose(0, 1).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    images = images.unflatten(0, (2, 4)).transpose(0, 1)
    found = gradient_step(model)(dataclasses.replace(inputs, images=images))
    torch.testing.assert_close(found.losses.total, plain.losses.total)
    assert_close(gradients(model), expected, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_train_step_autocast_trains_float32_weights(problem, dtype):
    """The loss agrees to the format's bits, and products really were in it."""
    config, model, inputs = problem()
    expected = gradient_step(model)(inputs).losses.total.item()
    kinds = []
    model.backbone.final_layer.register_forward_hook(lambda _, __, out: kinds.append(out.dtype))
    step = TrainStep(model, build_optimizer(config.TRAIN, model), CPU, autocast=dtype)
    before = {name: value.clone() for name, value in model.named_parameters()}
    result = step(inputs)
    assert set(kinds) == {dtype}
    assert result.losses.total.item() == pytest.approx(expected, rel=0.03)
    assert result.losses.total.item() != expected
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert any(not torch.equal(before[name], value) for name, value in model.named_parameters())
    assert (step.scaler is not None) == (dtype == torch.float16)


class Scalar(nn.Module):
    """One weight times prepared heatmaps."""

    def __init__(self, heatmaps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.heatmaps = heatmaps

    def forward(self, images, views=None):
        heatmaps = self.heatmaps * self.weight
        return heatmaps if views is None else (heatmaps, None)


@pytest.mark.parametrize("kind", ["adam", "sgd"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_train_step_loss_not_finite_leaves_the_weights(problem, kind, value):
    config, _, inputs = problem("TRAIN.OPTIMIZER", kind)
    model = Scalar(inputs.target + 1)
    step = TrainStep(model, build_optimizer(config.TRAIN, model), CPU)
    step(inputs)
    before = model.weight.clone()
    assert before != 1
    model.heatmaps = inputs.target * value
    assert not torch.isfinite(step(inputs).losses.total)
    assert torch.equal(model.weight, before)
    model.heatmaps = inputs.target + 1
    step(inputs)
    assert torch.isfinite(model.weight)
    assert not torch.equal(model.weight, before)


def test_train_step_float16_overflow_halves_the_loss_scale(problem):
    _, _, inputs = problem()
    model = Scalar(inputs.target + 1)
    step = TrainStep(model, torch.optim.SGD(model.parameters(), lr=0.1, fused=True), CPU, autocast=torch.float16)
    step(inputs)
    before, scale = model.weight.clone(), step.scaler.get_scale()
    model.heatmaps = inputs.target * float("inf")
    step(inputs)
    assert torch.equal(model.weight, before)
    assert step.scaler.get_scale() == scale / 2


def test_train_step_share_scales_the_gradient(problem):
    _, model, inputs = problem()
    model.eval()
    gradient_step(model)(inputs)
    expected = {name: 0.5 * value for name, value in gradients(model).items()}
    result = gradient_step(model)(inputs, share=0.5)
    assert_close(gradients(model), expected)
    assert result.losses.total > 0


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_train_step_float32_agrees_with_float64_on_the_cpu(problem, monkeypatch, device):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    _, model, inputs = problem()
    exact = copy.deepcopy(model).double()
    other = {"images": inputs.images.double(), "target": inputs.target.double(), "weight": inputs.weight.double()}
    expected = gradient_step(exact)(dataclasses.replace(inputs, **other))
    moved = {name: getattr(inputs, name).to(device) for name in (*other, "is_multiview")}
    moved["views"] = inputs.views.map(lambda values: values.to(device))
    model.to(device)
    step = TrainStep(model, torch.optim.SGD(model.parameters(), lr=0.0, fused=True), torch.device(device))
    found = step(dataclasses.replace(inputs, **moved))
    for name, value in expected.losses._asdict().items():
        assert getattr(found.losses, name).item() == pytest.approx(value.item(), rel=1e-4), name
    for (name, parameter), reference in zip(model.named_parameters(), exact.parameters(), strict=True):
        difference = (parameter.grad.cpu().double() - reference.grad).norm()
        assert difference <= 1e-2 * reference.grad.norm() + 1e-9, name


@pytest.mark.parametrize("autocast", [None, torch.float16])
def test_train_step_clips_the_gradient(problem, autocast):
    _, model, inputs = problem()

    def change(clip_norm):
        one = copy.deepcopy(model)
        optimizer = torch.optim.SGD(one.parameters(), lr=1.0, fused=True)
        TrainStep(one, optimizer, CPU, autocast=autocast, clip_norm=clip_norm)(inputs)
        pairs = zip(one.parameters(), model.parameters(), strict=True)
        return torch.cat([(new - old).detach().flatten() for new, old in pairs])

    free = change(0.0)
    assert free.norm() > 1e-2
    clipped = change(1e-3)
    assert clipped.norm().item() == pytest.approx(1e-3, rel=1e-2)
    assert torch.cosine_similarity(clipped, free, dim=0) > 0.99
    torch.testing.assert_close(change(1e3), free)
